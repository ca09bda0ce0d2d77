"""What the scores say of one text: which heads play which role here, and why a role is not seen."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor

from headroles.core.heads import Attention, Head
from headroles.core.readings.detection import UsualRange, compare_with_usual, detect
from headroles.core.readings.head_readings import HeadReading, HeadTable, RoleReading, State
from headroles.core.records.compatibility import check_shape
from headroles.core.records.head_categories import HeadCategories
from headroles.core.roles.roles import OTHER, RESTING, RESTING_ROLE, MeasuredRole, get_measured_role, measured_roles
from headroles.core.roles.scoring import can_show, measure_windows, stack_layers
from headroles.core.text.phrases import percent
from headroles.core.text.repeats import find_respelled_repeat

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
        verdict = partial(role.measure.verdict, calibration=record.calibration_of(role))
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
        seen_at={name: whole(found.seen_at) for name, found in seen.items()},
        tokens={name: found.tokens for name, found in seen.items()},
        is_seen={name: found.role for name, found in seen.items()},
        marks={name: found.marks for name, found in seen.items()},
        usual={name: whole(found.ranges) for name, found in ranges.items()},
        percentiles={name: whole(found.percentiles) for name, found in ranges.items()},
        unusual={name: whole(found.heads) for name, found in ranges.items()},
        intervals=record.intervals,
        seconds=record.second_table,
    )


def read_roles(heads: HeadTable, record: HeadCategories, tokens: Sequence[str] = ()) -> tuple[RoleReading, ...]:
    """What each role's top heads do on one prompt, in the order of ROLES.

    Args:
        tokens: their texts, for the sentence that says where a role is seen; where there are none it gives their positions.
    """
    return (*(_read_role(role, heads, record, tokens) for role in measured_roles()), _left_over(heads, record))


def read_head(heads: HeadTable, head: Head) -> dict[str, HeadReading]:
    """One head in every measured role on one prompt, by role name. Raises InvalidInputError for a head outside the model."""
    return {role.name: heads.reading(role, head) for role in measured_roles()}


def _read_role(role: MeasuredRole, heads: HeadTable, record: HeadCategories, tokens: Sequence[str]) -> RoleReading:
    top = tuple(heads.reading(role, head) for head in record.top_heads(role))
    here = RoleReading(
        role=role,
        state="not seen",
        reason="",
        heads=top,
        applicable=heads.applicable.get(role.name, False),
        other_heads=_others(role, heads, record),
        tokens=heads.tokens.get(role.name, 0),
        marks=heads.marks.get(role.name, ()),
        effect=record.effect_of(role),
        suggested_prompt=record.suggested_prompt(role),
    )
    state, reason = _judge(here, heads, role in record.scored_roles, tokens)
    return replace(here, state=state, reason=reason)


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


def _judge(here: RoleReading, heads: HeadTable, is_scored: bool, tokens: Sequence[str]) -> tuple[State, str]:
    role = get_measured_role(here.role)
    name = role.display_name.lower()
    if not is_scored:
        return "not scored", f"Not scored in this record: analyse the model again to see its {name} heads."
    if role.name not in heads.active:
        if not here.heads:
            return "scored offline", f"No head of this model reaches the {name} threshold of {role.threshold:.1f}."
        return "scored offline", f"{role.measure.offline}: {_count(len(here.heads), name)}."
    missing = _missing(here, heads)
    if not here.heads:
        reason = f"No head of this model reaches the {name} threshold of {role.threshold:.1f}."
        also = (
            f" {len(here.other_heads)} of its heads {_are(here.other_heads)} seen in it here all the same."
            if here.other_heads
            else ""
        )
        return "not applicable" if missing else "not seen", reason + also
    if missing:
        again = find_respelled_repeat(tokens) if role.name in heads.evidence and not here.applicable else ""
        return "not applicable", f"Not visible here: {missing} {again}".rstrip()
    if role.name in heads.evidence:
        return _of_triggered(here, heads, tokens)
    return _of_always_on(here, heads)


def _missing(here: RoleReading, heads: HeadTable) -> str:
    """Why no token of the text can show the role; empty where one can."""
    role = get_measured_role(here.role)
    if not here.applicable:
        return role.why_inactive
    if role.name in heads.evidence and not here.tokens:
        return "no token that calls for it has others to be compared with; write a little more around it."
    return ""


def _of_triggered(here: RoleReading, heads: HeadTable, tokens: Sequence[str]) -> tuple[State, str]:
    name = here.role.display_name.lower()
    seen = [head for head in here.heads if head.is_active]
    if not heads.is_seen[here.role.name]:
        called = "1 token calls" if here.tokens == 1 else f"{here.tokens} tokens call"
        usually = "more than such heads do on texts that repeat nothing"
        return "not seen", f"{called} for it, but no {name} head looks there {usually}. {_closest(here, tokens)}".rstrip()
    best = max(seen, key=lambda head: head.excess)
    count = f"{len(seen)} of {len(here.heads)} {name} heads {_are(seen)} seen doing it"
    return "seen", f"{count}, most clearly {best.head.label} {best.describe_evidence(here.tokens, tokens)}."


def _closest(here: RoleReading, tokens: Sequence[str]) -> str:
    """The head that does most of a role that is not seen, and where it looks instead."""
    closest = max(here.heads, key=lambda head: head.excess)
    place = closest.evidence[0]
    instead = place.describe_most_attended(tokens)
    if closest.excess > 0:
        return f"The most is {closest.head.label} at {place.describe(tokens)}{instead and f'; {instead}'}."
    return f"The closest is {closest.head.label}: {instead}." if instead else ""


def _of_always_on(here: RoleReading, heads: HeadTable) -> tuple[State, str]:
    name = here.role.display_name.lower()
    total = len(here.heads)
    if here.role.name not in heads.usual:
        count = sum(head.is_active for head in here.heads)
        said = f"{count} of {total} {name} heads {'is' if count == 1 else 'are'} doing it on this text"
        return "seen" if count else "not seen", f"{said}; what is usual for them on such a text, the record does not tell."
    unusual = [head for head in here.heads if head.is_unusual]
    if not unusual:
        where = "All are where they usually are" if total > 1 else "It is where it usually is"
        return "as usual", f"{_count(total, name).capitalize()}. {where} on ordinary texts."
    farthest = max(unusual, key=lambda head: head.distance)
    low, high = (percent(share) for share in farthest.usual or (0.0, 1.0))
    most = (
        f"{farthest.head.label} most: {percent(farthest.activation or 0.0)} here, {low} to {high} on nine of ten ordinary texts"
    )
    return "unusual here", f"{len(unusual)} of {total} {name} heads {_are(unusual)} far from usual, {most}."


def _are(heads: Sequence[HeadReading]) -> str:
    return "is" if len(heads) == 1 else "are"


def _count(heads: int, name: str) -> str:
    return f"{heads or 'no'} {name} head{'' if heads == 1 else 's'}"


def _left_over(heads: HeadTable, record: HeadCategories) -> RoleReading:
    """What no role names: the heads without one, and those that are away from where they rest for no reason that is known."""
    total, rest = len(record.heads()), len(record.heads_without_role())
    reason = f"{rest} of {total} heads reach no role's threshold; they do work that these roles do not name."
    away = _away(heads)
    if away:
        farthest, low = away[0], percent((away[0].usual or (0.0, 1.0))[0])
        who = "1 head of the model usually rests" if len(away) == 1 else f"{len(away)} heads of the model usually rest"
        here = f"{farthest.head.label} {percent(farthest.activation or 0.0)}, usually {low} or more"
        reason += f" {who} on the first token, and not here, where no role says why ({here})."
    return RoleReading(OTHER, "not a role", reason, (), applicable=True, other_heads=away)


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
