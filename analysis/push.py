"""A model's record into a dataset repo on the Hub: one commit with its JSON, its rows, its picture, the atlas and the card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from huggingface_hub.hf_api import RepoFile

from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_files import MAX_RECORD_BYTES, NAME, parse_record, record_file_name
from headroles.core.roles.roles import MeasuredRole, measured_roles
from headroles.core.surveys.atlas_entries import MAX_ATLAS_BYTES, entries_to_lines, known_entries, update_entries
from headroles.errors import InvalidInputError, InvalidRecordError
from headroles.hub.dataset import ATLAS, RECORDS

from . import dataset
from .pushing import Listing, Push, Pushed


def push(record: HeadCategories, repo: str, create_pr: bool = False, dry_run: bool = False) -> Pushed:
    """Brings a model's record into a dataset repo, which is made if need be; content that is there already makes no commit.

    Another model's record that cannot be read stays as it is, and out of the card.

    Args:
        repo: `ORG/DATASET`.
        create_pr: opens a pull request instead, for those who may not write there.
        dry_run: says what would change, and sends nothing.

    Raises:
        InvalidInputError: when the model has a name that no dataset file can have, or its file is another model's.
        HubError: says in one sentence why the Hub did not take it; then nothing of it is in the dataset, or all of it is.
    """
    return _RecordPush(record, repo, create_pr, dry_run).run()


@dataclass(frozen=True)
class _State:
    """The dataset at one commit: its files, the records among them that can be read, the card and the atlas."""

    listing: Listing
    records: Mapping[str, HeadCategories]  # by path
    card: str
    atlas: bytes


class _RecordPush(Push[_State]):
    what = "Roles"

    def __init__(self, record: HeadCategories, repo: str, create_pr: bool, dry_run: bool) -> None:
        super().__init__(record.model_name, repo, create_pr, dry_run)
        self._record = record
        self._path = f"{RECORDS}/{record_file_name(record.model_name)}"
        self._derived: dict[str, bytes] = {}

    def _read(self, listing: Listing) -> _State:
        card, atlas = (
            self._content(old, listing) if (old := listing.files.get(path)) and old.size <= limit else b""
            for path, limit in ((dataset.CARD, MAX_RECORD_BYTES), (ATLAS, MAX_ATLAS_BYTES))
        )
        found = ((path, self._read_record(file, listing)) for path, file in listing.files.items())
        return _State(listing, {path: record for path, record in found if record}, card.decode("utf-8", "replace"), atlas)

    def _read_record(self, file: RepoFile, listing: Listing) -> HeadCategories | None:
        """The record in a file; None for a file that is none, however it got there."""
        folder, _, name = file.path.rpartition("/")
        if folder != RECORDS or not name.endswith(".json") or file.size > MAX_RECORD_BYTES:
            return None
        try:
            record = parse_record(self._content(file, listing), name)
        except InvalidRecordError:
            return None
        proper = NAME.fullmatch(record.model_name) and record_file_name(record.model_name) == name
        # two names could share a file before each had its own
        shared = record.model_name.replace("/", "__") + ".json" == name
        if file.path == self._path and shared and record.model_name != self._record.model_name:
            raise InvalidInputError(f"{self._path} in {self._repo} holds the roles of {record.model_name}; rename one of them.")
        return record if proper else None

    def _changed_files(self, state: _State) -> dict[str, bytes]:
        """What has to be written, by path; nothing where the dataset says all of it already."""
        model = self._record.model_name
        there = state.records.get(self._path)
        known = there is not None and _same(there, self._record)
        listed = {**state.records, self._path: there if known else self._record}
        records = list(filter(None, listed.values()))
        card, atlas, rows = dataset.card(records, self._repo), *_atlas_files(state, records)
        derived = {dataset.table_path(model), dataset.picture_path(model)}
        if known and (card, atlas) == (state.card, state.atlas) and not rows and derived <= state.listing.paths:
            return {}
        self._derived = self._derived or {
            dataset.table_path(model): dataset.to_parquet(self._record),
            dataset.picture_path(model): dataset.to_picture(self._record),
        }
        files = {dataset.CARD: card.encode(), ATLAS: atlas, **rows}
        if not known:
            files[self._path] = self._record.to_json().encode()
        return files | {path: content for path, content in self._derived.items() if not known or path not in state.listing.paths}

    def _difference(self, state: _State) -> list[str]:
        return difference(state.records.get(self._path), self._record)


def _atlas_files(state: _State, records: Sequence[HeadCategories]) -> tuple[bytes, dict[str, bytes]]:
    """The atlas of these records, and by path the rows of those models alone that have new ones, or none in the dataset."""
    known = known_entries(state.atlas)
    entries = update_entries(known, records)
    paths = {dataset.atlas_path(entry.model): entry for entry in entries}
    return entries_to_lines(entries), {
        path: dataset.atlas_to_parquet(entry)
        for path, entry in paths.items()
        if known.get(entry.model) is not entry or path not in state.listing.paths
    }


def difference(old: HeadCategories | None, new: HeadCategories) -> list[str]:
    """What is new in a record, in lines for people: how it was made, the heads that stand for each role, the scores."""
    lines = []
    if old is not None:
        told = {"revision": (old.revision, new.revision)}
        told |= {name: (getattr(old.recipe, name), value) for name, value in new.recipe}
        lines += [f"  {name}: {before} -> {after}" for name, (before, after) in told.items() if before != after]
    for role in measured_roles():
        before, after = _heads(old, role), _heads(new, role)
        if before != after:
            lines.append(f"  {role.name}: {f'{before} -> ' if old else ''}{after}")
    if old is not None and _shape(old) == _shape(new):
        both = [role for role in new.scored_roles if role in old.scored_roles]
        changes = [abs(new.score(role, head) - old.score(role, head)) for role in both for head in new.heads()]
        if changed := sum(change > 0 for change in changes):
            lines.append(f"  {changed} of {len(changes)} scores change, by {max(changes):.4f} at most")
    return lines


def _heads(record: HeadCategories | None, role: MeasuredRole) -> str:
    if record is None or role not in record.scored_roles:
        return "not scored"
    return ", ".join(f"{head.label} {record.score(role, head):.3f}" for head in record.top_heads(role)) or "no head"


def _shape(record: HeadCategories) -> tuple[int, int]:
    return record.num_layers, record.num_heads


def _same(old: HeadCategories, new: HeadCategories) -> bool:
    """Whether two records differ in nothing but the day they were made on."""
    return old.model_copy(update={"analysis_date": new.analysis_date}) == new
