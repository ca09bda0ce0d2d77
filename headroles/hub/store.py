"""Head categories in and out: published in a dataset repo on the Hub, kept from there, shipped with the package, analysed here.

Nobody waits for the Hub: what is at hand serves at once, and a newer record takes its place when it has come and passed every
check.
"""

import datetime
import shlex
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from headroles.core.readings import Kind, Source
from headroles.core.record_files import record_file_name
from headroles.core.record_fit import ModelIdentity, check_arrived, check_belongs, identity_of
from headroles.core.records import HeadCategories
from headroles.core.registry import EMBEDDED_FOLDER, EMBEDDED_MODEL, MODELS, PackageFile
from headroles.errors import HeadRolesError, InvalidRecordError, MissingPackageError, NoHeadCategoriesError
from headroles.hub.copies import KEPT, Folder, LocalRecords, dataset_folder, read_once
from headroles.jobs import Job, Jobs
from headroles.settings import Settings

_PACKAGE = Path(__file__).parent.parent / "records"
# the records that ship with headroles: of the embedded model, and of those that a package brings
EMBEDDED: Mapping[str, Path] = MappingProxyType(
    {EMBEDDED_MODEL: EMBEDDED_FOLDER / record_file_name(EMBEDDED_MODEL)}
    | {name: _PACKAGE / record_file_name(name) for name, info in MODELS.items() if isinstance(info.source, PackageFile)}
)
FRESH_SECONDS = 600  # how long the Hub's answer counts as fresh
RETRY_SECONDS = 60  # how soon the Hub is asked again after a failure
PATIENCE_SECONDS = 3  # how long a request that has nothing else waits for the Hub
REFRESHES_AT_ONCE = 2
MAX_NAMED = 12  # models, in a sentence
MAX_REMEMBERED = 1000  # models; past it, the one not asked for longest is forgotten


@dataclass(frozen=True)
class _Published:
    """A record that came from the dataset repo: its commit, when the Hub last confirmed it, and whether to this process."""

    record: HeadCategories
    commit: str
    confirmed: float
    is_fresh: bool


@dataclass
class _Known:
    """What this process knows of one model's record in the dataset.

    Attributes:
        published: the records that came from there, the newest first; None before the disk was looked at.
        due: when the Hub is asked again, by the monotonic clock.
        trouble: why the Hub's last answer was of no use.
        identity: the model as it was last read here.
    """

    published: tuple[_Published, ...] | None = None
    due: float = 0.0
    trouble: str = ""
    identity: ModelIdentity | None = None


class RecordStore:
    """The records that one server shows; safe to share between threads. `local` are those in the operator's own folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._refreshes: Jobs[None] = Jobs(REFRESHES_AT_ONCE)
        self._models: OrderedDict[str, _Known] = OrderedDict()
        self._lock = threading.Lock()
        self._analysed = Folder(settings.home, "analysed")
        self._copies = dataset_folder(settings.home, settings.dataset, settings.revision)
        self.local = LocalRecords(settings.records)

    def find(self, model: ModelIdentity) -> tuple[HeadCategories, Source]:
        """The record that belongs to a loaded model and where it came from: the operator's own folder, else published, else
        embedded, else analysed here.

        A record that is broken, or was not made on this very model, stands in nobody's way: the next best one serves.

        Raises:
            NoHeadCategoriesError: when there is none for this revision of the model that fits it; says what is wrong with one
                that does not.
        """
        self._known(model.name).identity = model
        self._wait_if_empty(model.name, model.revision)
        refused = None
        for record, source in self._candidates(model.name, model.revision):
            try:
                check_belongs(record, model)
            except InvalidRecordError as error:
                refused = refused or error
                continue
            notes = dict.fromkeys((str(refused or ""), self._known(model.name).trouble))
            return record, replace(source, note=" ".join(filter(None, notes)))
        refused = refused or self._analysed.what_is_wrong(model.name, model.revision)
        raise self._no_record(model.name, True, str(refused or "")) from refused

    def load(self, model_name: str) -> HeadCategories:
        """The record of a model by name alone, of whatever revision. Raises NoHeadCategoriesError when there is none."""
        self._wait_if_empty(model_name, None)
        for record, _ in self._candidates(model_name, None):
            return record
        raise self._no_record(model_name, str(model_name) in MODELS or self._settings.any_model)

    def keep(self, record: HeadCategories) -> Path:
        """Keeps a record that was analysed here, under its revision. Raises OSError when the disk does not take it."""
        return self._analysed.write(record, record.revision)

    def refresh(self, model_name: str) -> Job[None] | None:
        """Asks the Hub in the background for a newer record, where that is due; never raises, never waits."""
        if not self._settings.dataset or not isinstance(model_name, str):
            return None
        known = self._known(model_name)
        with self._lock:
            if time.monotonic() < known.due:
                return self._refreshes.find(model_name)
            known.due = time.monotonic() + FRESH_SECONDS
        return self._refreshes.start(model_name, lambda _: self._fetch(model_name))

    def _known(self, model_name: str) -> _Known:
        with self._lock:
            known = self._models.pop(model_name, None) or _Known()
            self._models[model_name] = known
            while len(self._models) > MAX_REMEMBERED:
                self._models.popitem(last=False)
            return known

    def _fetch(self, model_name: str) -> None:
        known, published = self._known(model_name), self._published(model_name)
        here = published[0] if published else None
        try:
            record, commit = fetch_record(
                model_name, self._settings.dataset, self._settings.revision, here.commit if here else ""
            )
            record = record or (here.record if here else None)
            assert record is not None  # without a known commit there is no "unchanged"
            self._check_arrived(record, time.time())
        except FileNotFoundError:
            known.trouble = ""
            return
        except HeadRolesError as error:
            known.trouble, known.due = str(error), time.monotonic() + RETRY_SECONDS
            return
        # the one before stays at hand: whether this one fits, some models tell only once they are read
        others = [other for other in published if other.commit != commit]
        known.published = (_Published(record, commit, time.time(), is_fresh=True), *others[: KEPT - 1])
        known.trouble = ""
        self._copies.confirm(record, commit)

    def _check_arrived(self, record: HeadCategories, now: float) -> None:
        """Raises InvalidRecordError for a record that cannot serve, as far as its model is known here.

        Args:
            now: when it came, by this machine's clock; if that is wrong, it is not before the embedded record was made.
        """
        check_arrived(record, max(_day(now), datetime.date.fromisoformat(_embedded(EMBEDDED_MODEL).analysis_date)))
        if record.model_name in EMBEDDED:
            check_belongs(record, identity_of(_embedded(record.model_name)))
        elif (identity := self._known(record.model_name).identity) is not None:
            check_belongs(record, identity)

    def _published(self, model_name: str) -> tuple[_Published, ...]:
        """What the Hub gave to this process, or else to an earlier one, the newest first."""
        known = self._known(model_name)
        if known.published is None:
            found = tuple(self._kept(model_name)) if self._settings.dataset else ()
            known.published = known.published or found
        return known.published

    def _kept(self, model_name: str) -> Iterator[_Published]:
        wrong = self._copies.what_is_wrong(model_name)
        for record, commit, when in self._copies.newest(model_name):
            try:
                self._check_arrived(record, max(time.time(), when))
            except InvalidRecordError as error:
                wrong = wrong or error
                continue
            yield _Published(record, commit, when, is_fresh=False)
        known = self._known(model_name)
        known.trouble = known.trouble or str(wrong or "")  # what the Hub said meanwhile is newer

    def _candidates(self, model_name: str, revision: str | None) -> Iterator[tuple[HeadCategories, Source]]:
        """The records at hand, best first; without a revision, the last one that was analysed here."""
        for record in self.local.of(model_name, revision):
            yield record, _source("local", record)
        for published in self._published(model_name):
            record = published.record
            kind = "published" if published.is_fresh else "cached"
            origin = {"dataset": self._settings.dataset, "commit": published.commit, "confirmed": published.confirmed}
            yield record, _source(kind, record, **origin)
        if model_name in EMBEDDED:
            record = _embedded(model_name)
            yield record, _source("embedded", record)
        if revision is None:
            analysed = (record for record, _, _ in self._analysed.newest(model_name))
        else:
            analysed = filter(None, [self._analysed.read(model_name, revision)])
        for record in analysed:
            yield record, _source("analysed here", record)

    def _wait_if_empty(self, model_name: str, revision: str | None) -> None:
        job = self.refresh(model_name)
        if job is not None and next(self._candidates(model_name, revision), None) is None:
            job.wait(PATIENCE_SECONDS)

    def _no_record(self, model_name: str, can_be_picked: bool, refused: str = "") -> NoHeadCategoriesError:
        """Says what is there, and what would help with this very model."""
        name, settings = str(model_name)[:100], self._settings
        trouble = " ".join(filter(None, (refused, self._known(str(model_name)).trouble)))
        elsewhere = f", neither here nor in {settings.dataset}" if settings.dataset and not trouble else ""
        command = f"`headroles-analysis {shlex.quote(name)} --out DIR` (in a checkout `python -m analysis`)"
        if can_be_picked:
            help_ = f"have it analysed on the page, or by {command}; HEADROLES_RECORDS=DIR then serves what that made."
        else:
            some = ", ".join((*EMBEDDED, *self.local.names())[:MAX_NAMED])
            help_ = f"there are some for {some}; {command} makes them for a model on the Hub, a folder or a GGUF file."
        return NoHeadCategoriesError(f"There are no roles for {name!r} yet{elsewhere}; {help_}{trouble and ' ' + trouble}")


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


def _source(kind: Kind, record: HeadCategories, **origin: Any) -> Source:
    recipe = record.recipe
    quantization = recipe.weights.quantization if recipe.weights else ""
    known = {"reader": record.reader, "quantization": quantization, "is_calibrated": bool(record.calibrations)}
    return Source(kind, record.analysis_date, record.revision, **known, **origin)


def _day(seconds: float) -> datetime.date:
    """The day of a time; the first of all days for what is none, as a file may have it."""
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).date()
    except (ValueError, OverflowError, OSError):
        return datetime.date.min


def embedded_records() -> tuple[HeadCategories, ...]:
    """The records that ship with headroles."""
    return tuple(map(_embedded, EMBEDDED))


def _embedded(model_name: str) -> HeadCategories:
    return read_once(EMBEDDED[model_name])


@lru_cache
def _store(settings: Settings) -> RecordStore:
    return RecordStore(settings)
