"""A model's record into a dataset repo on the Hub: one commit with its JSON, its rows, its picture, the atlas and the card."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_files import MAX_RECORD_BYTES, NAME, parse_record, record_file_name
from headroles.core.roles.roles import MeasuredRole, measured_roles
from headroles.core.surveys.atlas_entries import MAX_ATLAS_BYTES, entries_to_lines, known_entries, update_entries
from headroles.errors import InvalidInputError, InvalidRecordError
from headroles.hub.dataset import ATLAS_PATH, RECORDS_FOLDER

from . import dataset_card
from . import dataset_files as dataset
from .dataset_push import Change, DatasetPush, PushResult, RepoSnapshot


def push(record: HeadCategories, repo: str, create_pr: bool = False, dry_run: bool = False) -> PushResult:
    """Brings a model's record into a dataset repo; content that is there already makes no commit.

    Another model's record that cannot be read stays as it is, and out of the card.

    Args:
        record: of the model.
        repo: `ORG/DATASET`; it is made if need be.
        create_pr: opens a pull request instead, for those who may not write there.
        dry_run: says what would change, and sends nothing.

    Raises:
        InvalidInputError: when the model has a name that no dataset file can have, or its file is another model's.
        HubError: says in one sentence why the Hub did not take it; then all of it is in the dataset, or nothing.
    """
    return DatasetPush(record.model_name, "Roles", repo, create_pr, dry_run).run(_Files(record, repo).changes)


@dataclass
class _Files:
    """The files of one record in a dataset."""

    record: HeadCategories
    repo: str

    @cached_property
    def path(self) -> str:
        return f"{RECORDS_FOLDER}/{record_file_name(self.record.model_name)}"

    @cached_property
    def derived(self) -> dict[str, bytes]:
        """The table and the picture, by path; slow to make, so only once."""
        model = self.record.model_name
        return {
            dataset.table_path(model): dataset.record_parquet(self.record),
            dataset.picture_path(model): dataset.record_picture(self.record),
        }

    def changes(self, snapshot: RepoSnapshot) -> Change:
        """What has to be written, by path, and the difference to the record that is there."""
        read = {path: self._read(path, snapshot) for path in snapshot.files}
        records = {path: record for path, record in read.items() if record}
        old, model = records.get(self.path), self.record.model_name
        # equal but for the day they were made on
        is_known = old is not None and old.model_copy(update={"analysis_date": self.record.analysis_date}) == self.record
        records[self.path] = old if old and is_known else self.record
        atlas = snapshot.read(ATLAS_PATH, MAX_ATLAS_BYTES) or b""
        lines, files = _update_atlas(atlas, snapshot, list(records.values()))
        card = dataset_card.card(list(records.values()), self.repo).encode()
        paths = {dataset.table_path(model), dataset.picture_path(model)}
        is_same = (card, lines) == (snapshot.read(dataset_card.CARD, MAX_RECORD_BYTES), atlas)
        if is_known and is_same and not files and paths <= snapshot.files.keys():
            return {}, []
        files |= {dataset_card.CARD: card, ATLAS_PATH: lines}
        files |= {path: content for path, content in self.derived.items() if not is_known or path not in snapshot.files}
        if not is_known:
            files[self.path] = self.record.to_json().encode()
        return files, difference(old, self.record)

    def _read(self, path: str, snapshot: RepoSnapshot) -> HeadCategories | None:
        """The record in a file; None for a file that is not a valid record."""
        folder, _, name = path.rpartition("/")
        if folder != RECORDS_FOLDER or not name.endswith(".json"):
            return None
        content = snapshot.read(path, MAX_RECORD_BYTES)
        try:
            record = parse_record(content, name) if content is not None else None
        except InvalidRecordError:
            record = None
        if record is None:
            return None
        # two names could share a file before each had its own
        is_shared = record.model_name.replace("/", "__") + ".json" == name
        if path == self.path and is_shared and record.model_name != self.record.model_name:
            raise InvalidInputError(f"{self.path} in {self.repo} holds the roles of {record.model_name}; rename one of them.")
        return record if NAME.fullmatch(record.model_name) and record_file_name(record.model_name) == name else None


def _update_atlas(content: bytes, snapshot: RepoSnapshot, records: Sequence[HeadCategories]) -> tuple[bytes, dict[str, bytes]]:
    """The atlas of these records, and by path the rows of those models alone that have new ones, or none in the dataset."""
    known = known_entries(content)
    entries = update_entries(known, records)
    paths = {dataset.atlas_path(entry.model): entry for entry in entries}
    return entries_to_lines(entries), {
        path: dataset.atlas_parquet(entry)
        for path, entry in paths.items()
        if known.get(entry.model) is not entry or path not in snapshot.files
    }


def difference(old: HeadCategories | None, new: HeadCategories) -> list[str]:
    """What is new in a record, in lines for people: recipe, heads that stand for each role, scores.

    Args:
        old: the record that exists; None for none.
        new: the record that replaces it.
    """
    lines = []
    if old is not None:
        fields = {"revision": (old.revision, new.revision)}
        fields |= {name: (getattr(old.recipe, name), value) for name, value in new.recipe}
        lines += [f"  {name}: {before} -> {after}" for name, (before, after) in fields.items() if before != after]
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
