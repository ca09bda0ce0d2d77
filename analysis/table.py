"""How the models of a run went, as lines for people."""

from collections.abc import Sequence

from headroles.core.records.head_categories import HeadCategories
from headroles.core.roles.roles import Role, measured_roles

from .runs import Outcome

MEGABYTE = 1024**2


def table(outcomes: Sequence[Outcome]) -> str:
    """One aligned line a model: what it took, the best head of every measured role, and how it ended."""
    header = ("model", "seconds", "peak MB", *(role.name for role in measured_roles()), "status")
    rows = [header, *map(_row, outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    numbers = {1, 2}
    lines = (
        (f"{cell:>{width}}" if column in numbers else f"{cell:<{width}}" for column, (cell, width) in enumerate(zip(row, widths)))
        for row in rows
    )
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _row(outcome: Outcome) -> tuple[str, ...]:
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
