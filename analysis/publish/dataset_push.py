"""Pushes files into a dataset repo on the Hub, whoever else pushes at the same time.

Nothing locks the repo. A commit names the one it was made from, and the Hub refuses it with 412 when another came in between;
then everything is read and made again. So no push is lost, and files that are derived from all others always fit them.
"""

import hashlib
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
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

from headroles.core.records.record_files import NAME
from headroles.errors import HubError, InvalidInputError
from headroles.hub.http import HUB_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS, HTTPError, describe_error, no_dataset_error

from ..hub_errors import TRANSIENT, BrokenAnswerError, broken_answers, response_status

CONFLICTS = 40  # how often others may be faster before the push gives up
FAILURES = 3  # how often the Hub may fail to take a commit
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 8.0
LONGEST_WAIT_SECONDS = 60  # that the Hub may ask for
OVERTAKEN = 412  # somebody else's commit came first


@dataclass(frozen=True)
class PushResult:
    """What a push came to.

    Attributes:
        model: whose record or training run it was.
        dataset: `ORG/DATASET`.
        status: "unchanged" made no commit; "shown" is what a dry run says instead of "committed".
        url: of the commit or the pull request; empty where there is none.
        changes: lines for people on what is, or would be, different in the dataset.
    """

    model: str
    dataset: str
    status: Literal["committed", "proposed", "unchanged", "shown"] = "unchanged"
    url: str = ""
    changes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """What the command line prints."""
        text = {
            "committed": f"pushed to {self.dataset}: {self.url}",
            "proposed": f"proposed to {self.dataset}: {self.url}",
            "unchanged": f"{self.dataset} has it already",
            "shown": f"would be pushed to {self.dataset}:",
        }[self.status]
        return "\n".join([f"{self.model} {text}", *(self.changes if self.status == "shown" else ())])


@dataclass(frozen=True)
class RepoSnapshot:
    """A dataset repo at one commit.

    Attributes:
        repo: `ORG/DATASET`.
        commit: None where there is no such repo.
        files: by path.
    """

    repo: str
    commit: str | None
    files: Mapping[str, RepoFile]
    _contents: dict[str, bytes] = field(default_factory=dict)  # of this and earlier commits, by git's name of them

    def read(self, path: str, limit: int) -> bytes | None:
        """The content of a file; None where there is none, or it has more than `limit` bytes.

        Args:
            path: in the repo.
            limit: in bytes.
        """
        file = self.files.get(path)
        if file is None or file.size > limit:
            return None
        if file.blob_id not in self._contents:
            with broken_answers():
                self._contents[file.blob_id] = self._download(path, file)
        return self._contents[file.blob_id]

    def _download(self, path: str, file: RepoFile) -> bytes:
        """The content of a file; ValueError unless it is what the Hub lists, whatever stands between the Hub and here."""
        url = hf_hub_url(self.repo, path, repo_type="dataset", revision=self.commit)
        answer = http_backoff("GET", url, headers=build_hf_headers(), timeout=READ_TIMEOUT_SECONDS)
        hf_raise_for_status(answer)
        content = answer.content
        git_hash = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        expected, found = (file.lfs.sha256, hashlib.sha256(content).hexdigest()) if file.lfs else (file.blob_id, git_hash)
        if found != expected:
            raise ValueError(f"{path} is not the file that the Hub lists")
        return content


Change = tuple[dict[str, bytes], list[str]]  # the files to write, by path, and lines for people on what is new


@dataclass
class DatasetPush:
    """A push of something that belongs to one model.

    Attributes:
        model: its name.
        what: is pushed, as the commit says it.
        repo: `ORG/DATASET`; it is made if need be.
        create_pr: opens a pull request instead, for those who may not write there.
        dry_run: says what would change, and sends nothing.
    """

    model: str
    what: str
    repo: str
    create_pr: bool
    dry_run: bool

    def run(self, changes: Callable[[RepoSnapshot], Change]) -> PushResult:
        """Pushes, as often as it takes.

        Args:
            changes: what has to be written into a repo, no files where it says all of it already.

        Raises:
            InvalidInputError: when the model has a name that no dataset file can have.
            HubError: says in one sentence why the Hub did not take it; then all of it is in the dataset, or nothing.
        """
        # anything else would have to be escaped in the card
        if not NAME.fullmatch(self.model):
            raise InvalidInputError(f"{self.model[:100]!r} cannot be pushed; rename it to what the Hub could call a model.")
        unsent = f"so {self.model} was not pushed to {self.repo}"
        try:
            return self._try(changes)
        except (GatedRepoError, RepositoryNotFoundError) as error:
            raise no_dataset_error(self.repo) from error
        except (OfflineModeIsEnabled, LocalEntryNotFoundError) as error:
            raise HubError(f"HF_HUB_OFFLINE is set, {unsent}.") from error
        except (HTTPError, OSError) as error:
            raise HubError(_explain(error, self.model, self.repo)) from error
        except BrokenAnswerError as error:
            raise HubError(f"The Hub gives a broken answer, {unsent}.") from error

    def _try(self, changes: Callable[[RepoSnapshot], Change]) -> PushResult:
        conflicts = failures = 0
        contents: dict[str, bytes] = {}
        pushed = PushResult(self.model, self.repo)
        while True:
            with broken_answers():
                snapshot = self._snapshot(contents)
            files, difference = changes(snapshot)
            if not files:
                return pushed
            lines = [
                f"  {'changes' if path in snapshot.files else 'adds'} {path} ({len(files[path]):,} bytes)"
                for path in sorted(files)
            ]
            pushed = replace(pushed, changes=(*lines, *difference))
            if self.dry_run:
                return replace(pushed, status="shown")
            try:
                with broken_answers():
                    return self._commit(files, snapshot.commit, pushed)
            except (HTTPError, HfHubHTTPError) as error:
                is_overtaken, is_transient = response_status(error) == OVERTAKEN, response_status(error) in (None, *TRANSIENT)
                conflicts, failures = conflicts + is_overtaken, failures + is_transient
                if conflicts > CONFLICTS or failures >= FAILURES or not (is_overtaken or is_transient):
                    raise
                # a pull request whose answer was lost would be opened twice
                if is_transient and self.create_pr:
                    raise
                time.sleep(_pause(error, conflicts + failures))

    def _commit(self, files: dict[str, bytes], parent: str | None, pushed: PushResult) -> PushResult:
        # new operations each time: the library keeps in them what the dataset held when it first asked
        commit = HfApi().create_commit(
            self.repo,
            [CommitOperationAdd(path, content) for path, content in files.items()],
            commit_message=f"{self.what} of {self.model}",
            repo_type="dataset",
            parent_commit=parent,
            create_pr=self.create_pr,
        )
        if not self.create_pr:
            return replace(pushed, status="committed", url=commit.commit_url)
        # without a pull request, somebody brought the very same in between, and the library sent nothing
        return replace(pushed, status="proposed", url=commit.pr_url) if commit.pr_url else replace(pushed, changes=())

    def _snapshot(self, contents: dict[str, bytes]) -> RepoSnapshot:
        api = HfApi()
        try:
            commit = _last_commit(api, self.repo)
        except RepositoryNotFoundError:
            if self.create_pr:
                raise
            if self.dry_run:
                return RepoSnapshot(self.repo, None, {})
            api.create_repo(self.repo, repo_type="dataset", exist_ok=True)
            commit = _last_commit(api, self.repo)
        entries = api.list_repo_tree(self.repo, recursive=True, revision=commit, repo_type="dataset")
        return RepoSnapshot(self.repo, commit, {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}, contents)


def _last_commit(api: HfApi, repo: str) -> str:
    commit = api.dataset_info(repo, timeout=HUB_TIMEOUT_SECONDS).sha
    if not commit:
        raise ValueError("no commit in the Hub's answer")
    return commit


def _pause(error: Exception, tries: int) -> float:
    """Seconds to wait: what the Hub asks for, else longer each time, at random so that others wait for another time."""
    asked = error.response.headers.get("Retry-After", "") if isinstance(error, HfHubHTTPError) else ""
    if asked.isdigit():
        return min(int(asked), LONGEST_WAIT_SECONDS)
    return random.uniform(0, min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**tries))


def _explain(error: Exception, model: str, repo: str) -> str:
    """One sentence without the libraries' own texts, which hold addresses and what the Hub sent."""
    status = response_status(error)
    if status == 401:
        if get_token() is None:
            return f"Pushing to {repo} takes a token that may write to it; set HF_TOKEN."
        where = "HF_TOKEN" if os.environ.get("HF_TOKEN") else "the login on this machine"
        return f"The Hub refuses the token in {where}, so {model} was not pushed to {repo}."
    if status == 403:
        return f"The token in HF_TOKEN may not write to {repo}; propose the roles of {model} with --create-pr instead."
    if status == OVERTAKEN:
        return f"Others changed {repo} {CONFLICTS} times while {model} was being pushed; try again later."
    return f"The Hub {describe_error(error)}, so {model} was not pushed to {repo}; run the same command again."
