"""The atlas of one server: of the operator's own records, those of the dataset by its atlas' file, and the embedded ones.

Nobody waits for the Hub but who asks first, and PATIENCE_SECONDS at most: what is at hand serves, and a newer file takes its
place when it has come and passed every check.
"""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from headroles.core.atlas import Atlas, atlas_of
from headroles.core.atlas_entries import MAX_ATLAS_BYTES, AtlasEntry, entry_of, parse_entries, to_lines
from headroles.core.record_files import file_part
from headroles.core.records import HeadCategories
from headroles.core.whole_files import make_folder, read_ordinary, write_whole
from headroles.errors import HeadRolesError, InvalidRecordError
from headroles.hub.copies import LocalRecords
from headroles.hub.dataset import fetch_atlas
from headroles.hub.newest import FRESH_SECONDS, PATIENCE_SECONDS, RETRY_SECONDS
from headroles.hub.store import embedded_records
from headroles.jobs import Job, Jobs
from headroles.settings import Settings


@dataclass(frozen=True)
class _Published:
    """What came from the dataset, and of which commit; of none that is known where an earlier process brought it."""

    entries: tuple[AtlasEntry, ...] = ()
    commit: str = ""


class AtlasStore:
    """The atlas that one server shows; safe to share between threads."""

    def __init__(self, settings: Settings, local: LocalRecords) -> None:
        self._settings, self._local = settings, local
        self._copy = settings.home / "atlas" / f"{file_part(f'{settings.dataset}@{settings.revision}')}.jsonl"
        self._refreshes: Jobs[None] = Jobs(1)
        self._published: _Published | None = None
        self._due, self._trouble = 0.0, ""
        self._lock = threading.Lock()
        self._counted: tuple[tuple[HeadCategories, ...], tuple[AtlasEntry, ...]] = ((), ())

    def find(self) -> Atlas:
        """The atlas of all records at hand; of several of one model the operator's own counts, then the dataset's."""
        job = self._refresh()
        published = self._at_hand()
        if job is not None and not published.entries:
            job.wait(PATIENCE_SECONDS)
            published = self._at_hand()
        return atlas_of((*self._own(), *published.entries, *_embedded()), self._settings.dataset, self._trouble)

    def _own(self) -> tuple[AtlasEntry, ...]:
        records = self._local.all()
        if self._counted[0] is not records:
            self._counted = (records, tuple(map(entry_of, records)))
        return self._counted[1]

    def _refresh(self) -> Job[None] | None:
        """Asks the Hub in the background for a newer atlas, where that is due; never raises, never waits."""
        dataset = self._settings.dataset
        if not dataset:
            return None
        with self._lock:
            if time.monotonic() < self._due:
                return self._refreshes.find(dataset)
            self._due = time.monotonic() + FRESH_SECONDS
        return self._refreshes.start(dataset, lambda _: self._fetch())

    def _fetch(self) -> None:
        dataset, known = self._settings.dataset, self._at_hand()
        try:
            entries, commit = fetch_atlas(dataset, self._settings.revision, known.commit)
        except FileNotFoundError:
            self._trouble = f"{dataset} holds no atlas yet; the next push of `headroles-analysis` makes one."
            return
        except HeadRolesError as error:
            self._trouble, self._due = str(error), time.monotonic() + RETRY_SECONDS
            return
        self._trouble = ""
        if entries is not None:
            self._published = _Published(entries, commit)
            with suppress(OSError):  # a disk that does not take the copy costs nothing
                make_folder(self._copy.parent, self._settings.home)
                write_whole(self._copy, to_lines(entries))

    def _at_hand(self) -> _Published:
        """What the Hub gave to this process, or else to an earlier one."""
        if self._published is None:
            found: tuple[AtlasEntry, ...] = ()
            if self._settings.dataset:
                with suppress(OSError, InvalidRecordError):  # gone, or none: as good as none
                    found = parse_entries(read_ordinary(self._copy, MAX_ATLAS_BYTES + 1), "on this machine")
            self._published = self._published or _Published(found)
        return self._published


@lru_cache
def _embedded() -> tuple[AtlasEntry, ...]:
    return tuple(map(entry_of, embedded_records()))
