"""A head's number as a bar and in figures, the same wherever it stands."""

from dataclasses import dataclass

from headroles.core.readings import HeadReading
from headroles.core.roles import Role, get_measured_role
from headroles.core.words import percent


@dataclass(frozen=True)
class Bar:
    """How full a bar is, and where its thin mark stands; both in percent of its length.

    Attributes:
        chance: what chance would give; None for a bar without that mark.
        chance_words: the same for people.
    """

    fill: float
    chance: float | None = None
    chance_words: str = ""


def bar_of(role: Role, reading: HeadReading, with_chance: bool = True) -> Bar:
    """The bar of a head in a measured role, within what its measure can be."""
    measure, chance = get_measured_role(role).measure, reading.chance
    fill = measure.fill(reading.shown) * 100
    if chance is None or not with_chance:
        return Bar(fill)
    return Bar(fill, measure.fill(chance) * 100, percent(chance))


def filling(role: Role, reading: HeadReading | None) -> float:
    """How much of what a head mainly is its shape shows, 0 to 1; what has no measure is full."""
    return 1.0 if reading is None else get_measured_role(role).measure.fill(reading.shown)


def figures(reading: HeadReading) -> str:
    """The head's number: a share of what there is to attend to, or the score of a role that no text changes."""
    return percent(reading.shown) if reading.activation is not None else score_figures(reading)


def score_figures(reading: HeadReading) -> str:
    return "–" if reading.score is None else f"{reading.score:.2f}"
