"""The whole model at a glance: a grid of layers by heads, each head its primary role's shape, filled by what it does here."""

import base64
import json
import struct
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, get_args

from headroles.core.heads import Head
from headroles.core.readings.analysis import Analysis
from headroles.core.readings.head_readings import State
from headroles.core.roles.roles import RESTING_ROLE, ROLES, Role
from headroles.render.html import render_template
from headroles.render.wording.bars import figures, filling, hundredths
from headroles.render.wording.catalog import message, plural
from headroles.render.wording.sources import describe_layers
from headroles.render.wording.states import MARKS, ON_EVERY_TEXT

DEEP = 12  # layers of one group
WIDE = 16  # heads a layer beyond which the map takes the page's whole width
STATES: tuple[State, ...] = get_args(State)
CELL = struct.Struct("<BBBBBh")  # as the script reads it: role, state, filling, flags, figure, score
FIGURES = (*(f"{share}%" for share in range(101)), "<1%", ">99%", "–")
NO_SCORE = -(2**15)
RESTS, OFFLINE, SEEN, UNUSUAL = 1, 2, 4, 8  # flags


class Cell(NamedTuple):
    """A head as the map shows it, in numbers from which the script makes its button: a large model's map stays small.

    Attributes:
        role, state: which of ROLES it mainly plays, and which of STATES it is in there.
        filling: how full its shape is, in hundredths.
        flags: RESTS for one that is mainly at rest, as usual; OFFLINE where no text changes what it mainly does; SEEN in any role
            that the text calls for, or else UNUSUAL in any that is always on.
        figure: which of FIGURES is its number on the text.
        score: offline, in hundredths; NO_SCORE for none.
    """

    role: int
    state: int
    filling: int
    flags: int
    figure: int
    score: int


@dataclass(frozen=True)
class LayerRow:
    """A layer with heads, or one or more layers without an attention pattern, with what they are instead."""

    name: str
    has_heads: bool = True


@dataclass(frozen=True)
class Filter:
    """A button of the legend: a role, and how many heads it has in which state."""

    role: Role
    text: str


def render_map(analysis: Analysis) -> str:
    """The map with its legend, whose buttons filter by role; of each head the script makes a button that opens it.

    The script also marks the cell of the head that is open, moves the focus with the arrow keys and shows the name of the head
    under the pointer.
    """
    return render_template(
        "map",
        analysis=analysis,
        is_wide=analysis.num_heads > WIDE,
        roles=ROLES.values(),
        filters=[_filter(analysis, role) for role in ROLES.values()],
        rows=_rows(analysis),
        kind=describe_layers(analysis),
        ranges=_ranges(analysis.num_layers),
        cells=_packed(analysis),
        known=json.dumps(
            {
                "roles": [[role.name, role.display_name, role.color] for role in ROLES.values()],
                "states": STATES,
                "figures": FIGURES[101:],
                "always": message(ON_EVERY_TEXT),
            },
            separators=(",", ":"),
        ),
    )


def _ranges(layers: int) -> list[tuple[int, int]]:
    """First and last of the groups of layers that a deep map can be looked at by; none for one that is not deep."""
    groups = -(-layers // DEEP) if layers > DEEP else 0
    return [(group * DEEP, min((group + 1) * DEEP, layers) - 1) for group in range(groups)]


def _packed(analysis: Analysis) -> str:
    """All heads, layer by layer, in base64."""
    return base64.b64encode(b"".join(CELL.pack(*_cell(analysis, head)) for head in analysis.heads.heads())).decode()


def _rows(analysis: Analysis) -> list[LayerRow]:
    rows = []
    for gap, members in groupby(range(analysis.num_layers), lambda layer: analysis.other_layers.get(layer, "")):
        numbers = list(members)
        if gap:
            first, last = numbers[0], numbers[-1]
            layers = plural("layer {first}", "layers {first} to {last}", len(numbers), first=first, last=last)
            rows.append(LayerRow(message("{layers}: {kind}, no pattern", layers=layers, kind=gap), has_heads=False))
        else:
            rows += [LayerRow(str(layer)) for layer in numbers]
    return rows


def _filter(analysis: Analysis, role: Role) -> Filter:
    count, state = analysis.heads.counts(role), analysis.role(role).state
    heads = plural("{count} head", "{count} heads", count)
    return Filter(role, heads if state == "not a role" else f"{heads}, {MARKS[state]} {message(state)}")


def _cell(analysis: Analysis, head: Head) -> Cell:
    role, reading = analysis.heads.primary_role(head), analysis.heads.main_reading(head)
    number = list(ROLES).index(role.name)
    flags = _here(analysis, head)
    if reading is None:
        return Cell(number, STATES.index("not a role"), 100, flags, FIGURES.index("–"), NO_SCORE)
    flags |= RESTS if role == RESTING_ROLE and not reading.is_unusual else 0
    flags |= OFFLINE if reading.activation is None else 0
    figure = FIGURES.index("–" if reading.activation is None else figures(reading))
    score = NO_SCORE if reading.score is None else hundredths(reading.score)
    return Cell(number, STATES.index(reading.state), round(filling(role, reading) * 100), flags, figure, score)


def _here(analysis: Analysis, head: Head) -> int:
    heads = analysis.heads
    if any(heads.active[name][head.layer][head.index] for name in heads.evidence):
        return SEEN
    return UNUSUAL if any(table[head.layer][head.index] for table in heads.unusual.values()) else 0
