"""How the models of a run went, as a table for people."""

from collections.abc import Sequence

from headroles.core.records.head_categories import HeadCategories
from headroles.core.roles.roles import Role, measured_roles

from .pipeline.runs import Outcome
from .tables import align

MEGABYTE = 1024**2


def outcome_table(outcomes: Sequence[Outcome]) -> str:
    """One line for each model: what it took, the best head of every measured role, and how it ended."""
    header = ("model", "seconds", "peak MB", *(role.name for role in measured_roles()), "status")
    return "\n".join(align([header, *map(_table_row, outcomes)], right=(1, 2)))


def _table_row(outcome: Outcome) -> tuple[str, ...]:
    peak = "-" if outcome.peak_bytes is None else f"{outcome.peak_bytes / MEGABYTE:.0f}"
    best = (_best_head(outcome.record, role) for role in measured_roles())
    status = {"written": "written", "skipped": "skipped: up to date", "failed": f"failed: {outcome.reason}"}[outcome.status]
    if outcome.record and outcome.record.recipe.transformer_lens is None:
        status += ", read through PyVene, since TransformerLens cannot"
    return (outcome.model, f"{outcome.seconds:.1f}", peak, *best, status)


def _best_head(record: HeadCategories | None, role: Role) -> str:
    if record is None or role not in record.scored_roles:
        return "-"
    best = max(record.heads(), key=lambda head: record.score(role, head))
    return f"{best.label} {record.score(role, best):.3f}"
