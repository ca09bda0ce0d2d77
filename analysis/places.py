"""Where the models of a run are analysed: here, on a Ray cluster, or as jobs of the Hub; asked and answered alike."""

import multiprocessing
import signal
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Protocol

from headroles.core.records.head_categories import HeadCategories

from .disk import Disk
from .driving import too_long
from .finished import there
from .machines import Machine, this_machine
from .runs import Outcome, Plan, attempt, kept

SECONDS_TO_TIDY_UP = 10
HERE, RAY, JOBS = "here", "ray", "hf-jobs"
USUAL_FLAVOR = "cpu-basic"


class Place(Protocol):
    """Somewhere that models are analysed.

    Whoever asks writes the records, so that a place needs no disk of ours; and it alone says when a model is done for good.
    """

    def machine(self) -> Machine:
        """What one model has to itself there. Raises HeadRolesError where there is none."""
        ...

    def outcomes(self, models: Sequence[str], plan: Plan) -> Generator[Outcome]:
        """The outcome of each model as it ends, once, in any order; a new record is not written yet. Closing it stops all."""
        ...


@dataclass(frozen=True)
class Here:
    """This machine, one model after the other: one alone in this process, several each in their own.

    Attributes:
        disk: what downloads may take of it; None for all.
    """

    disk: Disk | None = None

    def machine(self) -> Machine:
        """See `Place`."""
        return this_machine()

    def outcomes(self, models: Sequence[str], plan: Plan) -> Generator[Outcome]:
        """See `Place`. With a limit one alone has a process too, since nothing else can be stopped."""
        apart = len(models) > 1 or plan.limit is not None
        for model in models:
            refused = self.disk.make_room(model, plan) if self.disk else ""
            if refused:
                yield Outcome(plan.called(model), "failed", 0.0, reason=refused)
                continue
            outcome = run_apart(model, plan) if apart else attempt(model, plan, there(plan.path_of(model)))
            if self.disk:
                self.disk.ended(model)
            yield outcome


def place_of(text: str, package: str = "", disk: Disk | None = None) -> Place:
    """The place that `--on` names: `here`, `ray`, `ray:HOST:PORT`, `hf-jobs` or `hf-jobs:FLAVOR`.

    Args:
        package: where a job of the Hub gets headroles.
        disk: what downloads may take here.

    Raises MissingPackageError for Ray where it is not installed.
    """
    kind, _, which = text.partition(":")
    if kind == HERE:
        return Here(disk)
    if kind == JOBS:
        from .on_jobs import OnJobs

        return OnJobs(which or USUAL_FLAVOR, package)
    from .on_ray import OnRay  # an extra, and slow to import

    return OnRay(which or None)


def run_each(models: Sequence[str], plan: Plan, place: Place) -> Generator[Outcome]:
    """The outcome of each model once its record is written; whoever closes it, or Ctrl-C, stops what is under way."""
    with closing(place.outcomes(models, plan)) as outcomes:
        for outcome in outcomes:
            yield kept(outcome, plan)


def run_apart(name_or_path: str, plan: Plan) -> Outcome:
    """The outcome of `attempt` in a process of its own, whose end, however violent, is not that of this one."""
    started = time.monotonic()
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    old = there(plan.path_of(name_or_path))
    process = context.Process(target=_attempt_and_send, args=(name_or_path, plan, old, sender), daemon=True)
    try:
        process.start()
        sender.close()  # so that the child's end is the end of the pipe
        if plan.limit is not None and not receiver.poll(plan.limit):
            return too_long(plan.called(name_or_path), plan.limit, time.monotonic() - started)
        outcome = receiver.recv()
        process.join(SECONDS_TO_TIDY_UP)
        return outcome
    except EOFError:
        process.join()
        name, seconds = plan.called(name_or_path), time.monotonic() - started
        return Outcome(name, "failed", seconds, reason=f"The process of {name} {_how_it_died(process.exitcode)}")
    finally:
        if process.pid is not None:  # else Ctrl-C came before it began
            process.kill()  # after Ctrl-C, or when a library does not let go
            process.join()
        receiver.close()


def _attempt_and_send(name_or_path: str, plan: Plan, old: HeadCategories | None, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both processes; the parent ends this one
    sender.send(attempt(name_or_path, plan, old))


def _how_it_died(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"was killed by {signal.Signals(-exit_code).name}; often that means that the memory ran out."
    return f"ended early, with exit code {exit_code}."
