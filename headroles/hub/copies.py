"""Records on this machine: those analysed here, and copies of a dataset's. Whatever else lies there stands in nobody's way."""

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from headroles.core.record_files import file_part, read_record, write_record
from headroles.core.records import HeadCategories
from headroles.core.whole_files import clear_halves, make_folder
from headroles.errors import InvalidRecordError

MAX_LOCAL = 1000  # records in one folder
KEPT = 3  # copies of one model's record: the newest may turn out not to fit, once its model is read


class Folder:
    """Records in a folder of the home, a file each, named by model and version: a revision of it, or a commit of the dataset."""

    def __init__(self, home: Path, *name: str) -> None:
        self._home, self._folder = home, home.joinpath(*name)

    def path(self, model_name: str, version: str) -> Path:
        return self._folder / f"{file_part(model_name)}@{file_part(version)}.json"

    def write(self, record: HeadCategories, version: str) -> Path:
        """Keeps a record. Raises OSError when the disk does not take it."""
        make_folder(self._folder, self._home)
        return write_record(record, self.path(record.model_name, version))

    def confirm(self, record: HeadCategories, version: str) -> None:
        """Keeps a copy as the newest one, its time saying when, and few others. A disk that does not take it costs nothing."""
        now = time.time()
        with suppress(OSError):
            path = self.path(record.model_name, version)
            if read_if_whole(path) != record:
                self.write(record, version)
            os.utime(path, (now, now))
            for number, file in enumerate(other for other in self._files(record.model_name) if other != path):
                with suppress(OSError):
                    if number >= KEPT - 1:
                        file.unlink()
                    elif _time(file) >= now:  # the clock was put back, and the newest must not be the oldest
                        os.utime(file, (now - 1 - number, now - 1 - number))

    def read(self, model_name: str, version: str) -> HeadCategories | None:
        """The record of one version; None where there is none that is whole."""
        for path in (self.path(model_name, version), self._folder / f"{_old_part(model_name)}@{_old_part(version)}.json"):
            record = read_if_whole(path)
            if record is not None and record.model_name == model_name:
                return record
        return None

    def newest(self, model_name: str) -> Iterator[tuple[HeadCategories, str, float]]:
        """The whole records of a model, the last written first, with the version by their files' names, and their times."""
        for file in self._files(model_name):
            record = read_if_whole(file)
            if record is not None and record.model_name == model_name:
                yield record, file.stem.rpartition("@")[2], _time(file)

    def what_is_wrong(self, model_name: str, version: str | None = None) -> InvalidRecordError | None:
        """Why the record of one version, or the newest, is none; None where there is no such file, or nothing wrong with it."""
        path = self.path(model_name, version) if version else next(iter(self._files(model_name)), None)
        try:
            if path is not None:
                read_record(path)
        except InvalidRecordError as error:
            return error
        except FileNotFoundError:
            return None
        except OSError as error:
            return InvalidRecordError(f"The record {path and path.name} could not be read ({error.strerror}).")
        return None

    def _files(self, model_name: str) -> list[Path]:
        patterns = f"{file_part(model_name)}@*.json", f"{_old_part(model_name)}@*.json"
        with suppress(OSError):
            return sorted({file for pattern in patterns for file in self._folder.glob(pattern)}, key=_time, reverse=True)
        return []


class LocalRecords:
    """The records in a folder that `python -m analysis --out` filled and the operator named; looked at again when it changes.

    A model in a folder or a GGUF file has no name that everybody knows, so a record whose revision is the hash of its weights
    serves it under whatever name.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._seen: tuple[int, tuple[HeadCategories, ...]] = (-1, ())

    def of(self, model_name: str, revision: str | None) -> Iterator[HeadCategories]:
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
        if self._seen[0] != changed:
            files = sorted(self._folder.glob("*.json"))[:MAX_LOCAL]
            self._seen = (changed, tuple(filter(None, map(read_if_whole, files))))
        return self._seen[1]


def dataset_folder(home: Path, dataset: str, revision: str) -> Folder:
    """Where copies of a dataset's records are kept; those of two datasets never mix."""
    # the folder's name as it always was: what was kept before goes on serving
    name = _old_part(f"{dataset}@{revision}")
    plain = re.fullmatch(r"[a-z0-9][a-z0-9.-]*/[a-z0-9][a-z0-9.-]*@[a-z0-9.-]+", f"{dataset}@{revision}")
    return Folder(home, "published", name if plain and len(name) < 80 else file_part(f"{dataset}@{revision}"))


def clear_up(home: Path) -> None:
    """Deletes what processes that were killed left half-written; never raises."""
    with suppress(OSError):
        for folder in (home / "analysed", home / "atlas", *(home / "published").glob("*")):
            clear_halves(folder)


def read_if_whole(path: Path) -> HeadCategories | None:
    """The record in a file on this machine; None for a file that is gone, half-written or no record: it is as good as none."""
    try:
        found = path.stat()
        return read_once(path, found.st_mtime_ns, found.st_size, found.st_ino)
    except FileNotFoundError:
        return None
    except (OSError, InvalidRecordError) as error:
        logging.getLogger(__name__).warning("%s is left out: %s", path.name, error)
        return None


@lru_cache
def read_once(path: Path, *_: int) -> HeadCategories:
    """A record on this machine, read again only when its file changed."""
    return read_record(path)


def _time(file: Path) -> float:
    """When it was last written or confirmed; 0 for what cannot be looked at."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _old_part(text: str) -> str:
    """What `file_part` was in 0.1: two names could share it, so the record inside is asked whose it is."""
    return re.sub(r"[^\w.-]+", "_", text).lstrip(".")[:80] or "_"
