"""Numbers over the steps of a training run as lines: where everything stands in a picture, steps on a log axis."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from headroles.core.roles.roles import MeasuredRole
from headroles.core.surveys.training_run import TrainingRun
from headroles.render.surveys.training_text import loss_name

WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 36, 410, 12, 222  # of the field with the lines
FRAME = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM}
START = 34  # how far apart a step 0, which has no logarithm, stands at the left
APART = 40  # between two marks of one line
FEW_DECADES = 2.6  # within which 2,000 and 5,000 are named, too
DASHES = ("", "7 4", "2 3", "9 3 2 3", "1 5", "12 4", "4 2", "6 2 1 2")  # tell losses apart, which have no colour


@dataclass(frozen=True)
class Tick:
    """A number beside an axis, and where along it."""

    at: float
    told: str


@dataclass(frozen=True)
class Line:
    """One line: of a role, in its colour with its shape, or of a loss, told by its dashes.

    Attributes:
        points: as SVG's `polyline` takes them.
        marks: where the role's shape stands on it.
        birth: where the role appears; None for one that does not, and for a loss.
    """

    name: str
    points: str
    role: MeasuredRole | None = None
    dash: str = ""
    marks: tuple[tuple[float, float], ...] = ()
    birth: tuple[float, float] | None = None


@dataclass(frozen=True)
class TrainingChart:
    """A picture of several lines over one axis of steps.

    Attributes:
        told: the same in words, for those who do not see it.
        changes: where what the model read changed.
    """

    title: str
    told: str
    lines: tuple[Line, ...]
    down: tuple[Tick, ...]
    across: tuple[Tick, ...]
    changes: tuple[float, ...] = ()


@dataclass(frozen=True)
class Axis:
    """The steps from left to right, by their logarithm; a step 0, which has none, stands apart at the left.

    Attributes:
        has_zero: whether step 0 was recorded.
        first, last: the first step after 0, and the last.
    """

    has_zero: bool
    first: int
    last: int

    @classmethod
    def of(cls, steps: Sequence[int]) -> "Axis":
        """The axis that shows these steps."""
        return cls(steps[0] == 0, next(step for step in steps if step), steps[-1])

    def at(self, step: int) -> float:
        """Where a step stands, of those between the first and the last, or 0."""
        if step < self.first:
            return float(LEFT)
        left = LEFT + START if self.has_zero else LEFT
        return round(
            left + (RIGHT - left) * math.log(step / self.first) / math.log(max(self.last, self.first + 1) / self.first), 1
        )

    def named(self) -> list[int]:
        """Round steps along it."""
        parts = (1, 2, 5) if math.log10(self.last / self.first) <= FEW_DECADES else (1,)
        rounds = [part * 10**power for power in range(13) for part in parts if self.first <= part * 10**power <= self.last]
        return [0, *(rounds or [self.last])] if self.has_zero else rounds or [self.last]


@dataclass(frozen=True)
class Scale:
    """Numbers from the bottom, 0, to the top; of heads, few of which play most roles, by their square root.

    Attributes:
        top: the largest number.
        digits: after the point, where a number is told.
    """

    top: float
    digits: int
    is_root: bool = False

    def at(self, value: float) -> float:
        """Where a number stands, from above."""
        share = min(max(value / self.top, 0.0), 1.0) if self.top else 0.0
        return round(BOTTOM - (BOTTOM - TOP) * (math.sqrt(share) if self.is_root else share), 1)

    def named(self) -> list[float]:
        """Some five round numbers along it."""
        if not self.top:
            return [0.0]
        if self.is_root:
            rounds = [float(part * 10**power) for power in range(7) for part in (1, 2, 5)]
            return [0.0, *(number for number in rounds if number <= self.top)]
        size = 10.0 ** math.floor(math.log10(self.top))
        apart = next(size * part for part in (0.1, 0.2, 0.25, 0.5, 1, 2) if self.top / (size * part) <= 6)
        return [round(apart * number, 9) for number in range(int(self.top / apart + 1e-9) + 1)]


def training_charts(run: TrainingRun) -> tuple[TrainingChart, ...]:
    """The best head's score and the number of heads of each role, and the losses, over the steps."""
    best = [[role.measure.fill(found.score) for found in run.best(role)] for role in run.roles]
    counts = [list(map(float, run.counts(role))) for role in run.roles]
    losses, names = list(run.losses.values()), [loss_name(name) for name in run.losses]
    most = Scale(max(map(max, counts), default=0.0), 0, is_root=True)
    charts = (
        _chart(run, "Score of each role's best head", run.roles, best, Scale(1.0, 2)),
        _chart(run, "Heads that reach each role's threshold", run.roles, counts, most),
    )
    return (*charts, _chart(run, "Loss, in nats a token", names, losses, Scale(max(map(max, losses)), 2))) if losses else charts


def _chart(
    run: TrainingRun, title: str, of: Sequence[MeasuredRole | str], rows: Sequence[Sequence[float]], scale: Scale
) -> TrainingChart:
    axis = Axis.of(run.steps)
    lines = [_line(run, axis, scale, what, number, row) for number, (what, row) in enumerate(zip(of, rows))]
    ends = "; ".join(f"{line.name} {_tell(row, scale.digits)}" for line, row in zip(lines, rows))
    return TrainingChart(
        title,
        f"{title}, over steps {run.steps[0]:,} to {run.steps[-1]:,} on a log axis. {ends}.",
        tuple(lines),
        tuple(Tick(scale.at(value), f"{value:g}") for value in scale.named()),
        tuple(Tick(axis.at(step), f"{step:,}") for step in axis.named()),
        tuple(axis.at(stretch.step) for stretch in run.phases if axis.first <= stretch.step < axis.last),
    )


def _line(run: TrainingRun, axis: Axis, scale: Scale, what: MeasuredRole | str, number: int, values: Sequence[float]) -> Line:
    across, down = [axis.at(step) for step in run.steps], [scale.at(value) for value in values]
    points = " ".join(f"{x:g},{y:g}" for x, y in zip(across, down))
    if isinstance(what, str):
        return Line(what, points, dash=DASHES[number])
    birth = run.onset(what)
    spaced = _spaced(across, LEFT + APART * number / len(run.roles))
    return Line(
        what.display_name,
        points,
        what,
        marks=tuple((across[point], down[point]) for point in spaced),
        birth=(across[run.at(birth.step)], down[run.at(birth.step)]) if birth else None,
    )


def _spaced(across: Sequence[float], start: float) -> list[int]:
    """Points that stand far enough apart for a mark each; of each line others, so that marks do not cover each other."""
    chosen, last = [], start - APART
    for point, x in enumerate(across):
        if x - last >= APART:
            chosen.append(point)
            last = x
    return chosen


def _tell(values: Sequence[float], digits: int) -> str:
    first, last, low, high = (f"{value:.{digits}f}" for value in (values[0], values[-1], min(values), max(values)))
    return f"{first} at first, {last} at last, between {low} and {high}"
