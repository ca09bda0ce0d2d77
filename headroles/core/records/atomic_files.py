"""Files that are whole or not there: written aside, synced and put in place; read only where they are ordinary ones.

A file that is being written is locked, and the system takes the lock off when its process ends, however it ends. So what a dead
process left half-written is told from what a living one writes, in whatever container it lives and whatever the clock says.
"""

import errno
import os
import stat
import uuid
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ModuleNotFoundError:  # Windows: half files stay, and nobody reads them
    fcntl = None

PARTIAL = ".partial"  # how names of files end that are being written
NONBLOCK = getattr(os, "O_NONBLOCK", 0)


def write_whole(path: Path, content: bytes) -> None:
    """Puts a file in place, whole or not at all, and on the disk before it returns; makes its folder.

    A folder that stands in its place is put aside. Raises OSError, and then what was there before is there still.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, file = _open_partial(path.parent)
    try:
        with file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if path.is_dir() and not path.is_symlink():
                put_aside(path)
            os.replace(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    with suppress(OSError):  # not every file system can; the file is in place
        _sync_folder(path.parent)


def read_ordinary(path: Path, limit: int) -> bytes:
    """The first `limit` bytes of a file, never those of a pipe, a device or a folder, which could take for ever.

    Raises OSError when it cannot be read; of errno EINVAL when it is no ordinary file.
    """
    _check_ordinary(os.stat(path).st_mode)  # before it is opened: to open a device can already do something
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | NONBLOCK)) as file:
        _check_ordinary(os.fstat(file.fileno()).st_mode)
        return file.read(limit)


def make_folder(folder: Path, home: Path) -> None:
    """Makes a folder of our own in our home; what has its name, or that of a folder between, and is none is put aside.

    Raises OSError.
    """
    home.mkdir(parents=True, exist_ok=True)
    for parts in range(1, len(folder.relative_to(home).parts) + 1):
        step = home.joinpath(*folder.relative_to(home).parts[:parts])
        try:
            step.mkdir(exist_ok=True)
        except FileExistsError:
            put_aside(step)
            step.mkdir()


def put_aside(path: Path) -> None:
    """Takes what stands in the way out of it; nothing is deleted."""
    path.rename(path.with_name(f"{path.name[:100]}.aside-{uuid.uuid4().hex[:8]}"))


def clear_halves(folder: Path) -> None:
    """Deletes what dead processes left half-written in a folder; never raises, and never waits."""
    with suppress(OSError):
        for path in folder.glob(f"*{PARTIAL}"):
            with suppress(OSError):
                _delete_if_dead(path)


def _open_partial(folder: Path) -> tuple[Path, BinaryIO]:
    """A new file of a name of its own, locked: two processes that write the same must not write into each other's half."""
    while True:
        partial = folder / f".{uuid.uuid4().hex}{PARTIAL}"
        file = partial.open("xb")
        with suppress(OSError):  # a file system without locks, where nothing is cleared either
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX)
        if not fcntl or os.fstat(file.fileno()).st_nlink:
            return partial, file
        file.close()  # cleared before the lock was on it


def _delete_if_dead(path: Path) -> None:
    if not fcntl or not stat.S_ISREG(path.lstat().st_mode):
        return
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | NONBLOCK | os.O_NOFOLLOW)) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where its writer lives
        path.unlink()


def _check_ordinary(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "It is no ordinary file")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
