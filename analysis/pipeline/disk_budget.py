"""A limit for the Hub's cache: files of models that are done make room for the next, the oldest first."""

from dataclasses import dataclass, field

from huggingface_hub import CacheNotFound, constants, scan_cache_dir
from huggingface_hub.utils import HFCacheInfo

from headroles.errors import HeadRolesError
from headroles.settings import GIGABYTE

from .estimates import download_bytes
from .runs import AnalysisPlan, find_facts
from .sources import is_remote, locate_model, split_revision


@dataclass
class DiskBudget:
    """What the Hub's cache on this machine may take during a run.

    Only what this run downloaded is ever deleted, and only once its model is done: others may be using whatever else is cached.

    Attributes:
        budget: bytes of the whole cache.
    """

    budget: int
    _before: frozenset[str] = frozenset()  # commits
    _done: dict[str, None] = field(default_factory=dict)  # commits that may go, the oldest first

    def __post_init__(self) -> None:
        """Notes what is in the cache before the run."""
        self._before = frozenset(commit for commit, _ in _snapshots(_cache()))

    def make_room(self, model: str, plan: AnalysisPlan) -> str:
        """Deletes as much as the model's download needs; returns why there is no room within the budget, else nothing.

        Args:
            model: as the command line names it.
            plan: what is asked of it.
        """
        try:
            wanted = download_bytes(find_facts(model, plan))
        except HeadRolesError:
            return ""  # the analysis itself will report it
        taken = self._shrink_to(self.budget - wanted) if wanted else 0
        if not wanted or taken + wanted <= self.budget:
            return ""
        return (
            f"{plan.record_name(model)} needs {wanted / GIGABYTE:.1f} GB to download, and {taken / GIGABYTE:.1f} GB stay in the "
            f"cache; together that is more than the {self.budget / GIGABYTE:.1f} GB of --disk."
        )

    def ended(self, model: str) -> None:
        """Says that nothing here reads the model any more."""
        if not is_remote(model):
            return
        source = locate_model(split_revision(model)[0])
        for commit, repository in _snapshots(_cache()):
            if repository == source and commit not in self._before:
                self._done.setdefault(commit)
        self._shrink_to(self.budget)

    def _shrink_to(self, limit: int) -> int:
        """Deletes until the cache takes no more, or nothing is left that may be deleted; returns its size then."""
        cache = _cache()
        while cache and cache.size_on_disk > limit and self._done:
            oldest = next(iter(self._done))
            del self._done[oldest]
            cache.delete_revisions(oldest).execute()
            cache = _cache()
        return cache.size_on_disk if cache else 0


def _cache() -> HFCacheInfo | None:
    try:
        return scan_cache_dir(constants.HF_HUB_CACHE)
    except CacheNotFound:
        return None


def _snapshots(cache: HFCacheInfo | None) -> list[tuple[str, str]]:
    """Commit and repository of every model's files."""
    repositories = [repo for repo in cache.repos if repo.repo_type == "model"] if cache else []
    return [(revision.commit_hash, repo.repo_id) for repo in repositories for revision in repo.revisions]
