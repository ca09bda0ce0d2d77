"""What visitors ask of a server, as calls that have a number each; `Caller` in locustfile.py makes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headroles.core.registry import EMBEDDED_MODEL

if TYPE_CHECKING:  # locust changes the sockets and threads of whoever imports it
    from bench.locustfile import Visitor

SENTENCE = "The king and the queen lived in a castle. The king and the"
ABUSER, VICTIM = 7, 1 << 22  # numbers of visitors


@dataclass(frozen=True)
class Attack:
    """So many calls by so many users at once."""

    call: Callable[[Visitor, int], object]
    users: int
    calls: int


def analysis(user: Visitor, number: int) -> None:
    """An ordinary call of one of many visitors, who collects the answer."""
    user.call("analyze", [EMBEDDED_MODEL, f"{SENTENCE} {number % 997}", False], number)


def uncollected(user: Visitor, number: int) -> None:
    """A pattern that one of four visitors asks for, all in one session, and nobody collects."""
    user.join("pattern", [EMBEDDED_MODEL, long_text(number), 1, 2], "one session", ABUSER + number % 4)


def made_up_session(user: Visitor, number: int) -> None:
    """A call of a page that does not exist; the first call is the victim's long analysis, which goes on meanwhile."""
    if number == 0:
        user.call("analyze_batch", [EMBEDDED_MODEL, [long_text(n) for n in range(64)], True], VICTIM)
    else:
        user.join("models", [], f"made up {number}", ABUSER)


def batch(user: Visitor, number: int) -> None:
    """64 long texts at once, of one of 22 visitors."""
    texts = [f"{long_text(n)} {number}" for n in range(64)]
    user.call("analyze_batch", [EMBEDDED_MODEL, texts, False], ABUSER + number % 22)


def picture(user: Visitor, number: int) -> None:
    """A picture of a long text."""
    user.call("heatmap", [EMBEDDED_MODEL, long_text(number), 1, 2, "", "png"], ABUSER)


def upload(user: Visitor, _: int) -> None:
    """A file of 200 MB to the upload route."""
    user.send("upload", ABUSER, files={"files": ("a.bin", bytes(200_000_000))})


def long_text(number: int) -> str:
    """Returns a text of about as many tokens as one may have, another for each number."""
    return " ".join(["The", *(("king", "queen")[number >> (i % 12) & 1] for i in range(200))])


ATTACKS = {
    "calls": Attack(analysis, 8, 10_000),
    "uncollected": Attack(uncollected, 32, 900),
    "sessions": Attack(made_up_session, 33, 2_001),
    "batches": Attack(batch, 64, 64),
    "pictures": Attack(picture, 239, 239),  # a minute's share
    "uploads": Attack(upload, 1, 2),
}
