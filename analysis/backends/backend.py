"""Where the models of a run are analysed: here, on a Ray cluster, or as jobs of the Hub; asked and answered alike."""

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Protocol

from ..pipeline.disk_budget import DiskBudget
from ..pipeline.runs import AnalysisPlan, Outcome, save_record
from .machines import Machine

HERE, RAY, JOBS = "here", "ray", "hf-jobs"
USUAL_FLAVOR = "cpu-basic"


class Backend(Protocol):
    """Somewhere that models are analysed.

    Whoever asks writes the records, so that a place needs no disk of ours; and it alone says when a model is done for good.
    """

    def machine(self) -> Machine:
        """What one model has to itself there. Raises HeadRolesError where there is none."""
        ...

    def outcomes(self, models: Sequence[str], plan: AnalysisPlan) -> Generator[Outcome]:
        """The outcome of each model as it ends, once, in any order; a new record is not written yet. Closing it stops all."""
        ...


def open_backend(text: str, package: str = "", dataset: str = "", disk: DiskBudget | None = None) -> Backend:
    """The place that `--on` names: `here`, `ray`, `ray:HOST:PORT`, `hf-jobs` or `hf-jobs:FLAVOR`.

    Args:
        package: where a job of the Hub gets headroles.
        dataset: `ORG/DATASET`, to which a job of the Hub pushes its record.
        disk: what downloads may take here.

    Raises MissingPackageError for Ray where it is not installed.
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


def run_models(models: Sequence[str], plan: AnalysisPlan, place: Backend) -> Generator[Outcome]:
    """The outcome of each model once its record is written; whoever closes it, or Ctrl-C, stops what is under way."""
    with closing(place.outcomes(models, plan)) as outcomes:
        for outcome in outcomes:
            yield save_record(outcome, plan)
