"""Head categories in and out: published in a dataset repo on the Hub, kept from there, shipped with the package, analysed here.

Nobody waits for the Hub: what is at hand serves at once, and a newer record takes its place when it has come and passed every
check.
"""

import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from headroles.core.readings import Source
from headroles.core.record_files import read_record, record_file_name, write_record
from headroles.core.record_fit import ModelIdentity, check_belongs
from headroles.core.records import HeadCategories
from headroles.core.registry import EMBEDDED_MODEL, MODELS
from headroles.errors import HeadRolesError, InvalidRecordError, MissingPackageError, NoHeadCategoriesError
from headroles.jobs import Job, Jobs
from headroles.settings import Settings

EMBEDDED: Mapping[str, Path] = MappingProxyType(
    {EMBEDDED_MODEL: Path(MODELS[EMBEDDED_MODEL].source) / record_file_name(EMBEDDED_MODEL)}
)
FRESH_SECONDS = 600  # how long the Hub's answer counts as fresh
RETRY_SECONDS = 60  # how soon the Hub is asked again after a failure
PATIENCE_SECONDS = 3  # how long a request that has nothing else waits for the Hub
REFRESHES_AT_ONCE = 2


@dataclass(frozen=True)
class _Published:
    """A record that came from the dataset repo: its commit, when the Hub last confirmed it, and whether to this process."""

    record: HeadCategories
    commit: str
    confirmed: float
    is_fresh: bool


class RecordStore:
    """The records that one server shows; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._refreshes: Jobs[None] = Jobs(REFRESHES_AT_ONCE)
        self._published: dict[str, _Published | None] = {}
        self._due: dict[str, float] = {}
        self._trouble: dict[str, str] = {}  # why the Hub's last answer was of no use, by model
        self._lock = threading.Lock()

    def find(self, model: ModelIdentity) -> tuple[HeadCategories, Source]:
        """The record that belongs to a loaded model and where it came from: published, else embedded, else analysed here.

        A record that is broken, of another shape or made on other tokens stands in nobody's way: the next best one serves.

        Raises:
            NoHeadCategoriesError: when there is none for this revision of the model that fits it; says what is wrong with one
                that does not.
        """
        self._wait_if_empty(model.name, model.revision)
        refused = None
        for record, source in self._candidates(model.name, model.revision):
            try:
                check_belongs(record, model)
            except InvalidRecordError as error:
                refused = refused or error
                continue
            notes = (str(refused or ""), self._trouble.get(model.name, ""))
            return record, replace(source, note=" ".join(filter(None, notes)))
        refused = refused or _what_is_wrong(_path(self._analysed, model.name, model.revision))
        raise self._no_record(model.name, str(refused or "")) from refused

    def load(self, model_name: str) -> HeadCategories:
        """The record of a model by name alone, of whatever revision. Raises NoHeadCategoriesError when there is none."""
        self._wait_if_empty(model_name, None)
        for record, _ in self._candidates(model_name, None):
            return record
        raise self._no_record(model_name)

    def keep(self, record: HeadCategories) -> Path:
        """Keeps a record that was analysed here, under its revision. Raises OSError when the disk does not take it."""
        return write_record(record, _path(self._analysed, record.model_name, record.revision))

    def refresh(self, model_name: str) -> Job[None] | None:
        """Asks the Hub in the background for a newer record, where that is due; never raises, never waits."""
        if not self._settings.dataset or not isinstance(model_name, str):
            return None
        with self._lock:
            if time.monotonic() < self._due.get(model_name, 0.0):
                return self._refreshes.find(model_name)
            self._due[model_name] = time.monotonic() + FRESH_SECONDS
        return self._refreshes.start(model_name, lambda _: self._fetch(model_name))

    @property
    def _analysed(self) -> Path:
        return self._settings.home / "analysed"

    @property
    def _kept(self) -> Path:
        """Where copies of the dataset's records are kept; those of two datasets never mix."""
        return self._settings.home / "published" / _safe(f"{self._settings.dataset}@{self._settings.revision}")

    def _fetch(self, model_name: str) -> None:
        known = self._last_published(model_name)
        try:
            record, commit = fetch_record(
                model_name, self._settings.dataset, self._settings.revision, known.commit if known else ""
            )
        except FileNotFoundError:
            self._trouble.pop(model_name, None)
            return
        except HeadRolesError as error:
            self._trouble[model_name] = str(error)
            self._due[model_name] = time.monotonic() + RETRY_SECONDS
            return
        record = record or (known.record if known else None)
        assert record is not None  # without a known commit there is no "unchanged"
        self._published[model_name] = _Published(record, commit, time.time(), is_fresh=True)
        self._trouble.pop(model_name, None)
        self._write_copy(record, commit)

    def _write_copy(self, record: HeadCategories, commit: str) -> None:
        """For the next start. A disk that does not take it costs nothing now."""
        path = _path(self._kept, record.model_name, commit)
        try:
            if path.is_file():
                os.utime(path)  # its time says when the Hub last confirmed it
                return
            write_record(record, path)
            for other in path.parent.glob(f"{_safe(record.model_name)}@*.json"):
                if other != path:
                    other.unlink(missing_ok=True)
        except OSError:
            return

    def _last_published(self, model_name: str) -> _Published | None:
        """What the Hub gave to this process, or else to an earlier one."""
        if model_name not in self._published:
            found = None
            for file in _newest_first(self._kept, model_name) if self._settings.dataset else ():
                record = _read_if_whole(file)
                if record is not None and record.model_name == model_name:
                    found = _Published(record, file.stem.rpartition("@")[2], file.stat().st_mtime, is_fresh=False)
                    break
            self._published.setdefault(model_name, found)
        return self._published[model_name]

    def _candidates(self, model_name: str, revision: str | None) -> Iterator[tuple[HeadCategories, Source]]:
        """The records at hand, best first; without a revision, the last one that was analysed here."""
        if (published := self._last_published(model_name)) is not None:
            record = published.record
            kind = "published" if published.is_fresh else "cached"
            origin = {"dataset": self._settings.dataset, "commit": published.commit, "confirmed": published.confirmed}
            yield record, Source(kind, record.analysis_date, record.revision, **origin)
        if model_name in EMBEDDED:
            record = _read(EMBEDDED[model_name])
            yield record, Source("embedded", record.analysis_date, record.revision)
        if revision is None:
            files = _newest_first(self._analysed, model_name)
        else:
            files = [path] if (path := _path(self._analysed, model_name, revision)).is_file() else []
        for file in files:
            record = _read_if_whole(file)
            if record is not None and record.model_name == model_name:
                yield record, Source("analysed here", record.analysis_date, record.revision)

    def _wait_if_empty(self, model_name: str, revision: str | None) -> None:
        job = self.refresh(model_name)
        if job is not None and next(self._candidates(model_name, revision), None) is None:
            job.wait(PATIENCE_SECONDS)

    def _no_record(self, model_name: str, refused: str = "") -> NoHeadCategoriesError:
        trouble = " ".join(filter(None, (refused, self._trouble.get(model_name, ""))))
        return NoHeadCategoriesError(
            f"There are no roles for {str(model_name)[:100]!r} yet, there are some for {', '.join(EMBEDDED)}; "
            f"have it analysed on the page, or by `headroles-analysis NAME --out DIR` (in a checkout `python -m analysis`)."
            f"{trouble and ' ' + trouble}"
        )


def load_head_categories(model_name: str, settings: Settings | None = None) -> HeadCategories:
    """The record of which heads of a model play which role: published, embedded, or the last one analysed on this machine.

    Waits for the Hub only when nothing is at hand, and then PATIENCE_SECONDS at most; a dead network is no error.

    Args:
        settings: which dataset and which folder; by default what the environment says.

    Raises:
        NoHeadCategoriesError: when there is none for this model; says which models have one and how to make one.
        InvalidRecordError: when the record is there but breaks the schema.
    """
    return _store(settings or Settings.from_environment()).load(model_name)


def fetch_record(model_name: str, dataset: str, revision: str, known: str = "") -> tuple[HeadCategories | None, str]:
    """See `hub.dataset.fetch_record`. Imported when the Hub is asked: embedded and analysed records need no huggingface_hub."""
    # asked before the import: of two threads that import what fails, one is told another error
    if find_spec("huggingface_hub") is None:
        missing = ModuleNotFoundError("No module named 'huggingface_hub'", name="huggingface_hub")
        raise MissingPackageError.of(f"Reading {dataset} from the Hub", "app", missing)
    from headroles.hub import dataset as hub

    return hub.fetch_record(model_name, dataset, revision, known)


def _path(folder: Path, model_name: str, version: str) -> Path:
    return folder / f"{_safe(model_name)}@{_safe(version)}.json"


def _newest_first(folder: Path, model_name: str) -> list[Path]:
    files = folder.glob(f"{_safe(str(model_name))}@*.json")
    return sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)


def _safe(text: str) -> str:
    """A part of a file name: no separator, no leading dot, bounded."""
    return re.sub(r"[^\w.-]+", "_", text).lstrip(".")[:80] or "_"


@lru_cache
def _read(path: Path, changed: int = 0) -> HeadCategories:
    """A record on this machine, read again only when its file changed."""
    return read_record(path)


def _read_if_whole(path: Path) -> HeadCategories | None:
    """The record in a file on this machine; None for a file that is gone, half-written or no record: it is as good as none."""
    try:
        return _read(path, path.stat().st_mtime_ns)
    except (OSError, InvalidRecordError) as error:
        logging.getLogger(__name__).warning("%s is left out: %s", path.name, error)
        return None


def _what_is_wrong(path: Path) -> InvalidRecordError | None:
    """Why the record in a file is none; None where there is no such file, or nothing wrong with it."""
    try:
        read_record(path)
    except InvalidRecordError as error:
        return error
    except OSError:
        return None
    return None


@lru_cache
def _store(settings: Settings) -> RecordStore:
    return RecordStore(settings)
