"""Files that a stranger may have made: read only where they are plain files of their own folder, and not too large."""

import hashlib
import stat
from collections.abc import Iterable
from pathlib import Path

from headroles.core.records.atomic_files import read_ordinary


class UnfitError(ValueError):
    """Raised when a model's files cannot be believed. The text is ours, names no path, and follows "could not be loaded: "."""


def is_snapshot(folder: Path) -> bool:
    """Whether the Hub's library made it: a commit of a repository, named after it."""
    return folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--")


def root_of(folder: Path) -> Path:
    """What a folder's files must lie in, links resolved: the folder, or for a snapshot all that the Hub's library keeps of it."""
    return (folder.parent.parent if is_snapshot(folder) else folder).resolve()


def check_plain(folder: Path, name: str, stays_inside: bool = True) -> Path:
    """The path of a folder's file.

    Raises UnfitError unless it is there, a plain file, and, where it must stay inside, in the folder once links are resolved.
    """
    path = folder / name
    try:
        resolved = path.resolve(strict=True)
        mode = resolved.stat().st_mode
    except (OSError, RuntimeError, ValueError):  # RuntimeError: a link to itself
        raise UnfitError(f"it has no readable {shorten(name)}.") from None
    if not stat.S_ISREG(mode):
        raise UnfitError(f"its {shorten(name)} is not a plain file.")
    if stays_inside and not resolved.is_relative_to(root_of(folder)):
        raise UnfitError(f"its {shorten(name)} is a link that leads out of its folder.")
    return path


def read_plain(folder: Path, name: str, max_bytes: int, stays_inside: bool = True) -> bytes:
    """The content of a folder's file. Raises UnfitError as `check_plain` does, and when it has more than `max_bytes`."""
    path = check_plain(folder, name, stays_inside)
    try:
        check_file_size(name, path.stat().st_size, max_bytes)
        content = read_ordinary(path, max_bytes + 1)
    except OSError:
        raise UnfitError(f"its {shorten(name)} cannot be read.") from None
    check_file_size(name, len(content), max_bytes)  # it may grow meanwhile
    return content


def sha256_of(files: Iterable[Path]) -> str:
    """The hash of files, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while piece := stream.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def check_file_size(name: str, size: int, max_bytes: int) -> None:
    """Raises UnfitError for a file that is larger than what is read of it."""
    if size > max_bytes:
        raise UnfitError(f"its {shorten(name)} has {size:,} bytes; at most {max_bytes:,} are read.")


def shorten(name: str) -> str:
    """What a stranger wrote, such as a file's name, as a sentence can hold it."""
    return name if len(name) <= 60 and name.isprintable() else ascii(name[:60])
