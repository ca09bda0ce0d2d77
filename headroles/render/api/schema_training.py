"""The shapes of what programs get of a training run; see `results`."""

from typing import TypedDict


class BestHeadResult(TypedDict):
    """The head with the highest score in a role at a recorded step."""

    layer: int
    head: int
    score: float


class OnsetResult(TypedDict):
    """When a role appears for good: after step `after`, null where it is there from the first recorded one on, and by step `by`;
    `first` is the first recorded step at which it is there at all.
    """

    after: int | None
    by: int
    first: int


class RoleTrainingResult(TypedDict):
    """One role over a training run, point by point: its best head, how many heads reach its threshold, all scores
    [point][layer][head] (an empty row for a layer without heads); `appears` is null where it is not there at the end.
    """

    key: str
    display_name: str
    threshold: float
    appears: OnsetResult | None
    best: list[BestHeadResult]
    counts: list[int]
    scores: list[list[list[float]]]


class TrainingPhaseResult(TypedDict):
    """From this step on the model read texts of this kind."""

    step: int
    text: str


class TrainingResult(TypedDict):
    """A model's recorded training run: `steps` of its points, `losses` by name in nats a token, the roles that are scored, what
    each head mainly does in `primary_roles` [point][layer][head], and what it read in `stretches`, where that is known. A run
    that was made of records has no losses. `source` is as in an analysis: "embedded" for one that ships with headroles, else
    "published", "cached" or "local".
    """

    api_version: str
    model: str
    num_layers: int
    num_heads: int
    analysis_date: str
    source: str
    source_note: str
    steps: list[int]
    losses: dict[str, list[float]]
    stretches: list[TrainingPhaseResult]
    roles: list[RoleTrainingResult]
    primary_roles: list[list[list[str]]]
