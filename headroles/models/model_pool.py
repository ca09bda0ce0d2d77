"""The models in memory: loaded in the background, at most as many as the budget holds, the least recently used first to go."""

import ctypes
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from headroles.errors import BusyError
from headroles.hub.download import fetch
from headroles.hub.repository import RepositoryFacts, check_size, inspect
from headroles.jobs import POLL_SECONDS, Job, Jobs
from headroles.models.loading.loader import load_model
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.untrusted.sandbox import check_in_sandbox

T = TypeVar("T")
MAX_LOADS = 4
MMAP_THRESHOLD_BYTES = 1024**2
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # from glibc's malloc.h
MAX_ARENAS = 2  # heaps that all threads share
WAIT_SECONDS = 60  # for models in use to fall idle, before a load gives up


@dataclass(eq=False)
class _Entry:
    """A model in memory or on its way there.

    Attributes:
        reader: None while it loads.
        bytes: what it takes of the budget, from the moment that there is room for it.
        users: the requests that use it or wait for it, and its own load. While there are any it is not freed.
    """

    name: str
    job: Job[None] = field(init=False)
    reader: PatternReader | None = None
    bytes: int = 0
    users: int = 1

    def __str__(self) -> str:
        return self.name


def fetch_files(name: str, facts: RepositoryFacts, job: Job) -> RepositoryFacts:
    """Downloads what is not on this machine yet, and tells the job how far it is."""
    note = f"downloading {name}"
    return replace(facts, path=fetch(facts, on_progress=lambda share: job.report(0.05 + 0.7 * share, note)))


def load_reader(name: str, facts: RepositoryFacts, job: Job) -> PatternReader:
    """Reads and tests a model, and tells the job how far it is."""
    if not facts.is_registered:
        note = f"trying out {name} in a process of its own"
        job.report(0.76, note)
        tokenizer = check_in_sandbox(name, facts, while_waiting=lambda: job.report(0.76, note))
    else:
        tokenizer = None
    try:
        job.report(0.8, f"reading {name}")
        loaded = load_model(name, facts, tokenizer=tokenizer)
        job.report(0.9, f"testing the attention of {name}")
        return PatternReader(loaded)
    except BaseException:
        if tokenizer:
            tokenizer.close()
        raise


class ModelPool:
    """Shared by all threads. Models in `pinned` are never evicted.

    A request for a model in memory never waits, a load waits for another one only where memory or MAX_LOADS are short. A
    model that has to go is gone for new requests at once, while those under way finish on it; its memory counts until they have.
    """

    def __init__(
        self,
        budget_bytes: int,
        pinned: Collection[str] = (),
        inspect: Callable[[str | Path], RepositoryFacts] = inspect,
        fetch: Callable[[str, RepositoryFacts, Job], RepositoryFacts] = fetch_files,
        load: Callable[[str, RepositoryFacts, Job], PatternReader] = load_reader,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._budget, self._pinned, self._wait_seconds = budget_bytes, frozenset(pinned), wait_seconds
        self._inspect, self._fetch, self._load = inspect, fetch, load
        self._loads: Jobs[None] = Jobs(MAX_LOADS)
        self._current: dict[str, _Entry] = {}  # what a new request gets, least recently used first
        self._held: set[_Entry] = set()  # all that take memory: those, and what was evicted or cancelled but has not ended
        self._changed = threading.Condition()

    @property
    def used_bytes(self) -> int:
        """Memory of all models that are loaded, loading, or still in use after their eviction."""
        with self._changed:
            return sum(entry.bytes for entry in self._held)

    @property
    def loaded(self) -> tuple[str, ...]:
        """The models in memory, least recently used first."""
        with self._changed:
            return tuple(name for name, entry in self._current.items() if entry.reader is not None)

    def prepare(self, name: str, source: str | Path) -> Job[None]:
        """Starts loading a model, or joins its load; a job that is done already when it is in memory.

        The job raises what `inspect` and `load_model` raise, ModelTooLargeError when the model exceeds the whole budget, and
        BusyError when the models in use leave no room for too long.
        """
        with self._changed:
            return self._find_or_load(name, source).job

    def use(self, name: str, source: str | Path, work: Callable[[PatternReader], T]) -> T:
        """What `work` gives for the model's reader, which is loaded first if need be, and stays in memory until `work` ends.

        `work` must not keep the reader. Raises as `prepare`'s job, and what `work` raises.
        """
        with self._changed:
            entry = self._find_or_load(name, source)
            entry.users += 1
        try:
            if entry.reader is None:
                entry.job.result()
            assert entry.reader is not None
            return work(entry.reader)
        finally:
            self._release(entry)

    def _find_or_load(self, name: str, source: str | Path) -> _Entry:
        """Needs the lock."""
        entry = self._current.get(name)
        if entry is None or not (entry.reader or entry.job.join()):
            entry = _Entry(name)
            entry.job = self._loads.start(entry, lambda job: self._load_into(entry, source, job), lambda: self._drop(entry))
            self._current[name] = entry
            self._held.add(entry)
        return entry

    def _load_into(self, entry: _Entry, source: str | Path, job: Job) -> None:
        name = entry.name
        try:
            job.report(0.0, f"looking at {name}")
            facts = self._inspect(source)
            with self._changed:
                pinned = sum(other.bytes for other in self._held if other.name in self._pinned and other.name != name)
            check_size(facts, self._budget - pinned)
            facts = self._fetch(name, facts, job)  # before there is room: a download takes none
            self._make_room(entry, facts.memory_bytes, job)
            reader = self._load(name, facts, job)
            self._make_room(entry, reader.loaded.memory_bytes, job)  # what it takes, no longer what its files say
            with self._changed:
                entry.reader = reader
        except BaseException as error:
            _clear_frames(error)
            with self._changed:
                if self._current.get(name) is entry:
                    del self._current[name]
            raise
        finally:
            self._release(entry)

    def _drop(self, entry: _Entry) -> None:
        """For an entry whose load nobody waited for long enough to begin."""
        with self._changed:
            if self._is_current(entry):
                del self._current[entry.name]
        self._release(entry)

    def _make_room(self, entry: _Entry, need: int, job: Job) -> None:
        """Gives the entry `need` bytes of the budget, evicting what was not used for longest, and waiting for what is in use."""
        deadline = time.monotonic() + self._wait_seconds
        while True:
            with self._changed:
                excess = self.used_bytes - entry.bytes + need - self._budget
                if excess <= 0:
                    entry.bytes = need
                    self._changed.notify_all()
                    return
                idle = self._evict(excess)
                if not idle:
                    if time.monotonic() >= deadline:
                        self._restore()
                        raise BusyError("The models in use fill this machine's memory; try again in a minute.")
                    job.report(job.progress.fraction, "waiting for memory")
                    self._changed.wait(POLL_SECONDS)
            for other in idle:
                self._free(other)

    def _evict(self, excess: int) -> list[_Entry]:
        """Makes models go until `excess` bytes are free or will be, those nobody uses first; gives those to free now."""
        excess -= sum(entry.bytes for entry in self._held if not self._is_current(entry))
        candidates = [entry for entry in self._current.values() if entry.reader and entry.name not in self._pinned]
        idle = []
        for entry in sorted(candidates, key=lambda entry: entry.users > 0):
            if excess <= 0:
                break
            del self._current[entry.name]
            excess -= entry.bytes
            if not entry.users:
                idle.append(entry)
        return idle

    def _restore(self) -> None:
        """Takes models back that were to go and are still in use, when nobody waits any longer for them to end."""
        for entry in self._held:
            if entry.users and entry.reader:
                self._current.setdefault(entry.name, entry)

    def _release(self, entry: _Entry) -> None:
        with self._changed:
            entry.users -= 1
            if current := self._is_current(entry):
                self._current[entry.name] = self._current.pop(entry.name)  # now the most recently used
            self._changed.notify_all()
            ended = not current and not entry.users
        if ended:
            self._free(entry)

    def _free(self, entry: _Entry) -> None:
        """Lets go of a model that nobody can reach any more, and only then counts its memory as free."""
        if entry.reader is not None:
            _free_tensors(entry.reader)
            entry.reader = None
        with self._changed:
            self._held.remove(entry)
            self._changed.notify_all()

    def _is_current(self, entry: _Entry) -> bool:
        return self._current.get(entry.name) is entry


def _free_tensors(reader: PatternReader) -> None:
    """Ends a model's tokenizer process and frees its weights.

    The weights go even where something still refers to the reader, as the traceback of a request that failed does.
    """
    reader.loaded.close()
    model = reader.loaded.model
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.new_empty(0)


def _clear_frames(error: BaseException | None) -> None:
    """Frees a half-built model that the frames of a failed load hold, for as long as somebody keeps the error."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def configure_malloc() -> None:
    """Makes glibc return freed memory to the system; each process calls it once, at its start.

    Every block over MMAP_THRESHOLD_BYTES has pages of its own: by itself glibc raises that limit up to 32 MB as blocks are freed,
    and keeps them. After 200 switches between four models of 45 MB, 170 to 245 MB more than the budget were resident; with this
    it is 51 to 81 MB (tests/models/test_model_pool.py). All threads share MAX_ARENAS heaps, where each had one of its own, full
    of holes: a minute after a visitor asked for 239 pictures, 102 MB were left, and 78 MB with this.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):  # musl has none
        library.mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)
        library.mallopt(M_ARENA_MAX, MAX_ARENAS)
