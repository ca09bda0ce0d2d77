"""Head categories in and out: published in a dataset repo on the Hub, kept from there, shipped with the package, analysed here.

Nobody waits for the Hub: see `hub.newest`.
"""

import datetime
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from headroles.core.readings.analysis import RecordSource, SourceKind
from headroles.core.records.compatibility import ModelIdentity, check_arrived, check_belongs, make_identity
from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_files import record_file_name
from headroles.core.registry import EMBEDDED_FOLDER, EMBEDDED_MODEL, MODELS, PackageFile
from headroles.errors import InvalidRecordError, NoHeadCategoriesError
from headroles.hub.cache import LocalRecords, RecordCache, dataset_cache, read_record_version
from headroles.hub.sync import SyncedStore, check_client
from headroles.settings import Settings

_PACKAGE_RECORDS = Path(__file__).parent.parent / "records"
# the records that ship with headroles: of the embedded model, and of those that a package brings
EMBEDDED_RECORDS: Mapping[str, Path] = MappingProxyType(
    {EMBEDDED_MODEL: EMBEDDED_FOLDER / record_file_name(EMBEDDED_MODEL)}
    | {name: _PACKAGE_RECORDS / record_file_name(name) for name, info in MODELS.items() if isinstance(info.source, PackageFile)}
)
MAX_NAMED_MODELS = 12  # models, in a sentence


class RecordStore(SyncedStore[HeadCategories]):
    """The records that one server shows; safe to share between threads. `local` are those in the operator's own folder."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, dataset_cache(settings.home, settings.dataset, settings.revision))
        self._analysed = RecordCache(settings.home, "analysed")
        self.local = LocalRecords(settings.records)

    def find(self, model: ModelIdentity) -> tuple[HeadCategories, RecordSource]:
        """Finds the record that belongs to a loaded model, and says where it came from.

        The operator's own folder comes first, then what is published, what ships, and what was analysed here. A record that is
        broken or of another model is passed over.

        Raises:
            NoHeadCategoriesError: when there is none for this revision of the model that fits it; says what is wrong with one
                that does not.
        """
        self._state(model.name).identity = model
        self._wait_if_empty(model.name, model.revision)
        refused = None
        for record, source in self._candidates(model.name, model.revision):
            try:
                check_belongs(record, model)
            except InvalidRecordError as error:
                refused = refused or error
                continue
            notes = dict.fromkeys((str(refused or ""), self._state(model.name).error))
            return record, replace(source, note=" ".join(filter(None, notes)))
        refused = refused or self._analysed.find_error(model.name, model.revision)
        raise self._no_record_error(model.name, True, str(refused or "")) from refused

    def load(self, model_name: str) -> HeadCategories:
        """The record of a model by name alone, of whatever revision. Raises NoHeadCategoriesError when there is none."""
        self._wait_if_empty(model_name, None)
        for record, _ in self._candidates(model_name, None):
            return record
        raise self._no_record_error(model_name, str(model_name) in MODELS or self._settings.any_model)

    def save(self, record: HeadCategories) -> Path:
        """Keeps a record that was analysed here, under its revision. Raises OSError when the disk does not take it."""
        return self._analysed.write(record, record.revision)

    def _fetch_newest(self, model_name: str, known_commit: str) -> tuple[HeadCategories | None, str]:
        return fetch_checked_record(model_name, self._settings.dataset, self._settings.revision, known_commit)

    def _validate(self, item: HeadCategories, now: float) -> None:
        check_fetched_record(item, now)
        if item.model_name in EMBEDDED_RECORDS:
            check_belongs(item, make_identity(_embedded_record(item.model_name)))
        elif (identity := self._state(item.model_name).identity) is not None:
            check_belongs(item, identity)

    def _candidates(self, model_name: str, revision: str | None) -> Iterator[tuple[HeadCategories, RecordSource]]:
        """The records at hand, best first; without a revision, the last one that was analysed here."""
        for record in self.local.for_model(model_name, revision):
            yield record, record_source("local", record)
        for published in self._published(model_name):
            record, origin = published.item, published.origin(self._settings.dataset)
            yield record, record_source(published.kind, record, **origin)
        if model_name in EMBEDDED_RECORDS:
            record = _embedded_record(model_name)
            yield record, record_source("embedded", record)
        if revision is None:
            analysed = (record for record, _, _ in self._analysed.newest_first(model_name))
        else:
            analysed = filter(None, [self._analysed.read(model_name, revision)])
        for record in analysed:
            yield record, record_source("analysed here", record)

    def _has_any(self, model_name: str, revision: str | None) -> bool:
        return next(self._candidates(model_name, revision), None) is not None

    def _no_record_error(self, model_name: str, can_be_picked: bool, refused: str = "") -> NoHeadCategoriesError:
        """Says what is there, and what would help with this very model."""
        name, settings = str(model_name)[:100], self._settings
        trouble = " ".join(filter(None, (refused, self._state(str(model_name)).error)))
        elsewhere = f", neither here nor in {settings.dataset}" if settings.dataset and not trouble else ""
        command = f"`headroles-analysis {shlex.quote(name)} --out DIR` (in a checkout `python -m analysis`)"
        if can_be_picked:
            help_ = f"have it analysed on the page, or by {command}; HEADROLES_RECORDS=DIR then serves what that made."
        else:
            some = ", ".join((*EMBEDDED_RECORDS, *self.local.names())[:MAX_NAMED_MODELS])
            help_ = f"there are some for {some}; {command} makes them for a model on the Hub, a folder or a GGUF file."
        return NoHeadCategoriesError(f"There are no roles for {name!r} yet{elsewhere}; {help_}{trouble and ' ' + trouble}")


def load_head_categories(model_name: str, settings: Settings | None = None) -> HeadCategories:
    """The record of which heads of a model play which role: published, embedded, or the last one analysed on this machine.

    Waits for the Hub only when nothing is at hand, and then HUB_WAIT_SECONDS at most; a dead network is no error.

    Args:
        model_name: whose record; a name of the registry, or of the Hub.
        settings: which dataset and which folder; by default what the environment says.

    Raises:
        NoHeadCategoriesError: when there is none for this model; says which models have one and how to make one.
        InvalidRecordError: when the record is there but breaks the schema.
    """
    return _store(settings or Settings.from_environment()).load(model_name)


def fetch_checked_record(
    model_name: str, dataset: str, revision: str, known_commit: str = ""
) -> tuple[HeadCategories | None, str]:
    """See `hub.dataset.fetch_record`. Imported when the Hub is asked: embedded and analysed records need no huggingface_hub."""
    check_client(dataset)
    from headroles.hub import dataset as hub

    return hub.fetch_record(model_name, dataset, revision, known_commit)


def check_fetched_record(record: HeadCategories, now: float) -> None:
    """Raises InvalidRecordError for a record from the future, or, as far as the registry knows, of another shape than its model.

    Args:
        record: as it came from the dataset.
        now: when it came, by this machine's clock; if that is wrong, it is not before the embedded record was made.
    """
    check_arrived(record, max(_day(now), datetime.date.fromisoformat(_embedded_record(EMBEDDED_MODEL).analysis_date)))


def record_source(kind: SourceKind, record: HeadCategories, **origin: Any) -> RecordSource:
    """Where a record came from."""
    recipe = record.recipe
    quantization = recipe.weights.quantization if recipe.weights else ""
    known = {"reader": record.reader, "quantization": quantization, "is_calibrated": bool(record.calibrations)}
    return RecordSource(kind, record.analysis_date, record.revision, **known, **origin)


def _day(seconds: float) -> datetime.date:
    """The day of a time; the first of all days for what is none, as a file may have it."""
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).date()
    except (ValueError, OverflowError, OSError):
        return datetime.date.min


def embedded_records() -> tuple[HeadCategories, ...]:
    """The records that ship with headroles."""
    return tuple(map(_embedded_record, EMBEDDED_RECORDS))


def _embedded_record(model_name: str) -> HeadCategories:
    return read_record_version(EMBEDDED_RECORDS[model_name])


@lru_cache
def _store(settings: Settings) -> RecordStore:
    return RecordStore(settings)
