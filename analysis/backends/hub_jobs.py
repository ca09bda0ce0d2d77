"""Models analysed as jobs of the Hub, for those without a cluster: one job for each model, on a machine that the Hub rents out.

A job scores one model and pushes the record to a dataset with the command that anyone would use; here it is read back from
there. Jobs are known by their labels, so a run that was killed and is started again finds the jobs that still run, and the
dataset has the records of those that ended: nothing is started twice.
"""

import inspect
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from huggingface_hub import HfApi

from headroles.core.registry import EMBEDDED_MODEL
from headroles.errors import HeadRolesError, InvalidInputError, MissingPackageError
from headroles.hub.repository import RepositoryFacts, check_size

from ..pipeline.estimates import PROCESS_BYTES, analysis_bytes
from ..pipeline.runs import AnalysisPlan, Outcome, find_facts, skip_up_to_date
from ..pipeline.sources import is_remote
from .job_pool import JobPool
from .job_spec import installed_requirement, make_job_spec
from .machines import Machine, rented_machine
from .scheduler import Task, run_tasks


@dataclass(frozen=True)
class JobsBackend:
    """Jobs of the account whose token is set here.

    Attributes:
        flavor: the Hub's name of the machines.
        dataset: `ORG/DATASET`, to which the jobs push.
        package: what a job installs headroles from; empty for what this one was installed from.
    """

    flavor: str
    dataset: str
    package: str = ""

    def machine(self) -> Machine:
        """See `Backend`."""
        return rented_machine(self.flavor)

    def outcomes(self, models: Sequence[str], plan: AnalysisPlan) -> Generator[Outcome]:
        """See `Backend`. A model that is up to date here, or that cannot work, takes no job."""
        if "labels" not in inspect.signature(HfApi.list_jobs).parameters:
            raise MissingPackageError("--on hf-jobs needs huggingface-hub 2 or newer: pip install 'headroles[jobs]'.")
        machine, package = self.machine(), self.package or installed_requirement()
        if plan.device != "cpu" and not machine.gpu_bytes:
            raise InvalidInputError(f"The Hub's {machine.name} has no GPU; name a machine with one, or leave --device out.")
        pool = None
        tasks: list[Task] = []
        for model in models:
            name = plan.record_name(model)
            try:
                facts = find_facts(model, plan)
                _check(model, plan, facts, machine)
            except HeadRolesError as error:
                yield Outcome(name, "failed", 0.0, reason=str(error))
                continue
            if done := skip_up_to_date(model, plan, facts):
                yield done
                continue
            pool = pool or JobPool(plan, machine, self.dataset)
            task = Task(model, name, analysis_bytes(facts, plan))
            pool.specs[task] = make_job_spec(model, plan, package, self.dataset, facts), facts
            tasks.append(task)
        if pool:
            yield from run_tasks(tasks, pool)  # the Hub itself stops jobs that take too long


def _check(model: str, plan: AnalysisPlan, facts: RepositoryFacts, machine: Machine) -> None:
    """Raises HeadRolesError where a job would be paid for in vain."""
    if not (is_remote(model) or model == EMBEDDED_MODEL):
        name = plan.record_name(model)
        raise InvalidInputError(
            f"{name} is on this machine, where a job cannot read it; only models on the Hub can be analysed as jobs."
        )
    check_size(facts, machine.memory_bytes - PROCESS_BYTES, plan.dtype.itemsize, f"on {machine.name}")
    if plan.device != "cpu":
        check_size(facts, machine.gpu_bytes, plan.dtype.itemsize, f"on the GPU of {machine.name}")
