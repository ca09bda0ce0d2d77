"""The atlas of one server: of the operator's own records, those of the dataset by its atlas' file, and the embedded ones.

Nobody waits for the Hub but who asks first: see `hub.newest`.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from headroles.core.records.atomic_files import write_whole
from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.validation import read_bounded
from headroles.core.surveys.atlas import Atlas, build_atlas
from headroles.core.surveys.atlas_entries import MAX_ATLAS_BYTES, AtlasEntry, entries_to_lines, make_entry, parse_entries
from headroles.errors import HubError
from headroles.hub.cache import FileCache, LocalRecords, dataset_cache_path
from headroles.hub.record_store import embedded_records
from headroles.hub.sync import SyncedStore, check_client
from headroles.settings import Settings

ATLAS_NAME = "atlas"  # what it is called among copies, which are of models otherwise; and their folder


@dataclass(frozen=True)
class CachedAtlas:
    """The atlas' file of a dataset."""

    entries: tuple[AtlasEntry, ...]

    @property
    def model_name(self) -> str:
        """The name that its file has in the cache."""
        return ATLAS_NAME


class AtlasCache(FileCache[CachedAtlas]):
    """Copies of it."""

    suffix = ".jsonl"

    def read_file(self, path: Path) -> CachedAtlas:
        """Reads and checks an atlas file."""
        return CachedAtlas(parse_entries(read_bounded(path, MAX_ATLAS_BYTES, f"The atlas {path.name}"), path.name))

    def write_file(self, item: CachedAtlas, path: Path) -> Path:
        """Writes an atlas file whole."""
        write_whole(path, entries_to_lines(item.entries))
        return path


class AtlasStore(SyncedStore[CachedAtlas]):
    """The atlas that one server shows; safe to share between threads."""

    def __init__(self, settings: Settings, local: LocalRecords) -> None:
        _, name = dataset_cache_path(settings.dataset, settings.revision)
        super().__init__(settings, AtlasCache(settings.home, ATLAS_NAME, name))
        self._local = local
        self._local_cache: tuple[tuple[HeadCategories, ...], tuple[AtlasEntry, ...]] = ((), ())

    def find(self) -> Atlas:
        """The atlas of all records at hand; of several of one model the operator's own counts, then the dataset's."""
        self._wait_if_empty(ATLAS_NAME, None)
        published = (entry for newest in self._published(ATLAS_NAME)[:1] for entry in newest.item.entries)
        return build_atlas(
            (*self._local_entries(), *published, *_embedded_entries()), self._settings.dataset, self._state(ATLAS_NAME).error
        )

    def _fetch_newest(self, model_name: str, known_commit: str) -> tuple[CachedAtlas | None, str]:
        dataset = self._settings.dataset
        check_client(dataset)
        from headroles.hub import dataset as hub

        try:
            entries, commit = hub.fetch_atlas(dataset, self._settings.revision, known_commit)
        except FileNotFoundError as error:
            raise HubError(f"{dataset} holds no atlas yet; the next push of `headroles-analysis` makes one.") from error
        return None if entries is None else CachedAtlas(entries), commit

    def _validate(self, item: CachedAtlas, now: float) -> None:
        """What was parsed can serve: every line is checked by itself."""

    def _has_any(self, model_name: str, revision: str | None) -> bool:
        return bool(self._published(ATLAS_NAME))

    def _local_entries(self) -> tuple[AtlasEntry, ...]:
        records = self._local.all()
        if self._local_cache[0] is not records:
            self._local_cache = (records, tuple(map(make_entry, records)))
        return self._local_cache[1]


@lru_cache
def _embedded_entries() -> tuple[AtlasEntry, ...]:
    return tuple(map(make_entry, embedded_records()))
