"""The newest of what a dataset repo on the Hub has: records of models, their training runs, or the atlas of all.

Nobody waits for the Hub: what is at hand serves at once, and a newer one takes its place when it has come and passed every
check.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar, Generic, TypedDict

from headroles.core.readings.analysis import SourceKind
from headroles.core.records.compatibility import ModelIdentity
from headroles.errors import HeadRolesError, InvalidRecordError, MissingPackageError
from headroles.hub.cache import MAX_COPIES, FileCache, N
from headroles.jobs import Job, Jobs
from headroles.settings import Settings

FRESH_SECONDS = 600  # how long the Hub's answer counts as fresh
RETRY_SECONDS = 60  # how soon the Hub is asked again after a failure
HUB_WAIT_SECONDS = 3  # how long a request that has nothing else waits for the Hub
MAX_REFRESHES = 2


class Origin(TypedDict):
    """What a `Source` says of where in a dataset something came from."""

    dataset: str
    commit: str
    confirmed: float


@dataclass(frozen=True)
class Published(Generic[N]):
    """What came from the dataset repo: its commit, when the Hub last confirmed it, and whether to this process."""

    item: N
    commit: str
    confirmed: float
    is_fresh: bool

    @property
    def kind(self) -> SourceKind:
        """How sure it is: confirmed to this process, or to an earlier one."""
        return "published" if self.is_fresh else "cached"

    def origin(self, dataset: str) -> Origin:
        """Where it came from, as a source says it."""
        return {"dataset": dataset, "commit": self.commit, "confirmed": self.confirmed}


@dataclass
class SyncState(Generic[N]):
    """What this process knows of what the dataset has of one model.

    Attributes:
        published: what came from there, the newest first; None before the disk was looked at.
        due: when the Hub is asked again, by the monotonic clock.
        trouble: why the Hub's last answer was of no use.
        identity: the model as it was last read here.
    """

    published: tuple[Published[N], ...] | None = None
    next_refresh: float = 0.0
    error: str = ""
    identity: ModelIdentity | None = None


def check_client(dataset: str) -> None:
    """Raises MissingPackageError where nothing here can talk to the Hub.

    Asked before the import: of two threads that import what fails, one is told another error.
    """
    if find_spec("huggingface_hub") is None:
        missing = ModuleNotFoundError("No module named 'huggingface_hub'", name="huggingface_hub")
        raise MissingPackageError.of(f"Reading {dataset} from the Hub", "app", missing)


class SyncedStore(ABC, Generic[N]):
    """What one server shows of a dataset; safe to share between threads.

    Attributes:
        max_models: models; past it, the one not asked for longest is forgotten.
    """

    max_models: ClassVar[int] = 1000

    def __init__(self, settings: Settings, cache: FileCache[N]) -> None:
        self._settings, self._cache = settings, cache
        self._refreshes: Jobs[None] = Jobs(MAX_REFRESHES)
        self._models: OrderedDict[str, SyncState[N]] = OrderedDict()
        self._lock = threading.Lock()

    @abstractmethod
    def _fetch_newest(self, model_name: str, known_commit: str) -> tuple[N | None, str]:
        """What the dataset has now, and its commit; nothing where the commit is the `known` one.

        Raises HeadRolesError where there is no whole answer, and FileNotFoundError where the dataset has nothing of this model.
        """

    @abstractmethod
    def _validate(self, item: N, now: float) -> None:
        """Raises InvalidRecordError for what cannot serve, as far as its model is known here.

        Args:
            item: what came.
            now: when it came, by this machine's clock.
        """

    @abstractmethod
    def _has_any(self, model_name: str, revision: str | None) -> bool:
        """Whether anything is at hand."""

    def refresh(self, model_name: str) -> Job[None] | None:
        """Asks the Hub in the background for what is newer, where that is due; never raises, never waits."""
        if not self._settings.dataset or not isinstance(model_name, str):
            return None
        known = self._state(model_name)
        with self._lock:
            if time.monotonic() < known.next_refresh:
                return self._refreshes.find(model_name)
            known.next_refresh = time.monotonic() + FRESH_SECONDS
        return self._refreshes.start(model_name, lambda _: self._refresh_now(model_name))

    def _state(self, model_name: str) -> SyncState[N]:
        with self._lock:
            known = self._models.pop(model_name, None) or SyncState()
            self._models[model_name] = known
            while len(self._models) > self.max_models:
                self._models.popitem(last=False)
            return known

    def _refresh_now(self, model_name: str) -> None:
        known, published = self._state(model_name), self._published(model_name)
        here = published[0] if published else None
        try:
            item, commit = self._fetch_newest(model_name, here.commit if here else "")
            item = item or (here.item if here else None)
            assert item is not None  # without a known commit there is no "unchanged"
            self._validate(item, time.time())
        except FileNotFoundError:
            known.error = ""
            return
        except HeadRolesError as error:
            known.error, known.next_refresh = str(error), time.monotonic() + RETRY_SECONDS
            return
        # the one before stays at hand: whether this one fits, some models tell only once they are read
        others = [other for other in published if other.commit != commit]
        known.published = (Published(item, commit, time.time(), is_fresh=True), *others[: MAX_COPIES - 1])
        known.error = ""
        self._cache.confirm(item, commit)

    def _published(self, model_name: str) -> tuple[Published[N], ...]:
        """What the Hub gave to this process, or else to an earlier one, the newest first."""
        known = self._state(model_name)
        if known.published is None:
            found = tuple(self._read_cached(model_name)) if self._settings.dataset else ()
            known.published = known.published or found
        return known.published

    def _read_cached(self, model_name: str) -> Iterator[Published[N]]:
        wrong = self._cache.find_error(model_name)
        for item, commit, when in self._cache.newest_first(model_name):
            try:
                self._validate(item, max(time.time(), when))
            except InvalidRecordError as error:
                wrong = wrong or error
                continue
            yield Published(item, commit, when, is_fresh=False)
        known = self._state(model_name)
        known.error = known.error or str(wrong or "")  # what the Hub said meanwhile is newer

    def _wait_if_empty(self, model_name: str, revision: str | None) -> None:
        job = self.refresh(model_name)
        if job is not None and not self._has_any(model_name, revision):
            job.wait(HUB_WAIT_SECONDS)
