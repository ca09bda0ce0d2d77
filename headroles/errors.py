"""Everything a user can cause to go wrong. Each message is one sentence a page can show: what, which limit, what to do."""

import asyncio
import logging
import os
import re
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager


class HeadRolesError(Exception):
    """Base of all errors that are the input's or the world's fault and not a bug. The message is safe to show."""


class InvalidInputError(HeadRolesError):
    """Raised when an argument has the wrong shape, type or range; names the argument and what is allowed."""


class PromptError(InvalidInputError):
    """Raised when a prompt is empty, blank, or longer than the model reads."""


class UnknownModelError(HeadRolesError):
    """Raised when no model of that name is known; names those that are."""


class UnsupportedModelError(HeadRolesError):
    """Raised when a model's attention cannot be read; names the model and the check it failed."""


class ModelLoadError(HeadRolesError):
    """Raised when a known model cannot be loaded: no file, no network, a broken or gated repository."""


class ModelTooLargeError(ModelLoadError):
    """Raised when a model would take more memory than there is for it; names both sizes."""


class BusyError(HeadRolesError):
    """Raised when the machine is taken by other visitors' work; says what to wait for."""


class JobCancelledError(HeadRolesError):
    """Raised in and by work that somebody cancelled."""


class HubError(HeadRolesError):
    """Raised when the Hub does not give, or take, what it was asked for; says why, and never holds a token."""


class NoHeadCategoriesError(HeadRolesError):
    """Raised when nobody has published roles for a model; names the models that have some."""


class NoTrainingRunError(HeadRolesError):
    """Raised when nobody recorded the training of a model; names the models that have a recorded run."""


class LibraryPanicError(HeadRolesError):
    """Raised in place of what a library raises that Python does not count among errors, as those written in Rust do."""


class MissingPackageError(HeadRolesError, ImportError):
    """Raised when packages are missing that a part of headroles needs; names the extra that brings them."""

    @classmethod
    def of(cls, part: str, extra: str, error: ModuleNotFoundError) -> "MissingPackageError":
        """`part` begins the sentence; a module of our own that is not there is a bug, and is raised as it is."""
        package = (error.name or "").partition(".")[0]
        if package in ("", "headroles", "headroles_analysis", "analysis"):
            raise error
        return cls(f"{part} needs {package}, which is not installed: pip install 'headroles[{extra}]'.")


class InvalidRecordError(HeadRolesError):
    """Raised when a head-category record breaks the schema, or does not belong to the model it is used with."""


def is_panic(error: BaseException) -> bool:
    """Whether it is none of Python's errors and none of its ways to end a program, a task or a generator."""
    return not isinstance(error, Exception | KeyboardInterrupt | SystemExit | GeneratorExit | asyncio.CancelledError)


@contextmanager
def panics_as_errors(what: str = "What you sent") -> Iterator[None]:
    """Around what calls libraries: a panic becomes a LibraryPanicError that begins with `what`; all else passes, Ctrl-C too."""
    try:
        yield
    except BaseException as error:
        if not is_panic(error):
            raise
        keep_for_debugging(error)
        raise LibraryPanicError(f"{what} broke a library that reads it; try another text or another model.") from None


def keep_for_debugging(error: BaseException) -> None:
    """Writes to the log, at debug level alone, what a message leaves out since it may hold contents and paths of the server."""
    logger = logging.getLogger(__name__)
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug(without_tokens("".join(traceback.format_exception(error))))


def without_tokens(text: str) -> str:
    """The text without the Hub's access tokens."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if token := os.environ.get(name, "").strip():
            text = text.replace(token, "[token]")
    return re.sub(r"hf_\w+", "[token]", text)


def listed(names: Sequence[str]) -> str:
    """`A`, `A and B`, `A, B and C`."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def layers_listed(layers: Iterable[int]) -> str:
    """`layer 3`, `layers 3, 7 and 11`."""
    names = [str(layer) for layer in layers]
    return f"layer{'s' if len(names) > 1 else ''} {listed(names)}"
