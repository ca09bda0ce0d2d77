"""A recorded training run -> plain numbers, strings, lists and dicts, in the shapes of `results`, and the rows of its table."""

from collections.abc import Iterator

from headroles.core.roles.roles import MeasuredRole
from headroles.core.surveys.training_run import TrainingRun
from headroles.render.api.schema_training import RoleTrainingResult, TrainingResult
from headroles.render.api.serialize import API_VERSION


def training_result(run: TrainingRun) -> TrainingResult:
    return {
        "api_version": API_VERSION,
        "model": run.model,
        "num_layers": run.num_layers,
        "num_heads": run.num_heads,
        "analysis_date": run.analysis_date,
        "source": run.source.kind if run.source else "",
        "source_note": run.source.note if run.source else "",
        "steps": list(run.steps),
        "losses": {name: list(values) for name, values in run.losses.items()},
        "stretches": [{"step": stretch.step, "text": stretch.description} for stretch in run.phases],
        "roles": [_role_result(run, role) for role in run.roles],
        "primary_roles": [[[role.name for role in row] for row in table] for table in run.primary],
    }


def training_rows(run: TrainingRun) -> Iterator[dict[str, object]]:
    """One row a point and role, with the losses of the point beside it."""
    for role in run.roles:
        for number, (best, count) in enumerate(zip(run.best(role), run.counts(role))):
            yield {
                "model": run.model,
                "step": run.steps[number],
                "role": role.name,
                "best_layer": best.head.layer,
                "best_head": best.head.index,
                "best_score": best.score,
                "heads": count,
                "threshold": role.threshold,
                **{f"loss_{name}": values[number] for name, values in run.losses.items()},
            }


def _role_result(run: TrainingRun, role: MeasuredRole) -> RoleTrainingResult:
    birth = run.onset(role)
    return {
        "key": role.name,
        "display_name": role.display_name,
        "threshold": role.threshold,
        "appears": None if birth is None else {"after": birth.before, "by": birth.step, "first": birth.first},
        "best": [{"layer": best.head.layer, "head": best.head.index, "score": best.score} for best in run.best(role)],
        "counts": list(run.counts(role)),
        "scores": [[list(row) for row in table] for table in run.scores[role.name]],
    }
