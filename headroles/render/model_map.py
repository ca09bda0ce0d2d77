"""The whole model at a glance: a grid of layers by heads, each head its primary role's shape, filled by what it does here."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from headroles.core.head_readings import HeadReading
from headroles.core.heads import Head
from headroles.core.readings import Analysis
from headroles.core.roles import RESTING_ROLE, ROLES, Role
from headroles.render.bars import figures, filling, score_figures
from headroles.render.html import draw
from headroles.render.wording import MARKS, ON_EVERY_TEXT, describe_layers, state_of

WIDE = 16  # heads a layer beyond which the map takes the page's whole width


@dataclass(frozen=True)
class Cell:
    """A head's cell: its place and name, the role it mainly plays, what is told of it, and how full its shape is, 0 to 1.

    `rests` for one that is mainly at rest, as usual.
    """

    layer: int
    index: int
    label: str
    role: str
    color: str
    told: str
    here: float
    rests: bool


@dataclass(frozen=True)
class Row:
    """A layer with its cells, or one or more layers without an attention pattern, with what they are instead."""

    name: str
    cells: tuple[Cell, ...] = ()


@dataclass(frozen=True)
class Filter:
    """A button of the legend: a role, and what is told of its heads."""

    role: Role
    told: str


def render_map(analysis: Analysis) -> str:
    """The map with its legend, whose buttons filter by role; each cell is a button that opens its head.

    The script marks the cell of the head that is open, moves the focus with the arrow keys and shows the name of the head
    under the pointer.
    """
    return draw(
        "map",
        analysis=analysis,
        is_wide=analysis.num_heads > WIDE,
        roles=ROLES.values(),
        filters=[_filter(analysis, role) for role in ROLES.values()],
        rows=_rows(analysis),
        kind=describe_layers(analysis),
    )


def _rows(analysis: Analysis) -> list[Row]:
    rows = []
    for gap, layers in groupby(range(analysis.num_layers), lambda layer: analysis.other_layers.get(layer, "")):
        numbers = list(layers)
        if gap:
            first, last = numbers[0], numbers[-1]
            named = f"layers {first} to {last}" if last > first else f"layer {first}"
            rows.append(Row(f"{named}: {gap}, no pattern"))
        else:
            rows += [Row(str(layer), tuple(_cells(analysis, layer))) for layer in numbers]
    return rows


def _cells(analysis: Analysis, layer: int) -> Iterator[Cell]:
    return (_cell(analysis, Head(layer, index)) for index in range(analysis.num_heads))


def _filter(analysis: Analysis, role: Role) -> Filter:
    count, state = analysis.heads.counts(role), analysis.role(role).state
    heads = f"{count} head{'' if count == 1 else 's'}"
    return Filter(role, heads if state == "not a role" else f"{heads}, {MARKS[state]} {state}")


def _cell(analysis: Analysis, head: Head) -> Cell:
    role, reading = analysis.heads.primary_role(head), analysis.heads.main_reading(head)
    told = role.display_name
    if reading is not None:
        told = f"{told} (score {score_figures(reading)}), {_here(reading)}"
    rests = role == RESTING_ROLE and reading is not None and not reading.is_unusual
    return Cell(head.layer, head.index, head.label, role.name, role.color, told, filling(role, reading), rests)


def _here(reading: HeadReading) -> str:
    if reading.activation is None:
        return ON_EVERY_TEXT
    return f"here {figures(reading)}, {state_of(reading)}"
