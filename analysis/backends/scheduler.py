"""Who of many models goes to the workers next, who goes again after a death, and who took too long; for any kind of workers."""

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
    """A model on its way to a worker.

    Attributes:
        model: as it was named to us.
        name: in its record.
        memory: bytes that it asks for; 0 where nobody knows its size.
        node_deaths: how often its node died under it.
        grown: whether it asks for more memory than at first, since it died for want of some.
    """

    model: str
    name: str
    memory: int = 0
    node_deaths: int = 0
    grown: bool = False


@dataclass(frozen=True)
class TaskStarted:
    """A worker has begun on a job."""

    job: Task


@dataclass(frozen=True)
class TaskEnded:
    """A worker is done with a job."""

    job: Task
    outcome: Outcome


@dataclass(frozen=True)
class TaskDied:
    """A job ended without an outcome: killed for want of memory, its process for a reason nobody knows, or with its node."""

    job: Task
    cause: Cause


Event = TaskStarted | TaskEnded | TaskDied


class WorkerPool(Protocol):
    """Where jobs run. Every job that is started comes to one end, Ended or Died, unless it is cancelled.

    Attributes:
        largest: bytes of memory that one job can be given at most.
    """

    largest: int

    def now(self) -> float:
        """Seconds, of a clock that never goes back."""
        ...

    def start(self, job: Task) -> None:
        """Hands a job over; it begins when there is room for it."""
        ...

    def cancel(self, job: Task) -> None:
        """Ends a job, whether it has begun or not; nothing is heard of it any more."""
        ...

    def wait(self, seconds: float | None) -> Sequence[Event]:
        """What has happened since, at least one thing, or nothing when the seconds are over; None waits for ever."""
        ...


def run_tasks(jobs: Iterable[Task], workers: WorkerPool, limit: float | None = None) -> Generator[Outcome]:
    """One outcome of each job, as they come; closing it, or an error, ends what is under way.

    The largest go first: what is left at the end is small, and no worker waits long for the last. A job whose node dies goes
    again; one that died for want of memory goes once more and asks for twice as much.

    Args:
        limit: seconds that a job may take from when it began; None for any time.
    """
    waiting = deque(sorted(jobs, key=lambda job: job.memory, reverse=True))
    queued: set[Task] = set()  # at the workers, but not begun
    begun: dict[Task, float] = {}
    try:
        while waiting or queued or begun:
            while waiting and len(queued) < AHEAD:
                queued.add(waiting[0])
                workers.start(waiting.popleft())
            events = workers.wait(_seconds_left(begun, limit, workers.now()))
            for event in events:
                if isinstance(event, TaskStarted):
                    queued.discard(event.job)
                    begun[event.job] = workers.now()
                    continue
                queued.discard(event.job)
                since = begun.pop(event.job, workers.now())
                if isinstance(event, TaskEnded):
                    yield event.outcome
                elif again := _retry(event, workers.largest):
                    waiting.appendleft(again)
                else:
                    yield Outcome(event.job.name, "failed", workers.now() - since, reason=_death_reason(event, workers.largest))
            # not beside events: while whoever asked pushed a record, others may have ended that nobody has heard of
            for job in () if events else _overdue_tasks(begun, limit, workers.now()):
                workers.cancel(job)
                yield timeout_outcome(job.name, limit, workers.now() - begun.pop(job))
    finally:
        for job in (*queued, *begun):
            workers.cancel(job)


def timeout_outcome(name: str, limit: float | None, seconds: float) -> Outcome:
    """That of a model that was stopped for taking more than `limit` seconds."""
    return Outcome(
        name, "failed", seconds, reason=f"{name} was stopped: it took longer than the {limit or 0:g} seconds of --limit."
    )


def _overdue_tasks(begun: dict[Task, float], limit: float | None, now: float) -> list[Task]:
    return [job for job, since in begun.items() if limit is not None and now - since >= limit]


def _seconds_left(begun: dict[Task, float], limit: float | None, now: float) -> float | None:
    """Seconds until the first of the jobs reaches the limit; None where none will."""
    if limit is None or not begun:
        return None
    return max(0.0, min(begun.values()) + limit - now)


def _retry(death: TaskDied, largest: int) -> Task | None:
    """How a job that died is tried again; None where it is not."""
    job = death.job
    if death.cause == "node":
        return replace(job, node_deaths=job.node_deaths + 1) if job.node_deaths < NODE_DEATHS else None
    more = min(2 * job.memory, largest)
    return replace(job, memory=more, grown=True) if more > job.memory and not job.grown else None


def _death_reason(death: TaskDied, largest: int) -> str:
    name = death.job.name
    if death.cause == "node":
        return f"The node of {name} died, as did {NODE_DEATHS} that it was on before; it may be too large for them."
    ended = "ended early; often that means that the memory ran out"
    if death.cause == "memory":
        ended = "took more memory than there was"
    if death.job.grown:
        return f"The process of {name} {ended}, with twice the memory too."
    return f"The process of {name} {ended}; no node has more than the {largest / GIGABYTE:.1f} GB that it asked for."
