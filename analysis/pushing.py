"""Pushes into a dataset repo on the Hub: what a commit of a model's record and one of its training run have in common.

Nothing locks the repo. A commit names the one it was made from, the Hub refuses it with 412 when another came in between, and
then everything is read and made again: so nobody's push is lost, and what is derived from all that is there always fits it.
"""

import hashlib
import os
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Literal, Protocol, TypeVar

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

from headroles.core.records.record_files import NAME
from headroles.errors import HubError, InvalidInputError
from headroles.hub.http import ANSWER_SECONDS, STALL_SECONDS, HTTPError, describe_error, no_dataset

CONFLICTS = 40  # how often others may be faster, before it is given up
FAILURES = 3  # how often the Hub may fail to take a commit
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 8.0
LONGEST_WAIT_SECONDS = 60  # that the Hub may ask for
OVERTAKEN = 412  # somebody else's commit came first
PASSING = (429, 500, 502, 503, 504)
Status = Literal["committed", "proposed", "unchanged", "shown"]


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
    status: Status
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
class Listing:
    """The files of the dataset at one commit, by path. Without a commit it is not there."""

    commit: str | None
    files: Mapping[str, RepoFile] = field(default_factory=dict)

    @property
    def paths(self) -> frozenset[str]:
        return frozenset(self.files)


class HasListing(Protocol):
    """What a push reads before it says what has to be written."""

    @property
    def listing(self) -> Listing: ...


S = TypeVar("S", bound=HasListing)


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


class Push(ABC, Generic[S]):
    """One push: what is sent is made once, what depends on what others sent as often as that changes.

    Attributes:
        what: of the model is pushed, as the commit says it.
    """

    what: ClassVar[str]

    def __init__(self, model: str, repo: str, create_pr: bool, dry_run: bool) -> None:
        self._model, self._repo, self._create_pr, self._dry_run = model, repo, create_pr, dry_run
        self._contents: dict[str, bytes] = {}  # of what was read before, by git's name of it
        self._api = HfApi()

    @abstractmethod
    def _read(self, listing: Listing) -> S:
        """What there is, as far as the push must know it."""

    @abstractmethod
    def _changed_files(self, state: S) -> dict[str, bytes]:
        """What has to be written, by path; nothing where the dataset says all of it already."""

    @abstractmethod
    def _difference(self, state: S) -> list[str]:
        """What is new, in lines for people."""

    def run(self) -> Pushed:
        """Pushes, as often as it takes.

        Raises:
            InvalidInputError: when the model has a name that no dataset file can have.
            HubError: says in one sentence why the Hub did not take it; then nothing of it is in the dataset, or all of it is.
        """
        model, repo = self._model, self._repo
        # anything else would have to be escaped in the card
        if not NAME.fullmatch(model):
            raise InvalidInputError(f"{model[:100]!r} cannot be pushed; rename it to what the Hub could call a model.")
        try:
            return self._push()
        except (GatedRepoError, RepositoryNotFoundError) as error:
            raise no_dataset(repo) from error
        except (OfflineModeIsEnabled, LocalEntryNotFoundError) as error:
            raise HubError(f"HF_HUB_OFFLINE is set, so {model} was not pushed to {repo}.") from error
        except (HTTPError, OSError) as error:
            raise HubError(_explain(error, model, repo)) from error
        except _BrokenAnswerError as error:
            raise HubError(f"The Hub gives a broken answer, so {model} was not pushed to {repo}.") from error

    def _push(self) -> Pushed:
        conflicts = failures = 0
        while True:
            with _asking():
                state = self._read(self._list())
            files = self._changed_files(state)
            if not files:
                return self._result("unchanged")
            changes = (*_file_changes(files, state.listing.paths), *self._difference(state))
            if self._dry_run:
                return self._result("shown", changes=changes)
            try:
                with _asking():
                    return self._commit(files, state.listing.commit, changes)
            except (HTTPError, HfHubHTTPError) as error:
                overtaken, passing = _status(error) == OVERTAKEN, _status(error) in (None, *PASSING)
                conflicts, failures = conflicts + overtaken, failures + passing
                if conflicts > CONFLICTS or failures >= FAILURES or not (overtaken or passing):
                    raise
                # a pull request whose answer was lost would be opened twice
                if passing and self._create_pr:
                    raise
                time.sleep(_pause(error, conflicts + failures))

    def _commit(self, files: dict[str, bytes], parent: str | None, changes: tuple[str, ...]) -> Pushed:
        # new operations each time: the library keeps in them what the dataset held when it first asked
        operations = [CommitOperationAdd(path, content) for path, content in files.items()]
        commit = self._api.create_commit(
            self._repo,
            operations,
            commit_message=f"{self.what} of {self._model}",
            repo_type="dataset",
            parent_commit=parent,
            create_pr=self._create_pr,
        )
        if self._create_pr:
            # without a pull request, somebody brought the very same in between, and the library sent nothing
            return self._result("proposed", commit.pr_url, changes) if commit.pr_url else self._result("unchanged")
        return self._result("committed", commit.commit_url, changes)

    def _result(self, status: Status, url: str = "", changes: tuple[str, ...] = ()) -> Pushed:
        return Pushed(self._model, self._repo, status, url, changes)

    def _list(self) -> Listing:
        try:
            commit = self._head()
        except RepositoryNotFoundError:
            if self._create_pr:
                raise
            if self._dry_run:
                return Listing(None)
            self._api.create_repo(self._repo, repo_type="dataset", exist_ok=True)
            commit = self._head()
        entries = self._api.list_repo_tree(self._repo, recursive=True, revision=commit, repo_type="dataset")
        return Listing(commit, {entry.path: entry for entry in entries if isinstance(entry, RepoFile)})

    def _head(self) -> str:
        commit = self._api.dataset_info(self._repo, timeout=ANSWER_SECONDS).sha
        if not commit:
            raise ValueError("no commit in the Hub's answer")
        return commit

    def _content(self, file: RepoFile, listing: Listing) -> bytes:
        """What a file holds; ValueError unless it is what the list of files says, whatever stands between the Hub and here."""
        if file.blob_id not in self._contents:
            url = hf_hub_url(self._repo, file.path, repo_type="dataset", revision=listing.commit)
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
    return f"The Hub {describe_error(error)}, so {model} was not pushed to {repo}; run the same command again."
