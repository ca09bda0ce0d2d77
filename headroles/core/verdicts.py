"""What the scores say of one text: which heads play which role here, and why a role is not seen."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from headroles.core.evidence import Measurement
from headroles.core.heads import Attention, Head
from headroles.core.readings import HeadReading, HeadTable, RoleReading, State
from headroles.core.record_fit import check_shape
from headroles.core.records import HeadCategories
from headroles.core.roles import OTHER, MeasuredRole, measured_roles
from headroles.core.scoring import measure_windows


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

    def cells(role: MeasuredRole, of: Callable[[Measurement], Tensor]) -> tuple[tuple, ...]:
        """[layer][head], each layer from what was measured under its own window, empty where it has no pattern."""
        tables = {window: of(under[role.name])[0].tolist() for window, under in measured.items()}
        rows = {layer: tuple(tables[window][row]) for row, (layer, window) in enumerate(zip(attention.layers, windows))}
        return tuple(rows.get(layer, ()) for layer in range(attention.num_layers))

    def chances(role: MeasuredRole) -> tuple[float, ...]:
        """Of each layer; 0 where it has no pattern."""
        found = {layer: float(measured[window][role.name].chance[0]) for layer, window in zip(attention.layers, windows)}
        return tuple(found.get(layer, 0.0) for layer in range(attention.num_layers))

    def verdict(role: MeasuredRole) -> Callable[[Measurement], Tensor]:
        return partial(role.measure.verdict, calibration=record.calibration_of(role))

    return HeadTable(
        scores=record.score_table,
        activations={role.name: cells(role, lambda measurement: measurement.values) for role in roles},
        chances={role.name: chances(role) for role in roles},
        active={role.name: cells(role, verdict(role)) for role in roles},
        applicable={role.name: any(bool(under[role.name].count[0] > 0) for under in measured.values()) for role in roles},
        primary=record.primary_roles,
    )


def read_roles(heads: HeadTable, record: HeadCategories) -> tuple[RoleReading, ...]:
    """What each role's top heads do on one prompt, in the order of ROLES."""
    return (*(_read_role(role, heads, record) for role in measured_roles()), _left_over(record))


def read_head(heads: HeadTable, head: Head) -> dict[str, HeadReading]:
    """One head in every measured role on one prompt, by role name. Raises InvalidInputError for a head outside the model."""
    return {role.name: heads.reading(role, head) for role in measured_roles()}


def _read_role(role: MeasuredRole, heads: HeadTable, record: HeadCategories) -> RoleReading:
    top = tuple(heads.reading(role, head) for head in record.top_heads(role))
    applicable = heads.applicable.get(role.name, False)
    state, reason = _judge(role, top, applicable, is_scored=role in record.scored_roles, is_on_text=role.name in heads.active)
    return RoleReading(role, state, reason, top, applicable)


def _judge(
    role: MeasuredRole, top: tuple[HeadReading, ...], applicable: bool, is_scored: bool, is_on_text: bool
) -> tuple[State, str]:
    name = role.display_name.lower()
    if not is_scored:
        return "not scored", f"Not scored in this record: analyse the model again to see its {name} heads."
    silent: State = "not active" if applicable else "not applicable"
    if not is_on_text:
        return "in the weights", f"Read from the weights, so it is the same on every text: {_count(len(top), name)}."
    if not top:
        return silent, f"No head of this model reaches the {name} threshold of {role.threshold:.1f}."
    if not applicable:
        return silent, f"Not visible here: {role.why_inactive}"
    count = sum(head.is_active for head in top)
    if not count:
        return silent, f"Your text could show it, but none of the {name} heads does it here."
    return "active", f"{count} of {len(top)} {name} heads {'is' if count == 1 else 'are'} doing it on this text."


def _count(heads: int, name: str) -> str:
    return f"{heads or 'no'} {name} head{'' if heads == 1 else 's'}"


def _left_over(record: HeadCategories) -> RoleReading:
    total, rest = len(record.heads()), len(record.heads_without_role())
    reason = f"{rest} of {total} heads reach no role's threshold; they do work that these roles do not name."
    return RoleReading(OTHER, "not a role", reason, (), applicable=True)
