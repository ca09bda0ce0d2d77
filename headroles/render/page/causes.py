"""What heads write and what is lost without them -> HTML: the two upper rungs for the heads that a visitor asks about."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from headroles.core.outputs.ablation import METHODS, KnockOut, Matters, Method, sentences
from headroles.core.outputs.direct_effects import Writes
from headroles.core.outputs.next_tokens import NextToken
from headroles.core.readings.head_readings import RoleReading
from headroles.core.text.phrases import fine_percent, signed
from headroles.core.text.tokens import in_a_sentence, visible
from headroles.render.html import draw

READ = 3  # tokens that are told of what heads read
FULL = 3.0  # nats at which a token that got harder is marked as strongly as can be
# what each method puts in place of a head's output, on its button and in a sentence
IN_PLACE: dict[Method, tuple[str, str]] = {
    "zero": ("nothing", "nothing stands in its place"),
    "mean": ("its mean", "its average on ordinary sentences stands in its place"),
    "resample": ("another text's", "what it puts out on another text stands in its place"),
    "null": ("without the role", "its pattern is kept, but for what the role adds to it"),
}


# the uppermost rung in two words, for a card
IN_SHORT: dict[Matters, str] = {
    "matters": "● yes",
    "no more than other heads": "○ no more than others",
    "hardly anything": "○ hardly",
    "surer without": "○ surer without",
    "no control": "– untold",
}


class Causes(NamedTuple):
    """What was asked of some heads on one text.

    `out` says which, as the address does; `looks` is of their role, if any; `writes` is None where nobody asked.
    """

    out: str
    looks: RoleReading | None
    writes: Writes | None
    knock_out: KnockOut


@dataclass(frozen=True)
class Dot:
    """One set of heads on the line of effects: where it lies, 0 to 100, and what is told of it."""

    at: float
    told: str


@dataclass(frozen=True)
class Row:
    """A next token with its chances before and without the heads."""

    token: str
    before: str
    after: str


@dataclass(frozen=True)
class Marked:
    """A token of the text with how much harder it got, 0 to 1, and its losses in words."""

    token: str
    harder: float
    told: str


def render_causes(causes: Causes) -> str:
    """Looks, writes, matters: each with what it is held against, and what was not looked at said to be."""
    knock_out, writes = causes.knock_out, causes.writes
    dots, mine, zero = _dots(knock_out)
    return draw(
        "causes",
        out=causes.out,
        role=causes.looks.role if causes.looks else None,
        heads=[head.label for head in knock_out.heads],
        looks=causes.looks.reason if causes.looks else "",
        state=causes.looks.state if causes.looks else "",
        published=causes.looks.effect.told if causes.looks and causes.looks.effect else "",
        writes=writes,
        read=_read(writes) if writes else "",
        said=sentences(knock_out),
        matters=IN_SHORT["matters" if knock_out.matters else knock_out.at_the_end],
        written=signed(writes.written(writes.foretold or writes.favourite)) if writes else "",
        held=_held(knock_out, writes),
        at_the_end=knock_out.at_the_end,
        in_the_text=knock_out.in_the_text,
        dots=dots,
        mine=mine,
        zero=zero,
        grown=[
            (knock_out.heads[: round((at + 1) * len(knock_out.heads) / len(knock_out.grown))][-1].label, effect.fall)
            for at, effect in enumerate(knock_out.grown)
        ],
        before=_rows(knock_out.before),
        after=_rows(knock_out.after),
        tokens=_tokens(knock_out),
        methods=[(method, *IN_PLACE[method]) for method in METHODS if method != "null" or _can_lose_role(causes)],
        method=knock_out.method,
        visible=visible,
    )


def _held(knock_out: KnockOut, writes: Writes | None) -> str:
    """Both upper rungs' numbers and what they are held against, in one line for the head's page."""
    said = []
    if writes:
        target = writes.foretold or writes.favourite
        controls = writes.written_by_controls(target)
        beside = f" ({signed(min(controls))} to {signed(max(controls))} by other sets)" if controls else ""
        said.append(f"Writes {signed(writes.written(target))} to “{in_a_sentence(target.token)}”{beside}.")
    falls = [effect.fall for effect in knock_out.controls]
    others = f" ({max(falls):.2f} at most without other sets)" if falls else ""
    said.append(f"Without: {knock_out.effect.fall:.2f} nats lost at the end{others}.")
    return " ".join(said)


def _can_lose_role(causes: Causes) -> bool:
    return causes.looks is not None and causes.looks.role.requires_repetition


def _read(writes: Writes) -> str:
    """Because of which tokens these heads write what they write; empty where it is next to nothing."""
    by_key = writes.foretold_by_key if writes.foretold else writes.by_key
    most = sorted(range(len(by_key)), key=lambda key: -abs(by_key[key]))[:READ]
    told = [
        f"“{in_a_sentence(writes.tokens[key])}” ({key + 1}) {signed(by_key[key])}" for key in most if abs(by_key[key]) >= 0.05
    ]
    return f"By the token that they read: {', '.join(told)}." if told else ""


def _dots(knock_out: KnockOut) -> tuple[list[Dot], Dot, float]:
    """The control sets and the heads themselves on one line of what the favourite's log-probability loses, and where 0 is."""
    falls = [control.fall for control in knock_out.controls]
    low, high = min([0.0, knock_out.effect.fall, *falls]), max([0.1, knock_out.effect.fall, *falls])

    def place(fall: float) -> float:
        return 2 + 96 * (fall - low) / (high - low)

    controls = [
        Dot(place(effect.fall), f"{', '.join(head.label for head in heads)}: {signed(effect.fall)}")
        for heads, effect in zip(knock_out.control_sets, knock_out.controls)
    ]
    return controls, Dot(place(knock_out.effect.fall), f"{signed(knock_out.effect.fall)}"), place(0.0)


def _rows(tokens: Sequence[NextToken]) -> list[Row]:
    return [Row(visible(token.token), _chance(token.before), _chance(token.after)) for token in tokens]


def _chance(share: float | None) -> str:
    return "unlikely" if share is None else fine_percent(share)


def _tokens(knock_out: KnockOut) -> list[Marked]:
    harder = knock_out.harder
    marked = []
    for at, token in enumerate(knock_out.tokens):
        told = "the first token, which nothing foretells"
        if at:
            before, after = knock_out.losses_before[at - 1], knock_out.losses_after[at - 1]
            told = f"loss {before:.2f} before, {after:.2f} without these heads"
        marked.append(Marked(visible(token), min(harder.get(at, 0.0) / FULL, 1.0), told))
    return marked
