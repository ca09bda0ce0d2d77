"""A head's number as a bar and in figures, the same wherever it stands."""

from dataclasses import dataclass

from headroles.core.readings.head_readings import HeadReading
from headroles.core.roles.roles import Role
from headroles.render.wording.catalog import message
from headroles.render.wording.phrases import percent


@dataclass(frozen=True)
class Bar:
    """How full a bar is, and where its thin mark stands; both in percent of its length.

    Attributes:
        chance: what the number is held against; None for a bar without that mark.
        chance_words: the same for people.
    """

    fill: float
    chance: float | None = None
    chance_words: str = ""


def make_bar(role: Role, reading: HeadReading, with_chance: bool = True) -> Bar:
    """The bar of a head in a measured role, within what its measure can be."""
    fill, chance = role.fill(reading.value) * 100, reading.baseline
    if chance is None or not with_chance or not reading.can_show:
        return Bar(fill)
    share = percent(chance)
    words = message("otherwise {share}", share=share) if reading.is_triggered else message("by chance {share}", share=share)
    return Bar(fill, role.fill(chance) * 100, words)


def filling(role: Role, reading: HeadReading | None) -> float:
    """The evidence for what a head mainly is, as its shape shows it, 0 to 1: of a triggered role the excess; full without one."""
    if reading is None:
        return 1.0
    return max(reading.excess, 0.0) if reading.is_triggered else role.fill(reading.value)


def figures(reading: HeadReading) -> str:
    """The head's number: a share of what there is to attend to, or the score of a role that no text changes."""
    if reading.activation is None:
        return score_figures(reading)
    return percent(reading.value) if reading.can_show else "–"


def second_figures(role: Role, reading: HeadReading) -> str:
    """The role's second number: `+0.52 logits on random repeats`; empty without one."""
    if role.second is None or reading.second is None:
        return ""
    number = percent(reading.second) if role.second.unit == "share" else message("{score:+.2f} logits", score=reading.second)
    return f"{number} {message(role.second.where)}"


def hundredths(number: float) -> int:
    """A number in hundredths, as scripts get it: rounded once, as where it is written out."""
    return round(float(f"{number:.2f}") * 100)


def score_figures(reading: HeadReading, with_interval: bool = False) -> str:
    """The offline score; with it, where the record tells, between what it lies: `0.90 (0.88 to 0.92)`."""
    if reading.score is None:
        return "–"
    if not with_interval or reading.interval is None:
        return f"{reading.score:.2f}"
    low, high = reading.interval
    return message("{score:.2f} ({low:.2f} to {high:.2f})", score=reading.score, low=low, high=high)
