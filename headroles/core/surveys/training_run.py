"""A recorded training run: what every head did after each recorded step, and the losses beside it; checked before it is believed.

A run is a file of one JSON object a line: `step`, `losses` (nats a token, by name) and `record`, a record as any other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from headroles.core.heads import Head
from headroles.core.readings.analysis import RecordSource
from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.validation import parse_line, read_bounded
from headroles.core.roles.roles import MeasuredRole, Role
from headroles.errors import InvalidRecordError

MAX_TRAINING_BYTES = 32 * 1024 * 1024  # 154 points of 40 layers of 40 heads in ten roles take about 25 MB
MAX_POINTS = 1000
MAX_LOSSES = 8
FIRST_TIME, SECOND_TIME = "first_pass", "second_pass"  # the losses of random strings that repeat themselves

LossName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Loss = Annotated[float, Field(ge=0, le=1e4, allow_inf_nan=False)]
Table = tuple[tuple[float, ...], ...]  # [layer][head]; an empty row for a layer without heads


class TrainingPoint(BaseModel):
    """One line of the file: the model after so many steps."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    step: Annotated[int, Field(ge=0, le=10**12)]
    losses: Annotated[dict[LossName, Loss], Field(max_length=MAX_LOSSES)] = {}
    record: HeadCategories


class TrainingPhase(NamedTuple):
    """From this step on it read texts of this kind."""

    step: int
    description: str


class StepBest(NamedTuple):
    """The head with the highest score in a role."""

    head: Head
    score: float


@dataclass(frozen=True)
class Onset:
    """When a role appears: its best head reaches the role's threshold and, as far as was recorded, stays there.

    Attributes:
        before: the last recorded step before it; None where it is there from the first one on.
        step: the first recorded step from which on it stays. It appeared after `before`, and by `step`.
        first: the first recorded step at which it is there at all; earlier than `step` where it went again.
    """

    before: int | None
    step: int
    first: int


@dataclass(frozen=True)
class TrainingRun:
    """A model on its way, by recorded points.

    Attributes:
        steps: of each point, rising.
        losses: of each point, in nats a token, by name.
        scores: by role name, [point][layer][head].
        primary: what each head mainly does, [point][layer][head].
        roles: those that are scored at the points, in the order of ROLES.
        layers: those that have heads.
        phases: what kinds of text it read, and from when on, where that is known.
        analysis_date, reader: of the points' records.
        source: where the run came from; None for one that nobody asked a store for.
    """

    model: str
    num_layers: int
    num_heads: int
    layers: tuple[int, ...]
    steps: tuple[int, ...]
    losses: Mapping[str, tuple[float, ...]]
    roles: tuple[MeasuredRole, ...]
    scores: Mapping[str, tuple[Table, ...]]
    primary: tuple[tuple[tuple[Role, ...], ...], ...]
    analysis_date: str = ""
    reader: str = ""
    phases: tuple[TrainingPhase, ...] = ()
    source: RecordSource | None = None

    def best(self, role: MeasuredRole) -> tuple[StepBest, ...]:
        """The best head of a role at each point; of equals the first."""
        return self._best[role.name]

    def counts(self, role: MeasuredRole) -> tuple[int, ...]:
        """How many heads reach a role's threshold at each point."""
        return tuple(sum(score >= role.threshold for row in table for score in row) for table in self.scores[role.name])

    def onset(self, role: MeasuredRole) -> Onset | None:
        """When a role appears for good; None for one that is not there at the last point."""
        there = [best.score >= role.threshold for best in self.best(role)]
        if not there[-1]:
            return None
        at = len(there) - next((gone for gone, is_there in enumerate(reversed(there)) if not is_there), len(there))
        return Onset(self.steps[at - 1] if at else None, self.steps[at], self.steps[there.index(True)])

    def at(self, step: int) -> int:
        """The number of the point after that many steps. Raises ValueError for one that was not recorded."""
        return self.steps.index(step)

    @cached_property
    def _best(self) -> Mapping[str, tuple[StepBest, ...]]:
        return {name: tuple(map(_best_of, tables)) for name, tables in self.scores.items()}


def _best_of(table: Table) -> StepBest:
    score, layer, head = max(
        ((score, -layer, -head) for layer, row in enumerate(table) for head, score in enumerate(row)), default=(0.0, 0, 0)
    )
    return StepBest(Head(-layer, -head), score)


def parse_training(content: bytes, name: str, model: str = "", phases: Sequence[TrainingPhase] = ()) -> TrainingRun:
    """A run from the text of its file.

    Args:
        content: the text, in JSON lines.
        name: what an error calls it.
        model: whose run it must be; empty for any.
        phases: what kinds of text the model read, and from when on.

    Raises:
        InvalidRecordError: says in one sentence what is wrong first, and in which line.
    """
    return build_run(parse_points(content, name, model), phases)


def parse_points(content: bytes, name: str, model: str = "") -> list[TrainingPoint]:
    """The points that `parse_training` makes a run of. Raises as it does."""
    if len(content) > MAX_TRAINING_BYTES:
        raise InvalidRecordError(f"The training run {name} has more than {MAX_TRAINING_BYTES} bytes, which are not read.")
    lines = [(number, line) for number, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    if not 2 <= len(lines) <= MAX_POINTS:
        raise InvalidRecordError(f"The training run {name} has {len(lines)} points; it must have 2 to {MAX_POINTS}.")
    subject = f"The training run {name} is not valid in line"
    points = [parse_line(TrainingPoint, line, f"{subject} {number}", "the point") for number, line in lines]
    for (number, _), (before, point) in zip(lines[1:], pairwise(points)):
        if fault := find_mismatch(before, point):
            raise InvalidRecordError(f"{subject} {number}: {fault}.")
    if model and points[0].record.model_name != model:
        raise InvalidRecordError(f"The training run {name} is one of {points[0].record.model_name}, and not of {model}.")
    return points


def read_training(path: Path, model: str = "", phases: Sequence[TrainingPhase] = ()) -> TrainingRun:
    """The run in a file, no more of which is read than a run may have. See `parse_training`.

    Raises:
        InvalidRecordError: also when it is no ordinary file.
        OSError: when it is not there, or cannot be read.
    """
    return parse_training(read_run_file(path), path.name, model, phases)


def read_run_file(path: Path) -> bytes:
    """The text of a run's file, not yet believed. Raises as `read_training` does."""
    return read_bounded(path, MAX_TRAINING_BYTES, f"The training run {path.name}")


def build_run(points: Sequence[TrainingPoint], phases: Sequence[TrainingPhase] = ()) -> TrainingRun:
    """The run that points make, which are of one model and in order."""
    last = points[-1].record
    return TrainingRun(
        model=last.model_name,
        num_layers=last.num_layers,
        num_heads=last.num_heads,
        layers=last.layers,
        steps=tuple(point.step for point in points),
        losses={name: tuple(point.losses[name] for point in points) for name in points[-1].losses},
        roles=last.scored_roles,
        scores={role.name: tuple(point.record.score_table[role.name] for point in points) for role in last.scored_roles},
        primary=tuple(point.record.primary_roles for point in points),
        analysis_date=last.analysis_date,
        reader=last.reader,
        phases=tuple(phases),
    )


def find_mismatch(before: TrainingPoint, point: TrainingPoint) -> str:
    """What of a point does not go with the one before; empty where all does."""
    last, record = before.record, point.record
    if point.step <= before.step:
        return f"step {point.step} does not come after step {before.step}"
    if list(point.losses) != list(before.losses):
        return "its losses have other names than those before"
    made = "model_name", "num_layers", "num_heads", "other_layers", "scored_roles", "recipe"
    if other := next((part for part in made if getattr(record, part) != getattr(last, part)), ""):
        return f"its record has another {other} than the one before"
    return ""
