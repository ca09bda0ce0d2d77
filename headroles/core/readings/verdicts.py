"""What the scores say of one text: which heads play which role here, and in which state each role is."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor

from headroles.core.heads import Attention, Head
from headroles.core.readings.detection import UsualRange, compare_with_usual, detect
from headroles.core.readings.head_readings import HeadReading, HeadTable, RoleReading, State
from headroles.core.records.compatibility import check_shape
from headroles.core.records.head_categories import HeadCategories
from headroles.core.roles.roles import OTHER, RESTING, RESTING_ROLE, MeasuredRole, measured_roles
from headroles.core.roles.scoring import can_show, measure_windows, stack_layers

Table = tuple[tuple, ...]


def read_heads(attention: Attention, record: HeadCategories) -> HeadTable:
    """What every head of the model does on one prompt, in every role that a text can show.

    Raises:
        InvalidRecordError: when the record belongs to a model of another shape.
    """
    shape = attention.num_layers, attention.num_heads
    check_shape(record, attention.model, *shape, attention.other_layers, attention.has_sink)
    measured = measure_windows(attention)
    windows = [attention.window(layer) for layer in attention.layers]
    roles = [role for role in measured_roles() if all(role.name in under for under in measured.values())]

    def chances(role: MeasuredRole) -> tuple[float, ...]:
        """Of each layer; 0 where it has no pattern."""
        found = {layer: float(measured[window][role.name].chance[0]) for layer, window in zip(attention.layers, windows)}
        return tuple(found.get(layer, 0.0) for layer in range(attention.num_layers))

    def whole(table: Tensor | Sequence) -> Table:
        """[layer][head] of all layers, empty where one has no pattern."""
        rows = dict(zip(attention.layers, table.tolist() if isinstance(table, Tensor) else table))
        return tuple(tuple(rows.get(layer, ())) for layer in range(attention.num_layers))

    activations = {role.name: stack_layers(attention, measured, role.name) for role in roles}
    seen = {role.name: detect(role, attention, record) for role in roles if role.measure.is_triggered}
    active = {name: found.heads for name, found in seen.items()}
    ranges: dict[str, UsualRange] = {}
    for role in roles:
        if role.name in seen:
            continue
        verdict = partial(role.measure.verdict, calibration=record.get_calibration(role))
        active[role.name] = stack_layers(attention, measured, role.name, verdict)
        if not can_show(role, measured):
            continue
        if found := compare_with_usual(role, activations[role.name], len(attention.token_ids), record):
            ranges[role.name] = found
    return HeadTable(
        scores=record.score_table,
        activations={name: whole(table) for name, table in activations.items()},
        chances={role.name: chances(role) for role in roles},
        active={name: whole(table) for name, table in active.items()},
        applicable={role.name: can_show(role, measured) for role in roles},
        primary=record.primary_roles,
        evidence={name: whole(found.evidence) for name, found in seen.items()},
        detections={name: whole(found.detections) for name, found in seen.items()},
        tokens={name: found.tokens for name, found in seen.items()},
        is_detected={name: found.role for name, found in seen.items()},
        marks={name: found.marks for name, found in seen.items()},
        usual={name: whole(found.ranges) for name, found in ranges.items()},
        percentiles={name: whole(found.percentiles) for name, found in ranges.items()},
        unusual={name: whole(found.heads) for name, found in ranges.items()},
        intervals=record.intervals,
        seconds=record.second_table,
    )


def read_roles(heads: HeadTable, record: HeadCategories) -> tuple[RoleReading, ...]:
    """What each role's top heads do on one prompt, in the order of ROLES."""
    return (*(_read_role(role, heads, record) for role in measured_roles()), _read_other(heads))


def read_head(heads: HeadTable, head: Head) -> dict[str, HeadReading]:
    """One head in every measured role on one prompt, by role name. Raises InvalidInputError for a head outside the model."""
    return {role.name: heads.reading(role, head) for role in measured_roles()}


def _read_role(role: MeasuredRole, heads: HeadTable, record: HeadCategories) -> RoleReading:
    reading = RoleReading(
        role=role,
        state="not scored",
        heads=tuple(heads.reading(role, head) for head in record.top_heads(role)),
        applicable=heads.applicable.get(role.name, False),
        other_heads=_others(role, heads, record),
        tokens=heads.tokens.get(role.name, 0),
        marks=heads.marks.get(role.name, ()),
        effect=record.get_effect(role),
        suggested_prompt=record.suggested_prompt(role),
    )
    return replace(reading, state=_state(reading, heads)) if role in record.scored_roles else reading


def _others(role: MeasuredRole, heads: HeadTable, record: HeadCategories) -> tuple[HeadReading, ...]:
    """The heads that are seen in a triggered role without being known for it, strongest first."""
    if role.name not in heads.evidence:
        return ()
    known = set(record.top_heads(role))
    found = [heads.reading(role, head) for head in _marked(heads.active[role.name]) if head not in known]
    return tuple(sorted(found, key=lambda reading: -reading.excess))


def _marked(table: Sequence[Sequence[bool]]) -> list[Head]:
    """The heads that a table [layer][head] marks."""
    return [Head(layer, index) for layer, row in enumerate(table) for index, is_marked in enumerate(row) if is_marked]


def _state(reading: RoleReading, heads: HeadTable) -> State:
    """What a role that the record scores does on the prompt."""
    name = reading.role.name
    if name not in heads.active:
        return "scored offline"
    if reading.missing:
        return "not applicable"
    if not reading.heads:
        return "not seen"
    if name in heads.evidence:
        return "seen" if heads.is_detected[name] else "not seen"
    if name in heads.usual:
        return "unusual here" if any(head.is_unusual for head in reading.heads) else "as usual"
    return "seen" if any(head.is_active for head in reading.heads) else "not seen"


def _read_other(heads: HeadTable) -> RoleReading:
    """The role of the heads that no role names, with those that are away from where they rest for no known reason."""
    return RoleReading(OTHER, "not a role", (), applicable=True, other_heads=_away(heads))


def _away(heads: HeadTable) -> tuple[HeadReading, ...]:
    """The heads that rest less than ever and are seen in no role, farthest first."""
    if RESTING_ROLE.name not in heads.unusual:
        return ()
    away = [heads.reading(RESTING_ROLE, head) for head in _marked(heads.unusual[RESTING_ROLE.name])]
    seen = [heads.active[name] for name in heads.evidence]
    found = [
        reading
        for reading in away
        if (reading.usual or (0.0, 1.0))[0] >= RESTING > (reading.activation or 0.0)
        and not any(table[reading.head.layer][reading.head.index] for table in seen)
    ]
    return tuple(sorted(found, key=lambda reading: -reading.distance))
