"""Models analysed as jobs of the Hub, for those without a cluster: a job a model, on a machine that the Hub rents out.

A job gives its record back in its log (`framed`), and the driver alone writes and pushes. So a job needs no right to write
anywhere, no two of them meet in a dataset, and nothing is kept in two places. It is known by its labels: a driver that was killed
finds what runs, or ended well, and starts none of it twice.
"""

import inspect
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from huggingface_hub import HfApi

from headroles.core.registry import EMBEDDED_MODEL
from headroles.errors import InvalidInputError, MissingPackageError, ModelTooLargeError
from headroles.hub.repository import RepositoryFacts, check_size

from .driving import Job, drive
from .finished import there
from .job_workers import JobWorkers
from .machines import Machine, flavor
from .planning import PROCESS_BYTES, memory_of
from .runs import Outcome, Plan, facts_seen, is_remote, kept_already
from .work import package_here, work_of


@dataclass(frozen=True)
class OnJobs:
    """Jobs of the account whose token is here.

    Attributes:
        flavor: the Hub's name of the machines.
        package: where a job gets headroles; empty for where this one is from.
    """

    flavor: str
    package: str = ""

    def machine(self) -> Machine:
        """See `places.Place`."""
        return flavor(self.flavor)

    def outcomes(self, models: Sequence[str], plan: Plan) -> Generator[Outcome]:
        """See `places.Place`. A finished record is seen from here; so is a model that a job could not see, or that is too large.

        Raises HeadRolesError where there is no such machine, no token, or the Hub starts no job.
        """
        if "labels" not in inspect.signature(HfApi.list_jobs).parameters:
            raise MissingPackageError("--on hf-jobs needs huggingface-hub 2 or newer: pip install 'headroles[jobs]'.")
        machine, package = self.machine(), self.package or package_here()
        if plan.device != "cpu" and not machine.gpu_bytes:
            raise InvalidInputError(f"The Hub's {machine.name} has no GPU; name a machine with one, or leave --device out.")
        workers = None
        jobs: list[Job] = []
        for model in models:
            facts, old = facts_seen(model, plan), there(plan.path_of(model))
            if facts and old and (done := kept_already(model, plan, facts, old)):
                yield done
            elif refused := _refusal(model, plan, facts, machine):
                yield Outcome(plan.called(model), "failed", 0.0, reason=refused)
            else:
                workers = workers or JobWorkers(plan, machine)
                job = Job(model, plan.called(model), memory_of(facts, plan))
                workers.works[job] = work_of(model, plan, package, facts)
                jobs.append(job)
        if workers:
            yield from drive(jobs, workers)  # the Hub itself stops what takes too long, also when nobody is here to see it


def _refusal(model: str, plan: Plan, facts: RepositoryFacts | None, machine: Machine) -> str:
    """Why a job would be paid for in vain; empty where nothing speaks against it."""
    if not (is_remote(model) or model == EMBEDDED_MODEL):
        return f"{plan.called(model)} lies on this machine, where no job sees it; only models of the Hub are analysed as jobs."
    if facts is None:
        return ""  # the job says why
    try:
        check_size(facts, machine.memory_bytes - PROCESS_BYTES, plan.dtype.itemsize, f"on {machine.name}")
        if plan.device != "cpu":
            check_size(facts, machine.gpu_bytes, plan.dtype.itemsize, f"on the GPU of {machine.name}")
    except ModelTooLargeError as error:
        return str(error)
    return ""
