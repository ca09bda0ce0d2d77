"""A role over the depth of many models as a small picture: where everything stands in it, shares on a square-root axis."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from headroles.core.readings.comparison import DEPTH_BINS
from headroles.core.roles.roles import MeasuredRole
from headroles.core.surveys.atlas import FEW, Atlas, Spread, spreads_by_depth
from headroles.core.surveys.atlas_entries import AtlasEntry
from headroles.render.surveys.atlas_text import tell_depths
from headroles.render.surveys.training_chart import DASHES

WIDTH, HEIGHT = 240, 150
LEFT, RIGHT, TOP, BOTTOM = 42, 234, 10, 122  # of the field
FRAME = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM}
NAMED = (0.0, 0.02, 0.1, 0.25, 0.5, 1.0)  # shares beside the axis


@dataclass(frozen=True)
class Column:
    """A slice of depth.

    Attributes:
        marks: how far down the role's shape stands: at what is usual, or, of few models, at the share of each.
        low, high: between where the shares of all models lie; None where each has a mark.
    """

    x: float
    marks: tuple[float, ...]
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class AtlasChart:
    """One role by depth.

    Attributes:
        lines: as SVG's `polyline` takes them, with their dashes: between neighbouring slices that both have a usual share, or,
            where there are few models in all, one a model.
        told: the same in words.
    """

    role: MeasuredRole
    columns: tuple[Column, ...]
    lines: tuple[tuple[str, str], ...]
    told: str


def atlas_charts(atlas: Atlas) -> tuple[AtlasChart, ...]:
    """Every role that a model scores."""
    return tuple(_chart(atlas, role) for role in atlas.roles)


def lines_of(atlas: Atlas) -> dict[str, str]:
    """The dashes of each model's own line, by name, where there are few models; else none."""
    return dict(zip((entry.model for entry in atlas.entries), DASHES)) if len(atlas.entries) < FEW else {}


def ticks() -> list[tuple[float, str]]:
    """How far down some round shares stand, and what each is called."""
    return [(down(share), f"{share:.0%}") for share in NAMED]


def down(share: float) -> float:
    """How far down a share of heads stands; few heads play most roles, so by its square root."""
    return round(BOTTOM - (BOTTOM - TOP) * math.sqrt(share), 1)


def across(number: int) -> float:
    """Where the middle of a slice of depth stands."""
    return round(LEFT + (RIGHT - LEFT) * (number + 0.5) / DEPTH_BINS, 1)


def _chart(atlas: Atlas, role: MeasuredRole) -> AtlasChart:
    spreads, dashes = spreads_by_depth(role, atlas.entries), lines_of(atlas)
    columns = tuple(_column(across(number), spread) for number, spread in enumerate(spreads))
    usual = [None if spread.median is None else (column.x, column.marks[0]) for column, spread in zip(columns, spreads)]
    between = [(_points([one, other]), "") for one, other in pairwise(usual) if one and other]
    own = [(_line(entry, role), dashes[entry.model]) for entry in atlas.entries if dashes and entry.of(role)]
    return AtlasChart(role, columns, tuple(own or between), tell_depths(role, spreads))


def _line(entry: AtlasEntry, role: MeasuredRole) -> str:
    shares = enumerate(entry.shares_by_depth(role))
    return _points([(across(number), down(share)) for number, share in shares if share is not None])


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in places)


def _column(x: float, spread: Spread) -> Column:
    if spread.median is None or spread.low is None or spread.high is None:
        return Column(x, tuple(sorted({down(share) for share in spread.values})))
    return Column(x, (down(spread.median),), down(spread.low), down(spread.high))
