"""Training runs: those that ship with headroles, those of a dataset repo on the Hub, those in the operator's own folder."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from headroles.core.readings.analysis import SourceKind
from headroles.core.records.atomic_files import write_whole
from headroles.core.records.head_categories import HeadCategories
from headroles.core.registry import EMBEDDED_FOLDER, EMBEDDED_MODEL
from headroles.core.surveys.training_builder import run_file_name
from headroles.core.surveys.training_run import TrainingPhase, TrainingRun, build_run, parse_points, read_run_file
from headroles.errors import InvalidRecordError, NoTrainingRunError
from headroles.hub.cache import FileCache, dataset_cache_path, file_version, read_or_none
from headroles.hub.record_store import check_fetched_record, record_source
from headroles.hub.sync import Origin, SyncedStore, check_client
from headroles.settings import Settings

RUNS_FOLDER = "training"  # of the runs, in the folder of the records
MAX_RUNS_IN_MEMORY = 8  # runs in memory: one of a large model takes some 100 MB


@dataclass(frozen=True)
class RunFile:
    """Where a run was recorded, and what the model read on the way; a test holds that against what trained it."""

    path: Path
    phases: tuple[TrainingPhase, ...] = ()


RUNS: Mapping[str, RunFile] = MappingProxyType(
    {
        EMBEDDED_MODEL: RunFile(
            EMBEDDED_FOLDER / "training.jsonl",
            (
                TrainingPhase(0, "random tokens, of 64 different ones, each that has come before said twice"),
                TrainingPhase(500, "random strings that repeat themselves, of the same 64 tokens"),
                TrainingPhase(1200, "random strings of 512 different tokens"),
                TrainingPhase(1450, "random strings of all tokens"),
                TrainingPhase(1800, "prose, and a third such strings still"),
                TrainingPhase(2700, "longer pieces of prose"),
                TrainingPhase(3300, "prose, and phrases of it that come again"),
            ),
        )
    }
)


@dataclass(frozen=True)
class CachedRun:
    """A run with the text that it was read from, by which it is kept, and the record of its last point."""

    content: bytes
    run: TrainingRun = field(compare=False)
    last_record: HeadCategories = field(compare=False)

    @property
    def model_name(self) -> str:
        """The name of the model, which names the file."""
        return self.run.model

    @classmethod
    def parse(cls, content: bytes, name: str, model: str = "", phases: tuple[TrainingPhase, ...] = ()) -> "CachedRun":
        """See `core.training.parse_training`, which says what is raised."""
        points = parse_points(content, name, model)
        return cls(content, build_run(points, phases), points[-1].record)

    def with_source(self, kind: SourceKind, origin: Origin | None = None, note: str = "") -> TrainingRun:
        """The run, with where it came from."""
        return replace(self.run, source=replace(record_source(kind, self.last_record, **(origin or {})), note=note))


class RunCache(FileCache[CachedRun]):
    """Copies of a dataset's runs."""

    suffix = ".jsonl"

    def read_file(self, path: Path) -> CachedRun:
        """Reads and checks a training run."""
        return CachedRun.parse(read_run_file(path), path.name)

    def write_file(self, item: CachedRun, path: Path) -> Path:
        """Writes a training run whole."""
        write_whole(path, item.content)
        return path


class TrainingStore(SyncedStore[CachedRun]):
    """The training runs that one server shows; safe to share between threads."""

    max_models = MAX_RUNS_IN_MEMORY

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, RunCache(settings.home, *dataset_cache_path(settings.dataset, settings.revision)))

    def find(self, model: str) -> TrainingRun:
        """The run of a model and where it came from: the operator's own folder, else published, else shipped with headroles.

        Waits for the Hub only when nothing is at hand, and then HUB_WAIT_SECONDS at most. One that is broken stands in nobody's
        way: the next best serves, with a note.

        Raises:
            NoTrainingRunError: when there is none; names the models that ship with one.
            InvalidRecordError: when the one that ships is broken.
        """
        self._wait_if_empty(model, None)
        for kept, kind, origin in self._candidates(model):
            return kept.with_source(kind, origin, self._state(model).error)
        raise _no_run_error(model, self._settings.dataset, self._state(model).error)

    def _fetch_newest(self, model_name: str, known_commit: str) -> tuple[CachedRun | None, str]:
        dataset = self._settings.dataset
        check_client(dataset)
        from headroles.hub import dataset as hub

        content, commit = hub.fetch_run(model_name, dataset, self._settings.revision, known_commit)
        kept = None if content is None else CachedRun.parse(content, f"of {model_name} in {dataset}", model_name)
        return kept, commit

    def _validate(self, item: CachedRun, now: float) -> None:
        check_fetched_record(item.last_record, now)

    def _has_any(self, model_name: str, revision: str | None) -> bool:
        return next(self._candidates(model_name), None) is not None

    def _candidates(self, model: str) -> Iterator[tuple[CachedRun, SourceKind, Origin | None]]:
        if self._settings.records is not None:
            local = read_or_none(self._settings.records / RUNS_FOLDER / run_file_name(model), _read_local)
            if local is not None and local.model_name == model:
                yield local, "local", None
        for published in self._published(model):
            yield published.item, published.kind, published.origin(self._settings.dataset)
        if model in RUNS:
            yield _read_shipped(model), "embedded", None


def _no_run_error(model: str, dataset: str, trouble: str) -> NoTrainingRunError:
    elsewhere = f", neither here nor in {dataset}" if dataset and not trouble else ""
    return NoTrainingRunError(
        f"Nobody has recorded the training of {str(model)[:100]!r}{elsewhere}; there is a recorded run of {', '.join(RUNS)}."
        f"{trouble and ' ' + trouble}"
    )


@lru_cache
def _read_shipped(model: str) -> CachedRun:
    file = RUNS[model]
    try:
        return CachedRun.parse(read_run_file(file.path), file.path.name, model, file.phases)
    except OSError as error:
        raise InvalidRecordError(f"The training run of {model} could not be read ({error.strerror}).") from error


def _read_local(path: Path) -> CachedRun:
    return _read_once(*file_version(path))


@lru_cache(MAX_RUNS_IN_MEMORY)
def _read_once(path: Path, *_: int) -> CachedRun:
    return CachedRun.parse(read_run_file(path), path.name)
