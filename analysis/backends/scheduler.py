"""Decides which model a worker gets next, which is tried again, and which took too long, for any kind of workers."""

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from headroles.settings import GIGABYTE

from ..pipeline.runs import Outcome

AHEAD = 64  # models that wait at the workers for room: as many as may start at once, few enough that who comes again comes soon
NODE_DEATHS = 3  # that one model may live through; a model that is always there when a node dies may be why
Cause = Literal["memory", "process", "node"]


@dataclass(frozen=True)
class Task:
    """A model to analyse.

    Attributes:
        model: as the command line names it.
        name: in its record.
        memory: bytes that it asks for; 0 if its size is unknown.
        node_deaths: how often its node died.
        grown: whether it asks for more memory than at first, because it died.
    """

    model: str
    name: str
    memory: int = 0
    node_deaths: int = 0
    grown: bool = False


@dataclass(frozen=True)
class TaskStarted:
    """A worker has begun a task."""

    task: Task


@dataclass(frozen=True)
class TaskEnded:
    """A worker is done with a task."""

    task: Task
    outcome: Outcome


@dataclass(frozen=True)
class TaskDied:
    """A task ended without an outcome: killed because memory ran out, its process died, or its node did."""

    task: Task
    cause: Cause


Event = TaskStarted | TaskEnded | TaskDied


class WorkerPool(Protocol):
    """Workers that run tasks. Every task that is started ends once, as TaskEnded or TaskDied, unless it is cancelled.

    Attributes:
        largest: bytes of memory that one task can have at most.
    """

    largest: int

    def now(self) -> float:
        """Seconds of a clock that never goes back."""
        ...

    def start(self, task: Task) -> None:
        """Hands a task over; it begins when there is room for it."""
        ...

    def cancel(self, task: Task) -> None:
        """Ends a task, whether it has begun or not; no event of it follows."""
        ...

    def wait(self, seconds: float | None) -> Sequence[Event]:
        """Waits for events, at most that many seconds; None waits for ever. Empty when the time is over."""
        ...


def run_tasks(tasks: Iterable[Task], pool: WorkerPool, limit: float | None = None) -> Generator[Outcome]:
    """Yields one outcome of each task, as they come; closing the generator, or an error, cancels the rest.

    The largest go first: what is left at the end is small, and no worker waits long for the last. A task whose node dies is
    started again; one that died because memory ran out is started once more and asks for twice as much.

    Args:
        tasks: in any order.
        pool: of workers.
        limit: seconds that a task may take from when it began; None for any time.
    """
    waiting = deque(sorted(tasks, key=lambda task: task.memory, reverse=True))
    queued: set[Task] = set()  # at the workers, but not begun
    started: dict[Task, float] = {}
    try:
        while waiting or queued or started:
            while waiting and len(queued) < AHEAD:
                queued.add(waiting[0])
                pool.start(waiting.popleft())
            events = pool.wait(_seconds_left(started, limit, pool.now()))
            for event in events:
                if isinstance(event, TaskStarted):
                    queued.discard(event.task)
                    started[event.task] = pool.now()
                    continue
                queued.discard(event.task)
                since = started.pop(event.task, pool.now())
                if isinstance(event, TaskEnded):
                    yield event.outcome
                elif again := _retry(event, pool.largest):
                    waiting.appendleft(again)
                else:
                    yield Outcome(event.task.name, "failed", pool.now() - since, reason=_death_reason(event, pool.largest))
            # not after events: while the caller pushed a record, tasks may have ended whose events have not been read
            for task in () if events else _overdue_tasks(started, limit, pool.now()):
                pool.cancel(task)
                yield timeout_outcome(task.name, limit, pool.now() - started.pop(task))
    finally:
        for task in (*queued, *started):
            pool.cancel(task)


def timeout_outcome(name: str, limit: float | None, seconds: float) -> Outcome:
    """The outcome of a model that was stopped.

    Args:
        name: of the model.
        limit: seconds that it may take.
        seconds: that it took.
    """
    return Outcome(
        name, "failed", seconds, reason=f"{name} was stopped: it took longer than the {limit or 0:g} seconds of --limit."
    )


def _overdue_tasks(started: dict[Task, float], limit: float | None, now: float) -> list[Task]:
    return [task for task, since in started.items() if limit is not None and now - since >= limit]


def _seconds_left(started: dict[Task, float], limit: float | None, now: float) -> float | None:
    """Seconds until the first of the jobs reaches the limit; None where none will."""
    if limit is None or not started:
        return None
    return max(0.0, min(started.values()) + limit - now)


def _retry(death: TaskDied, largest: int) -> Task | None:
    """The task with which one that died is tried again; None where it is not."""
    task = death.task
    if death.cause == "node":
        return replace(task, node_deaths=task.node_deaths + 1) if task.node_deaths < NODE_DEATHS else None
    more = min(2 * task.memory, largest)
    return replace(task, memory=more, grown=True) if more > task.memory and not task.grown else None


def _death_reason(death: TaskDied, largest: int) -> str:
    name = death.task.name
    if death.cause == "node":
        return f"The node that analysed {name} died, like {NODE_DEATHS} before it; the model may be too large for them."
    ended = "ended early, often a sign that memory ran out"
    if death.cause == "memory":
        ended = "needed more memory than there was"
    if death.task.grown:
        return f"The process of {name} {ended}, with twice the memory too."
    return f"The process of {name} {ended}; it had {largest / GIGABYTE:.1f} GB, and no node has more."
