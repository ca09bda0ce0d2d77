"""Models analysed on this machine, one after the other."""

import multiprocessing
import signal
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from headroles.core.records.head_categories import HeadCategories

from ..pipeline.disk_budget import DiskBudget
from ..pipeline.runs import AnalysisPlan, Outcome, analyze_model
from ..pipeline.up_to_date import read_existing
from .machines import Machine, local_machine
from .scheduler import timeout_outcome

SECONDS_TO_TIDY_UP = 10


@dataclass(frozen=True)
class LocalBackend:
    """This machine. A single model is analysed in this process, several in a process each.

    Attributes:
        disk: the limit of the cache; None for none.
    """

    disk: DiskBudget | None = None

    def machine(self) -> Machine:
        """See `Backend`."""
        return local_machine()

    def outcomes(self, models: Sequence[str], plan: AnalysisPlan) -> Generator[Outcome]:
        """See `Backend`. With a time limit a single model has its own process too, since nothing else can be stopped."""
        apart = len(models) > 1 or plan.limit is not None
        for model in models:
            refused = self.disk.make_room(model, plan) if self.disk else ""
            if refused:
                yield Outcome(plan.record_name(model), "failed", 0.0, reason=refused)
                continue
            outcome = run_in_process(model, plan) if apart else analyze_model(model, plan, read_existing(plan.record_path(model)))
            if self.disk:
                self.disk.ended(model)
            yield outcome


def run_in_process(name_or_path: str, plan: AnalysisPlan) -> Outcome:
    """Analyses a model in a process of its own, which may die without ending this one.

    Args:
        name_or_path: of the model.
        plan: what is asked of it.
    """
    started = time.monotonic()
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    old = read_existing(plan.record_path(name_or_path))
    process = context.Process(target=_analyze_and_send, args=(name_or_path, plan, old, sender), daemon=True)
    try:
        process.start()
        sender.close()  # so that the child's end is the end of the pipe
        if plan.limit is not None and not receiver.poll(plan.limit):
            return timeout_outcome(plan.record_name(name_or_path), plan.limit, time.monotonic() - started)
        outcome = receiver.recv()
        process.join(SECONDS_TO_TIDY_UP)
        return outcome
    except EOFError:
        process.join()
        name, seconds = plan.record_name(name_or_path), time.monotonic() - started
        return Outcome(name, "failed", seconds, reason=f"The process of {name} {_death_reason(process.exitcode)}")
    finally:
        if process.pid is not None:  # else Ctrl-C came before it began
            process.kill()  # after Ctrl-C, or when a library does not let go
            process.join()
        receiver.close()


def _analyze_and_send(name_or_path: str, plan: AnalysisPlan, old: HeadCategories | None, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both processes; the parent ends this one
    sender.send(analyze_model(name_or_path, plan, old))


def _death_reason(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"was killed by {signal.Signals(-exit_code).name}, often a sign that memory ran out."
    return f"ended early, with exit code {exit_code}."
