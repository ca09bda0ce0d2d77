"""Models analysed on a Ray cluster: a task and a process each, on whatever node has the memory; records come back as JSON.

Ray's own retries are off. It would start a task again with the memory that it died of, as often as that happens; `driving` asks
for more instead, and tells a node's death from that of a process.
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
from headroles.models.model_pool import tame_glibc

from .driving import Died, Ended, Event, Job, Started, drive
from .finished import there
from .machines import Machine
from .planning import memory_of
from .runs import Outcome, Plan, attempt, facts_seen, kept_already, locate

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else it tells its makers of every cluster that it starts
try:
    import ray  # pyright: ignore[reportMissingImports]  # an extra
    from ray import exceptions  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError as missing:
    raise MissingPackageError.of("--on ray", "ray", missing) from missing

Answer = tuple[Outcome, str]  # its record apart, as JSON: what crosses the network is what is checked and written


@dataclass(frozen=True)
class OnRay:
    """A Ray cluster. Every node has headroles[analysis,ray] in the same versions, and sees folders of models at the same paths.

    Attributes:
        address: `HOST:PORT` of its head; None for RAY_ADDRESS, the cluster that this machine is part of, or else one of its own.
    """

    address: str | None = None

    def machine(self) -> Machine:
        """What a task asks for: one core, and as much memory as its model takes."""
        return Machine()

    def outcomes(self, models: Sequence[str], plan: Plan) -> Generator[Outcome]:
        """See `places.Place`. A finished record is seen from here, where the model can be; no worker is asked then.

        Raises HeadRolesError where there is no such cluster, or none with a GPU for `--device cuda`.
        """
        with connected(self.address):
            workers = RayWorkers(plan)
            jobs = []
            for model in models:
                facts, old = facts_seen(model, plan), there(plan.path_of(model))
                if facts and old and (done := kept_already(model, plan, facts, old)):
                    yield done
                else:
                    jobs.append(Job(model, plan.called(model), min(memory_of(facts, plan), workers.largest)))
            yield from drive(jobs, workers, plan.limit)


class RayWorkers:
    """The nodes of the cluster that this process is connected to; see `driving.Workers`."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._running: dict[Any, Job] = {}  # by the generator of the task's answers
        resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if plan.device != "cpu" and not any(node.get("GPU", 0) >= 1 for node in resources):
            raise InvalidInputError("No node of the Ray cluster has a GPU; leave --device out to use the CPUs.")
        self.largest = int(max(node.get("memory", 0) for node in resources))
        self._task = ray.remote(max_calls=1, max_retries=0)(score)

    def now(self) -> float:
        return time.monotonic()

    def start(self, job: Job) -> None:
        old = there(self._plan.path_of(job.model))
        # a folder or file by its whole path; what the registry names may lie elsewhere on another machine
        model = job.model if job.model in MODELS else str(locate(job.model))
        arguments = model, replace(self._plan, name=job.name, offline=False), old.to_json() if old else None
        needs = {"num_cpus": 1, "num_gpus": int(self._plan.device != "cpu"), "memory": job.memory}
        generator = self._task.options(num_returns="streaming", name=job.name, **needs).remote(*arguments)
        self._running[generator] = job

    def cancel(self, job: Job) -> None:
        for generator in [generator for generator, running in self._running.items() if running == job]:
            del self._running[generator]
            ray.cancel(generator, force=True)  # a model that hangs in a library hears nothing else

    def wait(self, seconds: float | None) -> Sequence[Event]:
        ready, _ = ray.wait(list(self._running), timeout=seconds)
        return [self._heard(generator) for generator in ready]

    def _heard(self, generator: Any) -> Event:
        job = self._running[generator]
        try:
            answer = ray.get(next(generator))
        except exceptions.RayError as error:
            del self._running[generator]
            return _ended(job, error)
        if answer is None:
            return Started(job)
        del self._running[generator]
        outcome, record = answer
        return Ended(job, replace(outcome, record=parse_record(record, job.name)) if record else outcome)


def score(model: str, plan: Plan, old: str | None) -> Iterator[Answer | None]:
    """What a worker does: says that it has begun, with None, then how it went. Nothing is written where it runs."""
    yield None
    set_timeouts()
    tame_glibc()
    outcome = attempt(model, plan, parse_record(old, plan.name) if old else None)
    yield replace(outcome, record=None), outcome.record.to_json() if outcome.record else ""


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """The connection to a cluster while it lasts; one that this process has already is taken, and left as it is.

    Raises HeadRolesError where nobody answers.
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


def _ended(job: Job, error: exceptions.RayError) -> Event:
    if isinstance(error, exceptions.OutOfMemoryError):
        return Died(job, "memory")
    if isinstance(error, exceptions.WorkerCrashedError):
        return Died(job, "process")
    # a record that lay on a node that is gone is as lost as one that was being made there
    if isinstance(error, exceptions.NodeDiedError | exceptions.ObjectLostError | exceptions.TaskUnschedulableError):
        return Died(job, "node")
    first = str(error).strip().splitlines()
    reason = f"{job.name} could not be analysed on the cluster: {type(error).__name__}: {(first or [''])[-1][:200]}"
    return Ended(job, Outcome(job.name, "failed", 0.0, reason=reason))
