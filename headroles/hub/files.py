"""Files that a stranger may have made: read only where they are plain files of their own folder, and not too large."""

import os
import stat
from pathlib import Path


class UnfitError(ValueError):
    """Raised when a model's files cannot be believed. The text is ours, names no path, and follows "could not be loaded: "."""


def root_of(folder: Path) -> Path:
    """What a folder's files must lie in, links resolved: the folder, or for a snapshot all that the Hub's library keeps of it."""
    repository = folder.parent.parent
    is_snapshot = folder.parent.name == "snapshots" and repository.name.startswith("models--")
    return (repository if is_snapshot else folder).resolve()


def check_plain(folder: Path, name: str, stays_inside: bool = True) -> Path:
    """The path of a folder's file.

    Raises UnfitError unless it is there, a plain file, and, where it must stay inside, in the folder once links are resolved.
    """
    path = folder / name
    try:
        resolved = path.resolve(strict=True)
        mode = resolved.stat().st_mode
    except (OSError, RuntimeError, ValueError):  # RuntimeError: a link to itself
        raise UnfitError(f"it has no readable {short(name)}.") from None
    if not stat.S_ISREG(mode):
        raise UnfitError(f"its {short(name)} is not a plain file.")
    if stays_inside and not resolved.is_relative_to(root_of(folder)):
        raise UnfitError(f"its {short(name)} is a link that leads out of its folder.")
    return path


def read_plain(folder: Path, name: str, max_bytes: int, stays_inside: bool = True) -> bytes:
    """The content of a folder's file. Raises UnfitError as `check_plain` does, and when it has more than `max_bytes`."""
    path = check_plain(folder, name, stays_inside)
    try:
        # a pipe that has taken the file's place since must not keep this waiting
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(max_bytes + 1) if size <= max_bytes else b""
    except OSError:
        raise UnfitError(f"its {short(name)} cannot be read.") from None
    if max(size, len(content)) > max_bytes:
        raise UnfitError(f"its {short(name)} has {max(size, len(content)):,} bytes; at most {max_bytes:,} are read.")
    return content


def short(name: str) -> str:
    """What a stranger wrote, such as a file's name, as a sentence can hold it."""
    return name if len(name) <= 60 and name.isprintable() else ascii(name[:60])
