"""A model's repository or folder: what it says of itself before anything large is read, and its files on this machine."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import HFValidationError, build_hf_headers, get_session, hf_raise_for_status, validate_repo_id

from headroles.core.registry import ARCHITECTURES, MODELS
from headroles.errors import ModelLoadError, ModelTooLargeError, UnknownModelError, UnsupportedModelError, listed
from headroles.hub.gguf import is_gguf, read_gguf
from headroles.hub.gguf_config import gguf_config
from headroles.hub.http import HUB_TIMEOUT_SECONDS, HTTPError, describe_error, gated_error
from headroles.hub.packages import is_packaged
from headroles.hub.plain_files import UnfitError, check_file_size, read_plain
from headroles.hub.weights import count_parameters, pick_weights, tensor_shapes, weight_bytes, weight_files
from headroles.settings import GIGABYTE

MEGABYTE = 1024**2
MAIN_BRANCH = "main"  # the branch that a repository's name alone means
# all that is read of a repository that the registry does not name, beside its weights, and how large each may be
UNTRUSTED_FILES = {"config.json": MEGABYTE, "tokenizer.json": 64 * MEGABYTE, "tokenizer_config.json": 8 * MEGABYTE}
# no pattern that could match code, or a large file that is not among the weights
TRUSTED_FILES = [*UNTRUSTED_FILES, "tokenizer.model", "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json"]
WEIGHT_PATTERNS = ["model.safetensors", "model-?????-of-?????.safetensors"]
CONVERTER_ACCOUNT = "SFconvertbot"  # the Hub's own account that offers repositories a safetensors copy of their weights


@dataclass(frozen=True)
class RepositoryFacts:
    """What is known of a model before its weights are read.

    Attributes:
        source: a hub id or a folder.
        model_type: transformers' name of the architecture.
        parameters: how many there are.
        weight_bytes: size of the weight files.
        revision: the branch or ref of the hub that was looked at; empty for a folder.
        commit: what the revision pointed to then, and what is downloaded; empty for a folder.
        path: where the files lie on this machine already, a folder or one GGUF file; None when they have to be downloaded.
        is_registered: whether the registry names it; all others are strangers', and nothing in them is believed unchecked.
    """

    source: str
    model_type: str
    parameters: int
    weight_bytes: int
    revision: str = ""
    commit: str = ""
    path: Path | None = None

    @property
    def memory_bytes(self) -> int:
        """What the model takes in memory, in float32."""
        return self.parameters * 4

    @property
    def is_registered(self) -> bool:
        """Whether the registry names the model."""
        return is_registered(self.source)

    @property
    def patterns(self) -> list[str]:
        """The files to download."""
        return [*(TRUSTED_FILES if self.is_registered else UNTRUSTED_FILES), *WEIGHT_PATTERNS]


def is_registered(source: str | Path) -> bool:
    """Whether a folder or hub id is where the registry says that one of its models comes from, or a file is the one it means."""
    return str(source) in {str(info.source) for info in MODELS.values()} or is_packaged(Path(source))


def inspect(source: str | Path, revision: str = MAIN_BRANCH, ask_hub: bool = True) -> RepositoryFacts:
    """What a local folder, a GGUF file or a repository on the hub holds.

    Downloads nothing; a hub that is silent for HUB_TIMEOUT_SECONDS is away.

    Args:
        source: a folder, a GGUF file, or a repository such as `org/name`.
        revision: of a repository, its branch, tag or commit.
        ask_hub: False where it is known to be away, so that only what is on this machine is found.

    Raises:
        UnknownModelError: when it is neither a folder, nor such a file, nor a repository or revision that can be seen.
        UnsupportedModelError: when its architecture is not one of ARCHITECTURES, or its weights are pickles only.
        ModelLoadError: when the hub does not answer and the files are not on this machine, or they are broken.
        MissingPackageError: for a GGUF file without the package that reads it.
    """
    # `os.path.isdir` is False for what is no path at all, where `Path.is_dir` raises
    if isinstance(source, str | Path) and os.path.isdir(source):
        return _inspect_folder(Path(source), str(source), Path(os.path.abspath(source)).name)
    if isinstance(source, str | Path) and is_gguf(Path(source)):
        if not os.path.exists(source):
            raise UnknownModelError(f"There is no file {Path(source).name[:100]} at that place on this machine.")
        return _inspect_folder(Path(source), str(source), Path(source).name)
    repository = str(source)
    try:
        validate_repo_id(repository if isinstance(source, str | Path) else "")
    except HFValidationError as error:
        raise UnknownModelError(f"{repository[:100]!r} is no model on the Hub (organisation/name) and no folder.") from error
    try:
        if not ask_hub:
            raise OfflineModeIsEnabled
        return _inspect_repository(repository, revision)
    except GatedRepoError as error:
        raise gated_error(repository) from error
    except RevisionNotFoundError as error:
        raise UnknownModelError(f"{repository} has no revision {revision[:100]} on the Hub.") from error
    except RepositoryNotFoundError as error:
        raise UnknownModelError(f"The Hub has no model {repository}, or it is a private one that needs HF_TOKEN.") from error
    except (HTTPError, OSError, ValueError, KeyError) as error:
        cached = _find_cached(repository, revision)
        if cached is None:
            raise ModelLoadError(
                f"{repository} is not on this machine and the Hub {describe_error(error)}; try again later or take another model."
            ) from error
        return _inspect_folder(cached, repository, repository)


def check_size(facts: RepositoryFacts, limit_bytes: int, bytes_per_parameter: int = 4, where: str = "here") -> None:
    """Raises ModelTooLargeError when the model, with that many bytes a parameter, would take more than `limit_bytes`.

    Args:
        facts: of the model.
        limit_bytes: the memory that a model may take.
        bytes_per_parameter: as it will be loaded.
        where: whose limit it is, as the sentence says it.
    """
    memory_bytes = facts.parameters * bytes_per_parameter
    if memory_bytes > limit_bytes:
        raise ModelTooLargeError(
            f"{facts.source} has {facts.parameters / 1e6:,.0f} million parameters, which take "
            f"{memory_bytes / GIGABYTE:.1f} GB of memory with {bytes_per_parameter} bytes each; "
            f"at most {limit_bytes / GIGABYTE:.1f} GB are allowed {where}. Pick a smaller model."
        )


def _inspect_repository(repository: str, revision: str) -> RepositoryFacts:
    info = HfApi().model_info(repository, revision=revision, files_metadata=True, timeout=HUB_TIMEOUT_SECONDS)
    model_type = _check_architecture((info.config or {}).get("model_type"), repository)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    weights = [sizes[name] for name in pick_weights(sizes)]
    if not weights:
        converted = _converted_revision(repository) if revision == MAIN_BRANCH else None
        if converted is None:
            raise _only_pickles_error(repository)
        return _inspect_repository(repository, converted)
    if not is_registered(repository):
        try:
            _check_files(sizes)
        except UnfitError as error:
            raise ModelLoadError(f"{repository} could not be loaded: {error}") from None
    # without a count, as if in half precision: rather too large than too small
    parameters = info.safetensors.total if info.safetensors else sum(weights) // 2
    return RepositoryFacts(repository, model_type, parameters, sum(weights), revision, str(info.sha))


def _inspect_folder(folder: Path, source: str, name: str) -> RepositoryFacts:
    try:
        model_type = _check_architecture(read_config(folder, is_registered(source)).get("model_type"), name)
        if not weight_files(folder):
            raise _only_pickles_error(name)
        parameters = count_parameters(tensor_shapes(folder, is_registered(source)))
    except UnfitError as error:
        raise ModelLoadError(f"{name} could not be loaded: {error}") from None
    return RepositoryFacts(source, model_type, parameters, weight_bytes(folder), path=folder)


def read_config(folder: Path, trusted: bool = False) -> dict[str, object]:
    """Reads a folder's config.json, or a GGUF file's header.

    Args:
        folder: the folder or the GGUF file.
        trusted: whether it is a folder of the registry, whose files may be links to anywhere.

    Raises:
        UnfitError: when it cannot be read as a JSON object, or as such a header.
    """
    if is_gguf(folder):
        return gguf_config(read_gguf(folder))
    name = "config.json"
    content = read_plain(folder, name, UNTRUSTED_FILES[name], stays_inside=not trusted)
    try:
        config = json.loads(content)
    except (ValueError, RecursionError):
        raise UnfitError("it has no readable config.json.") from None
    if not isinstance(config, dict):
        raise UnfitError("it has no readable config.json.")
    return config


def _check_files(sizes: dict[str, int]) -> None:
    """Raises UnfitError unless a stranger's repository has what is read of it, in a size that is read."""
    for name, limit in UNTRUSTED_FILES.items():
        if name not in sizes and name != "tokenizer_config.json":
            raise UnfitError(f"it has no {name}.")
        check_file_size(name, sizes.get(name, 0), limit)


def _check_architecture(model_type: object, name: str) -> str:
    if model_type not in ARCHITECTURES:
        raise UnsupportedModelError(
            f"{name} is of {_architecture_name(model_type)}, which headroles cannot read, and code from a repository is "
            f"never run; it reads {len(ARCHITECTURES)} architectures, {listed(ARCHITECTURES[:6])} among them, and docs/models.md "
            "names them all."
        )
    return str(model_type)


def _architecture_name(model_type: object) -> str:
    """An architecture that is none of ours: its name where it looks like one, and nothing else of what stands in the file."""
    looks_like_one = isinstance(model_type, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,39}", model_type)
    return f"the architecture {model_type}" if looks_like_one else "no known architecture"


def _converted_revision(repository: str) -> str | None:
    """The pull request in which the Hub's converter offers the weights as safetensors, as a revision."""
    # not `HfApi.get_repo_discussions`, which waits for ever
    answer = get_session().get(
        f"{constants.ENDPOINT}/api/models/{repository}/discussions",
        params={"type": "pull_request", "status": "open", "author": CONVERTER_ACCOUNT},
        headers=build_hf_headers(),
        timeout=HUB_TIMEOUT_SECONDS,
    )
    hf_raise_for_status(answer)
    for request in answer.json()["discussions"]:
        by_converter = request["isPullRequest"] and request.get("author", {}).get("name") == CONVERTER_ACCOUNT
        if by_converter and request["status"] == "open" and "safetensors" in request["title"]:
            return f"refs/pr/{request['num']}"
    return None


def storage_folder(repository: str) -> Path:
    """The folder in which the Hub's library keeps a repository."""
    return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


def _find_cached(repository: str, revision: str) -> Path | None:
    """The files of the branch that was last downloaded, or for the main one of the converter's pull request."""
    patterns = [*TRUSTED_FILES, *WEIGHT_PATTERNS]
    requests = (storage_folder(repository) / "refs" / "refs" / "pr").glob("*") if revision == MAIN_BRANCH else ()
    for place in (revision, *(f"refs/pr/{request.name}" for request in requests)):
        try:
            folder = Path(snapshot_download(repository, revision=place, allow_patterns=patterns, local_files_only=True))
        except LocalEntryNotFoundError:
            continue
        if weight_files(folder):
            return folder
    return None


def _only_pickles_error(name: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{name} holds no model.safetensors; pickled weights can run code and are never read. Save it as safetensors first."
    )
