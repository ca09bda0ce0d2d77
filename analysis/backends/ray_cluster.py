"""Models analysed on a Ray cluster: a task and a process each, on any node with enough memory; records come back as JSON.

Ray's own retries are off: it would start a task again with the memory that was too little, as often as that happens. The
scheduler asks for more instead, and tells the death of a node from that of a process.
"""

import logging
import os
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from headroles.core.records.record_files import parse_record
from headroles.core.registry import MODELS
from headroles.errors import HeadRolesError, InvalidInputError, MissingPackageError
from headroles.hub.http import set_timeouts
from headroles.models.model_pool import configure_malloc

from ..pipeline.estimates import analysis_bytes
from ..pipeline.runs import AnalysisPlan, Outcome, analyze_model, find_facts, skip_up_to_date
from ..pipeline.sources import locate_model
from ..pipeline.up_to_date import read_existing
from .machines import Machine
from .scheduler import Event, Task, TaskDied, TaskEnded, TaskStarted, run_tasks

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else it tells its makers of every cluster that it starts
try:
    import ray  # pyright: ignore[reportMissingImports]  # an extra
    from ray import exceptions  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError as missing:
    raise MissingPackageError.of("--on ray", "ray", missing) from missing

Answer = tuple[Outcome, str]  # its record apart, as JSON: what crosses the network is what is checked and written


@dataclass(frozen=True)
class RayBackend:
    """A Ray cluster. Every node has headroles[analysis,ray] in the same versions, and sees folders of models at the same paths.

    Attributes:
        address: `HOST:PORT` of its head; None for RAY_ADDRESS, the cluster that this machine is part of, or else a new one.
    """

    address: str | None = None

    def machine(self) -> Machine:
        """What a task asks for: one core; the memory depends on its model."""
        return Machine()

    def outcomes(self, models: Sequence[str], plan: AnalysisPlan) -> Generator[Outcome]:
        """See `Backend`. A model that is up to date, as far as this machine can see, takes no worker."""
        with connected(self.address):
            pool = RayPool(plan)
            tasks = []
            for model in models:
                try:
                    facts = find_facts(model, plan)
                except HeadRolesError:  # a worker may see it, or says why not
                    facts = None
                if facts and (done := skip_up_to_date(model, plan, facts)):
                    yield done
                else:
                    tasks.append(Task(model, plan.record_name(model), min(analysis_bytes(facts, plan), pool.largest)))
            yield from run_tasks(tasks, pool, plan.limit)


class RayPool:
    """The nodes of the cluster that this process is connected to; see `scheduler.WorkerPool`."""

    def __init__(self, plan: AnalysisPlan) -> None:
        """Looks up what the nodes of the cluster have."""
        self._plan = plan
        self._running: dict[Any, Task] = {}  # by the generator of the task's answers
        resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if plan.device != "cpu" and not any(node.get("GPU", 0) >= 1 for node in resources):
            raise InvalidInputError("No node of the Ray cluster has a GPU; leave --device out to use the CPUs.")
        self.largest = int(max(node.get("memory", 0) for node in resources))
        self._task = ray.remote(max_calls=1, max_retries=0)(score)

    def now(self) -> float:
        """See `WorkerPool`."""
        return time.monotonic()

    def start(self, task: Task) -> None:
        """See `WorkerPool`."""
        old = read_existing(self._plan.record_path(task.model))
        # a folder or file by its whole path; what the registry names may lie elsewhere on another machine
        model = task.model if task.model in MODELS else str(locate_model(task.model))
        arguments = model, replace(self._plan, name=task.name, offline=False), old.to_json() if old else None
        needs = {"num_cpus": 1, "num_gpus": int(self._plan.device != "cpu"), "memory": task.memory}
        generator = self._task.options(num_returns="streaming", name=task.name, **needs).remote(*arguments)
        self._running[generator] = task

    def cancel(self, task: Task) -> None:
        """See `WorkerPool`."""
        for generator in [generator for generator, running in self._running.items() if running == task]:
            del self._running[generator]
            ray.cancel(generator, force=True)  # a model that hangs in a library hears nothing else

    def wait(self, seconds: float | None) -> Sequence[Event]:
        """See `WorkerPool`."""
        ready, _ = ray.wait(list(self._running), timeout=seconds)
        return [self._receive(generator) for generator in ready]

    def _receive(self, generator: Any) -> Event:
        task = self._running[generator]
        try:
            answer = ray.get(next(generator))
        except exceptions.RayError as error:
            del self._running[generator]
            return _as_event(task, error)
        if answer is None:
            return TaskStarted(task)
        del self._running[generator]
        outcome, record = answer
        return TaskEnded(task, replace(outcome, record=parse_record(record, task.name)) if record else outcome)


def score(model: str, plan: AnalysisPlan, old: str | None) -> Iterator[Answer | None]:
    """Runs in a worker: yields None when it begins, then the outcome. Writes nothing where it runs.

    Args:
        model: a name, or the path of a folder or file.
        plan: what is asked of it.
        old: the record that exists, as JSON; None for none.
    """
    yield None
    set_timeouts()
    configure_malloc()
    outcome = analyze_model(model, plan, parse_record(old, plan.name) if old else None)
    yield replace(outcome, record=None), outcome.record.to_json() if outcome.record else ""


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connects to a cluster for a while; a connection that this process has already is used, and left as it is.

    Raises:
        HeadRolesError: where no cluster answers.
    """
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"at {address}" if address else "here"
        raise HeadRolesError(f"No Ray cluster answers {where}, or it runs another version of Ray or Python.") from error
    try:
        yield
    finally:
        ray.shutdown()


def _as_event(task: Task, error: exceptions.RayError) -> Event:
    if isinstance(error, exceptions.OutOfMemoryError):
        return TaskDied(task, "memory")
    if isinstance(error, exceptions.WorkerCrashedError):
        return TaskDied(task, "process")
    # a record that lay on a node that is gone is as lost as one that was being made there
    if isinstance(error, exceptions.NodeDiedError | exceptions.ObjectLostError | exceptions.TaskUnschedulableError):
        return TaskDied(task, "node")
    first = str(error).strip().splitlines()
    reason = f"{task.name} could not be analysed on the cluster: {type(error).__name__}: {(first or [''])[-1][:200]}"
    return TaskEnded(task, Outcome(task.name, "failed", 0.0, reason=reason))
