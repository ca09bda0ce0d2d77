"""Numbers and names in words, the same on the page, in pictures and for programs."""

from collections.abc import Sequence

from headroles.core.roles.roles import Role
from headroles.render.wording.catalog import message

ALL = 0.99995  # a share from which on `100%` is no exaggeration


def percent(share: float) -> str:
    """`81%`, and never `100%` or `0%` for what only nearly is."""
    if 0 < share <= 0.005:
        return "<1%"
    if 0.995 <= share < ALL:
        return ">99%"
    return f"{share:.0%}"


def precise_percent(share: float) -> str:
    """A probability to a tenth of a percent: `97.6%`, `0.4%`, `<0.1%`."""
    return "<0.1%" if 0 < share < 0.0005 else f"{100 * share:.1f}%"


def signed(number: float) -> str:
    """`+0.33`, `−1.20`: with a minus as long as the plus."""
    return f"{number:+.2f}".replace("-", "−")


def join_names(names: Sequence[str]) -> str:
    """`A`, `A and B`, `A, B and C`."""
    if len(names) < 2:
        return "".join(names)
    return message("{names} and {last}", names=", ".join(names[:-1]), last=names[-1])


def with_article(noun: str) -> str:
    """`an induction`, `a diffuse`."""
    return f"{'an' if noun[:1].lower() in tuple('aeiou') else 'a'} {noun}"


def role_name(role: Role) -> str:
    """A role's name inside a sentence: `previous token`."""
    return message(role.display_name).lower()


def capitalized(text: str) -> str:
    """The text with a capital letter first, and the rest of it as it was."""
    return f"{text[:1].upper()}{text[1:]}"
