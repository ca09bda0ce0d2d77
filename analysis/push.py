"""A model's record into a dataset repo on the Hub: one commit with its JSON, its rows, its picture, the atlas and the card.

Nothing locks the repo. A commit names the one it was made from, the Hub refuses it with 412 when another came in between, and
then everything is read and made again: so nobody's push is lost, and the card always lists what is there.
"""

import hashlib
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from huggingface_hub import CommitOperationAdd, HfApi, get_token, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff

from headroles.core.atlas_entries import MAX_ATLAS_BYTES, known_entries, renewed, to_lines
from headroles.core.record_files import MAX_RECORD_BYTES, NAME, parse_record, record_file_name
from headroles.core.records import HeadCategories
from headroles.core.roles import MeasuredRole, measured_roles
from headroles.errors import HubError, InvalidInputError, InvalidRecordError
from headroles.hub.dataset import ATLAS, RECORDS
from headroles.hub.talk import ANSWER_SECONDS, STALL_SECONDS, HTTPError, no_dataset, trouble

from . import dataset

CONFLICTS = 40  # how often others may be faster, before it is given up
FAILURES = 3  # how often the Hub may fail to take a commit
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 8.0
LONGEST_WAIT_SECONDS = 60  # that the Hub may ask for
OVERTAKEN = 412  # somebody else's commit came first
PASSING = (429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Pushed:
    """What a push came to.

    Attributes:
        status: "unchanged" made no commit; "shown" is what a dry run says instead of "committed".
        url: of the commit or the pull request; empty where there is none.
        changes: lines for people on what is, or would be, different in the dataset.
    """

    model: str
    dataset: str
    status: Literal["committed", "proposed", "unchanged", "shown"]
    url: str = ""
    changes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """What the command line prints."""
        said = {
            "committed": f"pushed to {self.dataset}: {self.url}",
            "proposed": f"proposed to {self.dataset}: {self.url}",
            "unchanged": f"{self.dataset} has it already",
            "shown": f"would be pushed to {self.dataset}:",
        }[self.status]
        return "\n".join([f"{self.model} {said}", *(self.changes if self.status == "shown" else ())])


@dataclass(frozen=True)
class _State:
    """The dataset at one commit: its files, and the records among them that can be read. Without a commit it is not there."""

    commit: str | None
    paths: frozenset[str]
    records: Mapping[str, HeadCategories]  # by path
    card: str
    atlas: bytes = b""


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
    # anything else would have to be escaped in the card
    if not NAME.fullmatch(record.model_name):
        raise InvalidInputError(f"{record.model_name[:100]!r} cannot be pushed; rename it to what the Hub could call a model.")
    try:
        return _Push(record, repo, create_pr, dry_run).run()
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise no_dataset(repo) from error
    except (OfflineModeIsEnabled, LocalEntryNotFoundError) as error:
        raise HubError(f"HF_HUB_OFFLINE is set, so {record.model_name} was not pushed to {repo}.") from error
    except (HTTPError, OSError) as error:
        raise HubError(_explain(error, record.model_name, repo)) from error
    except _BrokenAnswerError as error:
        raise HubError(f"The Hub gives a broken answer, so {record.model_name} was not pushed to {repo}.") from error


class _BrokenAnswerError(Exception):
    """Raised when the Hub's answer, or what stands between it and here, is not what was asked for."""


@contextmanager
def _asking() -> Iterator[None]:
    """Tells what the library makes of a broken answer, where it looks for no error, from bugs elsewhere."""
    try:
        yield
    except RuntimeError as error:  # around a failed upload of a file
        if isinstance(error.__cause__, HTTPError | OSError):
            raise error.__cause__ from error
        raise _BrokenAnswerError from error
    except (HTTPError, OSError):
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _BrokenAnswerError from error


class _Push:
    """One push: what is sent is made once, what depends on the others' records as often as they change."""

    def __init__(self, record: HeadCategories, repo: str, create_pr: bool, dry_run: bool) -> None:
        self._repo, self._create_pr, self._dry_run = repo, create_pr, dry_run
        self._record = record
        self._path = f"{RECORDS}/{record_file_name(record.model_name)}"
        self._derived: dict[str, bytes] = {}
        self._contents: dict[str, bytes] = {}  # of what was read before, by git's name of it
        self._api = HfApi()

    def run(self) -> Pushed:
        conflicts = failures = 0
        while True:
            with _asking():
                state = self._read()
            files = self._changed_files(state)
            if not files:
                return self._result("unchanged")
            changes = (*_file_changes(files, state.paths), *difference(state.records.get(self._path), self._record))
            if self._dry_run:
                return self._result("shown", changes=changes)
            try:
                with _asking():
                    return self._commit(files, state, changes)
            except (HTTPError, HfHubHTTPError) as error:
                overtaken, passing = _status(error) == OVERTAKEN, _status(error) in (None, *PASSING)
                conflicts, failures = conflicts + overtaken, failures + passing
                if conflicts > CONFLICTS or failures >= FAILURES or not (overtaken or passing):
                    raise
                # a pull request whose answer was lost would be opened twice
                if passing and self._create_pr:
                    raise
                time.sleep(_pause(error, conflicts + failures))

    def _commit(self, files: dict[str, bytes], state: _State, changes: tuple[str, ...]) -> Pushed:
        # new operations each time: the library keeps in them what the dataset held when it first asked
        operations = [CommitOperationAdd(path, content) for path, content in files.items()]
        commit = self._api.create_commit(
            self._repo,
            operations,
            commit_message=f"Roles of {self._record.model_name}",
            repo_type="dataset",
            parent_commit=state.commit,
            create_pr=self._create_pr,
        )
        if self._create_pr:
            # without a pull request, somebody brought the very same in between, and the library sent nothing
            return self._result("proposed", commit.pr_url, changes) if commit.pr_url else self._result("unchanged")
        return self._result("committed", commit.commit_url, changes)

    def _result(self, status: Literal["committed", "proposed", "unchanged", "shown"], url: str = "", changes=()) -> Pushed:
        return Pushed(self._record.model_name, self._repo, status, url, tuple(changes))

    def _read(self) -> _State:
        try:
            commit = self._head()
        except RepositoryNotFoundError:
            if self._create_pr:
                raise
            if self._dry_run:
                return _State(None, frozenset(), {}, "")
            self._api.create_repo(self._repo, repo_type="dataset", exist_ok=True)
            commit = self._head()
        entries = self._api.list_repo_tree(self._repo, recursive=True, revision=commit, repo_type="dataset")
        files = {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
        card, atlas = (
            self._content(old, commit) if (old := files.get(path)) and old.size <= limit else b""
            for path, limit in ((dataset.CARD, MAX_RECORD_BYTES), (ATLAS, MAX_ATLAS_BYTES))
        )
        records = {path: record for path, file in files.items() if (record := self._read_record(file, commit))}
        return _State(commit, frozenset(files), records, card.decode("utf-8", "replace"), atlas)

    def _head(self) -> str:
        commit = self._api.dataset_info(self._repo, timeout=ANSWER_SECONDS).sha
        if not commit:
            raise ValueError("no commit in the Hub's answer")
        return commit

    def _read_record(self, file: RepoFile, commit: str) -> HeadCategories | None:
        """The record in a file; None for a file that is none, however it got there."""
        folder, _, name = file.path.rpartition("/")
        if folder != RECORDS or not name.endswith(".json") or file.size > MAX_RECORD_BYTES:
            return None
        try:
            record = parse_record(self._content(file, commit), name)
        except InvalidRecordError:
            return None
        proper = NAME.fullmatch(record.model_name) and record_file_name(record.model_name) == name
        # two names could share a file before each had its own
        shared = record.model_name.replace("/", "__") + ".json" == name
        if file.path == self._path and shared and record.model_name != self._record.model_name:
            raise InvalidInputError(f"{self._path} in {self._repo} holds the roles of {record.model_name}; rename one of them.")
        return record if proper else None

    def _content(self, file: RepoFile, commit: str) -> bytes:
        """What a file holds; ValueError unless it is what the list of files says, whatever stands between the Hub and here."""
        if file.blob_id not in self._contents:
            url = hf_hub_url(self._repo, file.path, repo_type="dataset", revision=commit)
            answer = http_backoff("GET", url, headers=build_hf_headers(), timeout=STALL_SECONDS)
            hf_raise_for_status(answer)
            content = answer.content
            if file.lfs:
                whole = hashlib.sha256(content).hexdigest() == file.lfs.sha256
            else:
                whole = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == file.blob_id
            if not whole:
                raise ValueError(f"{file.path} is not the file that the Hub lists")
            self._contents[file.blob_id] = content
        return self._contents[file.blob_id]

    def _changed_files(self, state: _State) -> dict[str, bytes]:
        """What has to be written, by path; nothing where the dataset says all of it already."""
        model = self._record.model_name
        there = state.records.get(self._path)
        known = there is not None and _same(there, self._record)
        listed = {**state.records, self._path: there if known else self._record}
        records = list(filter(None, listed.values()))
        card, atlas, rows = dataset.card(records, self._repo), *_atlas_files(state, records)
        derived = {dataset.table_path(model), dataset.picture_path(model)}
        if known and (card, atlas) == (state.card, state.atlas) and not rows and derived <= state.paths:
            return {}
        self._derived = self._derived or {
            dataset.table_path(model): dataset.to_parquet(self._record),
            dataset.picture_path(model): dataset.to_picture(self._record),
        }
        files = {dataset.CARD: card.encode(), ATLAS: atlas, **rows}
        if not known:
            files[self._path] = self._record.to_json().encode()
        return files | {path: content for path, content in self._derived.items() if not known or path not in state.paths}


def _atlas_files(state: _State, records: Sequence[HeadCategories]) -> tuple[bytes, dict[str, bytes]]:
    """The atlas of these records, and by path the rows of those models alone that have new ones, or none in the dataset."""
    known = known_entries(state.atlas)
    entries = renewed(known, records)
    paths = {dataset.atlas_path(entry.model): entry for entry in entries}
    return to_lines(entries), {
        path: dataset.atlas_to_parquet(entry)
        for path, entry in paths.items()
        if known.get(entry.model) is not entry or path not in state.paths
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


def _file_changes(files: Mapping[str, bytes], there: frozenset[str]) -> list[str]:
    return [f"  {'changes' if path in there else 'adds'} {path} ({len(files[path]):,} bytes)" for path in sorted(files)]


def _status(error: Exception) -> int | None:
    """What the Hub answered; None when no answer came."""
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def _pause(error: Exception, tries: int) -> float:
    """How long to wait: as long as the Hub asks, else longer each time, and never as long as the others."""
    asked = error.response.headers.get("Retry-After", "") if isinstance(error, HfHubHTTPError) else ""
    if asked.isdigit():
        return min(int(asked), LONGEST_WAIT_SECONDS)
    return random.uniform(0, min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**tries))


def _explain(error: Exception, model: str, repo: str) -> str:
    """One sentence without the libraries' own texts, which hold addresses and what the Hub sent."""
    status = _status(error)
    if status == 401:
        if get_token() is None:
            return f"Pushing to {repo} takes a token that may write to it; set HF_TOKEN."
        where = "HF_TOKEN" if os.environ.get("HF_TOKEN") else "the login on this machine"
        return f"The Hub refuses the token in {where}, so {model} was not pushed to {repo}."
    if status == 403:
        return f"The token in HF_TOKEN may not write to {repo}; propose the roles of {model} with --create-pr instead."
    if status == OVERTAKEN:
        return f"{repo} was changed by others {CONFLICTS} times while {model} was being pushed; try again later."
    return f"The Hub {trouble(error)}, so {model} was not pushed to {repo}; run the same command again."
