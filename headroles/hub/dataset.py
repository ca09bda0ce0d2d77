"""One model's record out of a dataset repo on the Hub: each answer bounded in time and size, each failure one sentence."""

import errno
import os
from pathlib import Path

from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from headroles.core.record_files import MAX_RECORD_BYTES, read_record, record_file_name
from headroles.core.records import HeadCategories
from headroles.errors import HubError, InvalidRecordError
from headroles.hub.talk import ANSWER_SECONDS, HTTPError, no_dataset, trouble

RECORDS = "head_categories"  # the folder of the records, one file a model
DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EIO)
TOGETHER = "head_categories.json"  # or all of them in one file, by model


def fetch_record(model_name: str, dataset: str, revision: str, known: str = "") -> tuple[HeadCategories | None, str]:
    """A model's record as the dataset repo has it now, and the commit; no record when the commit is the `known` one.

    Raises:
        HubError: when there is no such repo or revision, it is closed to us, or the Hub does not give a whole answer.
        InvalidRecordError: when the record is too large, breaks the schema, or is another model's.
        FileNotFoundError: when the repo holds none for this model.
    """
    try:
        commit = HfApi().dataset_info(dataset, revision=revision, timeout=ANSWER_SECONDS).sha or revision
        if commit == known:
            return None, commit
        return _record(model_name, dataset, commit), commit
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise no_dataset(dataset) from error
    except RevisionNotFoundError as error:
        raise HubError(f"The dataset {dataset} has no revision {revision}.") from error
    except RemoteEntryNotFoundError as error:
        raise FileNotFoundError(f"{dataset} holds no record of {model_name}") from error
    except (HTTPError, HfHubHTTPError, OSError, ValueError, KeyError) as error:
        if (code := getattr(error, "errno", None)) in DISK_TROUBLE:  # the record passes through the library's cache
            raise HubError(f"Newer roles from {dataset} find no place on this machine's disk ({os.strerror(code)}).") from error
        raise HubError(f"The Hub {trouble(error)}, so {dataset} could not be asked for newer roles.") from error


def _record(model_name: str, dataset: str, commit: str) -> HeadCategories:
    path = f"{RECORDS}/{record_file_name(model_name)}"
    try:
        file = _download(dataset, path, commit)
    except RemoteEntryNotFoundError:
        path = TOGETHER
        file = _download(dataset, path, commit)
    record = read_record(file, model_name, f"of {model_name} in {dataset}")
    if record.model_name != model_name:
        raise InvalidRecordError(f"The record of {model_name} in {dataset} is that of {record.model_name[:100]!r}.")
    return record


def _download(dataset: str, path: str, commit: str) -> Path:
    url = hf_hub_url(dataset, path, repo_type="dataset", revision=commit)
    size = get_hf_file_metadata(url, timeout=ANSWER_SECONDS).size or 0
    if size > MAX_RECORD_BYTES:
        raise InvalidRecordError(f"{path} in {dataset} has {size:,} bytes; at most {MAX_RECORD_BYTES:,} are read.")
    return Path(hf_hub_download(dataset, path, repo_type="dataset", revision=commit, etag_timeout=ANSWER_SECONDS))
