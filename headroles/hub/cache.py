"""Records and runs on this machine: made here, or copies of a dataset's. Whatever else lies there stands in nobody's way."""

import logging
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Generic, Protocol, TypeVar

from headroles.core.records.atomic_files import clear_halves, make_folder
from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_files import file_part, read_record, write_record
from headroles.errors import InvalidRecordError

MAX_LOCAL_RECORDS = 1000  # records in one folder
MAX_COPIES = 3  # copies of one model's record: the newest may turn out not to fit, once its model is read


class HasModelName(Protocol):
    """What is kept of a model: its record, or its training run."""

    @property
    def model_name(self) -> str:
        """The name of the model, which names the file."""
        ...


T = TypeVar("T")
N = TypeVar("N", bound=HasModelName)


class FileCache(ABC, Generic[N]):
    """Things in a folder of the home, a file each, named by model and version: a revision of it, or a commit of the dataset.

    Attributes:
        suffix: how the names of their files end.
    """

    suffix: ClassVar[str]

    def __init__(self, home: Path, *name: str) -> None:
        self._home, self._folder = home, home.joinpath(*name)

    @abstractmethod
    def read_file(self, path: Path) -> N:
        """What a file holds. Raises InvalidRecordError and OSError."""

    @abstractmethod
    def write_file(self, item: N, path: Path) -> Path:
        """Writes it, whole or not at all. Raises OSError."""

    def path(self, model_name: str, version: str) -> Path:
        """Where the copy of a model at a version lies."""
        return self._folder / f"{file_part(model_name)}@{file_part(version)}{self.suffix}"

    def write(self, item: N, version: str) -> Path:
        """Keeps it. Raises OSError when the disk does not take it."""
        make_folder(self._folder, self._home)
        return self.write_file(item, self.path(item.model_name, version))

    def confirm(self, item: N, version: str) -> None:
        """Keeps a copy as the newest one, its time saying when, and few others. A disk that does not take it costs nothing."""
        now = time.time()
        with suppress(OSError):
            path = self.path(item.model_name, version)
            if read_or_none(path, self.read_file) != item:
                self.write(item, version)
            os.utime(path, (now, now))
            for number, file in enumerate(other for other in self._files(item.model_name) if other != path):
                with suppress(OSError):
                    if number >= MAX_COPIES - 1:
                        file.unlink()
                    elif _modified_time(file) >= now:  # the clock was put back, and the newest must not be the oldest
                        os.utime(file, (now - 1 - number, now - 1 - number))

    def read(self, model_name: str, version: str) -> N | None:
        """What there is of one version; None where there is none that is whole."""
        older = self._folder / f"{_legacy_file_part(model_name)}@{_legacy_file_part(version)}{self.suffix}"
        for path in (self.path(model_name, version), older):
            item = read_or_none(path, self.read_file)
            if item is not None and item.model_name == model_name:
                return item
        return None

    def newest_first(self, model_name: str) -> Iterator[tuple[N, str, float]]:
        """What is whole of a model, the last written first, with the version by their files' names, and their times."""
        for file in self._files(model_name):
            item = read_or_none(file, self.read_file)
            if item is not None and item.model_name == model_name:
                yield item, file.stem.rpartition("@")[2], _modified_time(file)

    def find_error(self, model_name: str, version: str | None = None) -> InvalidRecordError | None:
        """Why what there is of one version, or the newest, is none; None without a file, or where nothing is wrong with it."""
        path = self.path(model_name, version) if version else next(iter(self._files(model_name)), None)
        try:
            if path is not None:
                self.read_file(path)
        except InvalidRecordError as error:
            return error
        except FileNotFoundError:
            return None
        except OSError as error:
            return InvalidRecordError(f"The record {path and path.name} could not be read ({error.strerror}).")
        return None

    def _files(self, model_name: str) -> list[Path]:
        patterns = f"{file_part(model_name)}@*{self.suffix}", f"{_legacy_file_part(model_name)}@*{self.suffix}"
        with suppress(OSError):
            return sorted({file for pattern in patterns for file in self._folder.glob(pattern)}, key=_modified_time, reverse=True)
        return []


class RecordCache(FileCache[HeadCategories]):
    """Records."""

    suffix = ".json"

    def read_file(self, path: Path) -> HeadCategories:
        """Reads and checks a record."""
        return _read(path)

    def write_file(self, item: HeadCategories, path: Path) -> Path:
        """Writes a record whole."""
        return write_record(item, path)


class LocalRecords:
    """The records in a folder that `python -m analysis --out` filled and the operator named; looked at again when it changes.

    A model in a folder or a GGUF file has no name that everybody knows, so a record whose revision is the hash of its weights
    serves it under whatever name.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._cached: tuple[int, tuple[HeadCategories, ...]] = (-1, ())

    def for_model(self, model_name: str, revision: str | None) -> Iterator[HeadCategories]:
        """The records of a model by its name, then those of the very weights that `revision` is the hash of."""
        records = self.all()
        yield from (record for record in records if record.model_name == model_name)
        if revision and revision.startswith("sha256:"):
            yield from (record for record in records if record.revision == revision and record.model_name != model_name)

    def names(self) -> tuple[str, ...]:
        """The models that have one."""
        return tuple(record.model_name for record in self.all())

    def all(self) -> tuple[HeadCategories, ...]:
        """Every record; the very same ones for as long as the folder does not change."""
        if self._folder is None:
            return ()
        try:
            changed = self._folder.stat().st_mtime_ns  # a record is put in its place by a rename, which the folder notices
        except OSError:
            return ()
        if self._cached[0] != changed:
            files = sorted(self._folder.glob("*.json"))[:MAX_LOCAL_RECORDS]
            self._cached = (changed, tuple(filter(None, map(read_record_or_none, files))))
        return self._cached[1]


def dataset_cache(home: Path, dataset: str, revision: str) -> RecordCache:
    """Where copies of a dataset's records are kept; those of two datasets never mix."""
    return RecordCache(home, *dataset_cache_path(dataset, revision))


def dataset_cache_path(dataset: str, revision: str) -> tuple[str, str]:
    """The folder of the home, part by part, of what comes from a dataset."""
    # the folder's name as it always was: what was kept before goes on serving
    name = _legacy_file_part(f"{dataset}@{revision}")
    plain = re.fullmatch(r"[a-z0-9][a-z0-9.-]*/[a-z0-9][a-z0-9.-]*@[a-z0-9.-]+", f"{dataset}@{revision}")
    return "published", name if plain and len(name) < 80 else file_part(f"{dataset}@{revision}")


def delete_partial_files(home: Path) -> None:
    """Deletes what processes that were killed left half-written; never raises."""
    with suppress(OSError):
        for folder in (home / "analysed", *(home / "atlas").glob("*"), *(home / "published").glob("*")):
            clear_halves(folder)


def read_record_or_none(path: Path) -> HeadCategories | None:
    """The record in a file on this machine; see `read_or_none`."""
    return read_or_none(path, _read)


def read_or_none(path: Path, read: Callable[[Path], T]) -> T | None:
    """What a file holds; None for one that is gone, half-written or something else: it is as good as none."""
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except (OSError, InvalidRecordError) as error:
        logging.getLogger(__name__).warning("%s is left out: %s", path.name, error)
        return None


def file_version(path: Path) -> tuple[Path, int, int, int]:
    """What stays the same as long as a file does, for those who read it once. Raises OSError."""
    found = path.stat()
    return path, found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> HeadCategories:
    return read_record_version(*file_version(path))


@lru_cache
def read_record_version(path: Path, *_: int) -> HeadCategories:
    """A record on this machine, read again only when its file changed."""
    return read_record(path)


def _modified_time(file: Path) -> float:
    """When it was last written or confirmed; 0 for what cannot be looked at."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _legacy_file_part(text: str) -> str:
    """What `file_part` was in 0.1: two names could share it, so the record inside is asked whose it is."""
    return re.sub(r"[^\w.-]+", "_", text).lstrip(".")[:80] or "_"
