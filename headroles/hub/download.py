"""Brings a model's files to this machine, where they are not here yet."""

import io
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError
from tqdm.auto import tqdm

from headroles.errors import ModelLoadError
from headroles.hub.http import HTTPError, gated_error
from headroles.hub.repository import RepositoryFacts, storage_folder
from headroles.hub.weights import weight_bytes
from headroles.settings import GIGABYTE

DISK_RESERVE = GIGABYTE


def fetch(facts: RepositoryFacts, on_progress: Callable[[float], None] = lambda _: None) -> Path:
    """The folder with the model's files, downloaded if need be; `on_progress` gets the share of bytes, 0 to 1.

    What `on_progress` raises ends the download, and is raised here.

    Raises:
        ModelLoadError: when the disk is full, the repository is gated, or the connection breaks.
    """
    if facts.path is not None:
        return facts.path
    storage = storage_folder(facts.source)
    _check_disk(facts, storage)
    try:
        folder = _download(facts, on_progress)
        if weight_bytes(folder) != facts.weight_bytes:  # cut off on this disk at some time; the library would never notice
            folder = _download(facts, on_progress, force=True)
    except GatedRepoError as error:
        raise gated_error(facts.source) from error
    except (HTTPError, OSError) as error:
        # the libraries' own texts name paths and addresses
        reason = getattr(error, "strerror", None) or "the connection or the Hub failed"
        raise ModelLoadError(f"The download of {facts.source} broke off ({reason}); try again.") from error
    with suppress(OSError):  # a cache may be read-only
        # only now, so that a download that breaks off leaves the last complete one to be found
        reference = storage / "refs" / facts.revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(facts.commit, "utf-8")
    on_progress(1.0)
    return folder


def _check_disk(facts: RepositoryFacts, storage: Path) -> None:
    if weight_bytes(storage / "snapshots" / facts.commit) == facts.weight_bytes:
        return  # they are here
    free = shutil.disk_usage(next(parent for parent in storage.parents if parent.exists())).free
    if facts.weight_bytes + DISK_RESERVE > free:
        raise ModelLoadError(
            f"{facts.source} takes {facts.weight_bytes / GIGABYTE:.1f} GB of disk, and of the {free / GIGABYTE:.1f} GB free here "
            f"{DISK_RESERVE / GIGABYTE:.1f} GB are kept; free some, or pick a smaller model."
        )


def _download(facts: RepositoryFacts, on_progress: Callable[[float], None], force: bool = False) -> Path:
    # by commit, so that what comes is what was looked at
    return Path(
        snapshot_download(
            facts.source,
            revision=facts.commit,
            allow_patterns=facts.patterns,
            force_download=force,
            tqdm_class=_progress_bar_type(on_progress, facts.weight_bytes),
        )
    )


def _progress_bar_type(on_progress: Callable[[float], None], total: int) -> type[tqdm]:
    """A progress bar that draws nothing and tells the share of `total` bytes. There are several; the furthest counts."""
    furthest = 0.0

    class Bar(tqdm):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **{**kwargs, "file": io.StringIO(), "disable": False})  # type: ignore[arg-type]

        def display(self, *_: object, **__: object) -> None:
            pass

        def update(self, n: float | None = 1) -> None:
            nonlocal furthest
            super().update(n)
            if self.unit == "B":
                furthest = max(furthest, min(self.n / total, 1.0))
                on_progress(furthest)

    return Bar
