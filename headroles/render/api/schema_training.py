"""What programs get of a recorded training run, and the rows of its table."""

from collections.abc import Iterator

from pydantic import Field

from headroles.core.roles.roles import MeasuredRole
from headroles.core.surveys.training_run import TrainingRun
from headroles.render.api.result import Answer, IndexOfHead, LayerOfHead, Result, Table


class BestHeadResult(Result):
    """The head with the highest score in a role at a recorded step."""

    layer: LayerOfHead
    head: IndexOfHead
    score: float


class OnsetResult(Result):
    """When a role appears for good: after step `after`, null where it is there from the first recorded step on, and by step `by`.

    `first` is the first recorded step at which it is there at all.
    """

    after: int | None = Field(validation_alias="before")
    by: int = Field(validation_alias="step")
    first: int


class RoleTrainingResult(Result):
    """One role over a training run: its best head at each point, how many heads reach its threshold, and all scores.

    `scores` are [point][layer][head], with an empty row for a layer without heads; `onset` is null where the role is not there at
    the end.
    """

    key: str = Field(validation_alias="name")
    display_name: str
    threshold: float
    onset: OnsetResult | None
    best: list[BestHeadResult]
    counts: list[int]
    scores: list[Table]


class TrainingPhaseResult(Result):
    """From this step on the model read texts of this kind."""

    step: int
    description: str


class TrainingResult(Answer):
    """A model's recorded training run: the `steps` of its points, `losses` by name in nats a token, and scored roles.

    `primary_roles` [point][layer][head] is what each head mainly does; `phases` is what the model read, where that is known.
    A run that was made of records has no losses. `source` is as in an analysis: "embedded" for a run that ships with headroles,
    else "published", "cached" or "local".
    """

    model: str
    num_layers: int
    num_heads: int
    analysis_date: str
    source: str
    source_note: str
    steps: list[int]
    losses: dict[str, list[float]]
    phases: list[TrainingPhaseResult]
    roles: list[RoleTrainingResult]
    primary_roles: list[list[list[str]]]


def training_result(run: TrainingRun) -> TrainingResult:
    """Builds the answer to a training run."""
    return TrainingResult.of(
        run,
        source=run.source.kind if run.source else "",
        source_note=run.source.note if run.source else "",
        roles=[_role_result(run, role) for role in run.roles],
        primary_roles=[[[role.name for role in row] for row in table] for table in run.primary],
    )


def training_rows(run: TrainingRun) -> Iterator[dict[str, object]]:
    """Yields one row a point and role, with the losses of the point beside it."""
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
    onset, best, counts, scores = run.onset(role), run.best(role), run.counts(role), run.scores[role.name]
    return RoleTrainingResult.of(role, onset=onset, best=best, counts=counts, scores=scores)
