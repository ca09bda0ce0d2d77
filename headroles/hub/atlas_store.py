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
from headroles.hub.cache import FileCache, LocalRecords, dataset_place
from headroles.hub.record_store import embedded_records
from headroles.hub.sync import SyncedStore, check_client
from headroles.settings import Settings

ATLAS = "atlas"  # what it is called among copies, which are of models otherwise; and their folder


@dataclass(frozen=True)
class CachedAtlas:
    """The atlas' file of a dataset."""

    entries: tuple[AtlasEntry, ...]

    @property
    def model_name(self) -> str:
        return ATLAS


class AtlasCache(FileCache[CachedAtlas]):
    """Copies of it."""

    suffix = ".jsonl"

    def read_file(self, path: Path) -> CachedAtlas:
        return CachedAtlas(parse_entries(read_bounded(path, MAX_ATLAS_BYTES, f"The atlas {path.name}"), path.name))

    def write_file(self, thing: CachedAtlas, path: Path) -> Path:
        write_whole(path, entries_to_lines(thing.entries))
        return path


class AtlasStore(SyncedStore[CachedAtlas]):
    """The atlas that one server shows; safe to share between threads."""

    def __init__(self, settings: Settings, local: LocalRecords) -> None:
        _, name = dataset_place(settings.dataset, settings.revision)
        super().__init__(settings, AtlasCache(settings.home, ATLAS, name))
        self._local = local
        self._counted: tuple[tuple[HeadCategories, ...], tuple[AtlasEntry, ...]] = ((), ())

    def find(self) -> Atlas:
        """The atlas of all records at hand; of several of one model the operator's own counts, then the dataset's."""
        self._wait_if_empty(ATLAS, None)
        published = (entry for newest in self._published(ATLAS)[:1] for entry in newest.thing.entries)
        return build_atlas((*self._own(), *published, *_embedded()), self._settings.dataset, self._known(ATLAS).trouble)

    def _ask(self, model_name: str, known: str) -> tuple[CachedAtlas | None, str]:
        dataset = self._settings.dataset
        check_client(dataset)
        from headroles.hub import dataset as hub

        try:
            entries, commit = hub.fetch_atlas(dataset, self._settings.revision, known)
        except FileNotFoundError as error:
            raise HubError(f"{dataset} holds no atlas yet; the next push of `headroles-analysis` makes one.") from error
        return None if entries is None else CachedAtlas(entries), commit

    def _check_arrived(self, thing: CachedAtlas, now: float) -> None:
        """What was parsed can serve: every line is checked by itself."""

    def _has(self, model_name: str, revision: str | None) -> bool:
        return bool(self._published(ATLAS))

    def _own(self) -> tuple[AtlasEntry, ...]:
        records = self._local.all()
        if self._counted[0] is not records:
            self._counted = (records, tuple(map(make_entry, records)))
        return self._counted[1]


@lru_cache
def _embedded() -> tuple[AtlasEntry, ...]:
    return tuple(map(make_entry, embedded_records()))
