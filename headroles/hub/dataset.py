"""A model's record or training run, or the atlas, out of a dataset repo on the Hub.

Each answer is bounded in time and size, and each failure is one sentence.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from headroles.core.records.atomic_files import read_ordinary
from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_files import MAX_RECORD_BYTES, read_record, record_file_name
from headroles.core.surveys.atlas_entries import MAX_ATLAS_BYTES, AtlasEntry, parse_entries
from headroles.core.surveys.training_builder import run_file_name
from headroles.core.surveys.training_run import MAX_TRAINING_BYTES, read_run_file
from headroles.errors import HubError, InvalidRecordError
from headroles.hub.http import HUB_TIMEOUT_SECONDS, HTTPError, describe_error, no_dataset_error

RECORDS_FOLDER = "head_categories"  # the folder of the records, one file a model
RUNS_FOLDER = "training"  # that of the training runs
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EIO)
COMBINED_RECORDS = "head_categories.json"  # or all of them in one file, by model
ATLAS_PATH = "atlas/atlas.jsonl"  # the rows of all records, a line each


def fetch_record(model_name: str, dataset: str, revision: str, known_commit: str = "") -> tuple[HeadCategories | None, str]:
    """A model's record as the dataset repo has it now, and the commit; no record when the commit is the `known` one.

    Raises:
        HubError: when there is no such repo or revision, it is closed to us, or the Hub does not give a whole answer.
        InvalidRecordError: when the record is too large, breaks the schema, or is another model's.
        FileNotFoundError: when the repo holds none for this model.
    """
    with _hub_errors(dataset, revision, f"record of {model_name}"):
        commit = _current_commit(dataset, revision)
        return (None if commit == known_commit else _fetch_file(model_name, dataset, commit)), commit


def fetch_atlas(dataset: str, revision: str, known_commit: str = "") -> tuple[tuple[AtlasEntry, ...] | None, str]:
    """The atlas as the dataset repo has it now, and the commit; none when the commit is the `known` one.

    Raises as `fetch_record`, and FileNotFoundError when the repo holds no atlas.
    """
    with _hub_errors(dataset, revision, "atlas"):
        commit = _current_commit(dataset, revision)
        if commit == known_commit:
            return None, commit
        file = _download(dataset, ATLAS_PATH, commit, MAX_ATLAS_BYTES)
        return parse_entries(read_ordinary(file, MAX_ATLAS_BYTES + 1), f"of {dataset}"), commit


def fetch_run(model_name: str, dataset: str, revision: str, known_commit: str = "") -> tuple[bytes | None, str]:
    """The text of a model's training run, not yet believed, and the commit; no text when the commit is the `known` one.

    Raises as `fetch_record` does, and InvalidRecordError for the size alone.
    """
    with _hub_errors(dataset, revision, f"training run of {model_name}"):
        commit = _current_commit(dataset, revision)
        if commit == known_commit:
            return None, commit
        return read_run_file(_download(dataset, f"{RUNS_FOLDER}/{run_file_name(model_name)}", commit, MAX_TRAINING_BYTES)), commit


def _current_commit(dataset: str, revision: str) -> str:
    return HfApi().dataset_info(dataset, revision=revision, timeout=HUB_TIMEOUT_SECONDS).sha or revision


@contextmanager
def _hub_errors(dataset: str, revision: str, what: str) -> Iterator[None]:
    """What goes wrong while the Hub is asked, in our own words."""
    try:
        yield
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise no_dataset_error(dataset) from error
    except RevisionNotFoundError as error:
        raise HubError(f"The dataset {dataset} has no revision {revision}.") from error
    except RemoteEntryNotFoundError as error:
        raise FileNotFoundError(f"{dataset} holds no {what}") from error
    except (HTTPError, HfHubHTTPError, OSError, ValueError, KeyError) as error:
        if (code := getattr(error, "errno", None)) in DISK_ERRORS:  # the file passes through the library's cache
            raise HubError(f"Newer roles from {dataset} find no place on this machine's disk ({os.strerror(code)}).") from error
        raise HubError(f"The Hub {describe_error(error)}, so {dataset} could not be asked for newer roles.") from error


def _fetch_file(model_name: str, dataset: str, commit: str) -> HeadCategories:
    path = f"{RECORDS_FOLDER}/{record_file_name(model_name)}"
    try:
        file = _download(dataset, path, commit, MAX_RECORD_BYTES)
    except RemoteEntryNotFoundError:
        path = COMBINED_RECORDS
        file = _download(dataset, path, commit, MAX_RECORD_BYTES)
    record = read_record(file, model_name, f"of {model_name} in {dataset}")
    if record.model_name != model_name:
        raise InvalidRecordError(f"The record of {model_name} in {dataset} is that of {record.model_name[:100]!r}.")
    return record


def _download(dataset: str, path: str, commit: str, limit: int) -> Path:
    url = hf_hub_url(dataset, path, repo_type="dataset", revision=commit)
    size = get_hf_file_metadata(url, timeout=HUB_TIMEOUT_SECONDS).size or 0
    if size > limit:
        raise InvalidRecordError(f"{path} in {dataset} has {size:,} bytes; at most {limit:,} are read.")
    return Path(hf_hub_download(dataset, path, repo_type="dataset", revision=commit, etag_timeout=HUB_TIMEOUT_SECONDS))
