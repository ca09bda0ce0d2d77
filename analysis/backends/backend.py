"""Where the models of a run are analysed: on this machine, on a Ray cluster, or as jobs of the Hub."""

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Protocol

from ..pipeline.disk_budget import DiskBudget
from ..pipeline.runs import AnalysisPlan, Outcome, save_record
from .machines import Machine

HERE, JOBS = "here", "hf-jobs"
USUAL_FLAVOR = "cpu-basic"


class Backend(Protocol):
    """Somewhere to analyse models.

    The caller writes the records, so a backend needs no access to this disk, and decides alone when a model is done.
    """

    def machine(self) -> Machine:
        """Describes what one model has to itself there.

        Raises:
            HeadRolesError: where there is no such machine.
        """
        ...

    def outcomes(self, models: Sequence[str], plan: AnalysisPlan) -> Generator[Outcome]:
        """Yields the outcome of each model once, in any order, as it ends; closing the generator stops all.

        A new record is not written yet.

        Args:
            models: as the command line names them.
            plan: what is asked of each.

        Raises:
            HeadRolesError: where the backend itself does not work.
        """
        ...


def open_backend(text: str, package: str = "", dataset: str = "", disk: DiskBudget | None = None) -> Backend:
    """The backend that `--on` names.

    Args:
        text: `here`, `ray`, `ray:HOST:PORT`, `hf-jobs` or `hf-jobs:FLAVOR`.
        package: what a job of the Hub installs headroles from; empty for what this one was installed from.
        dataset: `ORG/DATASET`, to which a job of the Hub pushes its record.
        disk: the limit of this machine's cache; None for none.

    Raises:
        MissingPackageError: for Ray where it is not installed.
    """
    kind, _, which = text.partition(":")
    if kind == HERE:
        from .local import LocalBackend

        return LocalBackend(disk)
    if kind == JOBS:
        from .hub_jobs import JobsBackend

        return JobsBackend(which or USUAL_FLAVOR, dataset, package)
    from .ray_cluster import RayBackend  # an extra, and slow to import

    return RayBackend(which or None)


def run_models(models: Sequence[str], plan: AnalysisPlan, backend: Backend) -> Generator[Outcome]:
    """Yields the outcome of each model once its record is written; closing the generator, or Ctrl-C, stops all.

    Args:
        models: as the command line names them.
        plan: what is asked of each.
        backend: where to analyse them.
    """
    with closing(backend.outcomes(models, plan)) as outcomes:
        for outcome in outcomes:
            yield save_record(outcome, plan)
