"""Types of command-line arguments: each reads one word, or raises ArgumentTypeError that says what is wrong with it."""

import argparse
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from huggingface_hub.utils import HFValidationError, validate_repo_id

from headroles.core.registry import MODELS
from headroles.errors import InvalidInputError
from headroles.settings import BRANCH, GIGABYTE

from .hub_query import PREFIX, HubQuery, read_query
from .run_log import parse_names


def folder(text: str) -> Path:
    """A folder, which need not exist yet."""
    if Path(text).exists() and not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a file, not a folder")
    return Path(text)


def model_name(text: str) -> str:
    """A registered name, or one that a model could have on the Hub."""
    if text in MODELS:
        return text
    with suppress(HFValidationError):
        validate_repo_id(text)
        return text
    raise _not(text, "a name that a model could have on the Hub, as in ORG/MODEL")


def dataset_name(text: str) -> str:
    """`ORG/DATASET`."""
    with suppress(HFValidationError):
        validate_repo_id(text)
        if "/" in text:
            return text
    raise _not(text, "the name of a dataset on the Hub, as in ORG/DATASET")


def models(text: str) -> list[str] | HubQuery:
    """The names in a file, or a query of the Hub."""
    try:
        return read_query(text) if text.startswith(PREFIX) else parse_names(Path(text).read_text("utf-8"))
    except InvalidInputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    except (OSError, UnicodeError):
        raise argparse.ArgumentTypeError(f"{text} cannot be read as a list of names") from None


def revisions(text: str) -> list[str]:
    """Branches, tags or commits, with commas between them."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if not BRANCH.fullmatch(name):
            raise _not(name, "a branch, tag or commit")
    return names


def shard(text: str) -> tuple[int, int]:
    """`I/N`, with I from 1 to N."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise _not(text, "a part I/N with I from 1 to N")
    return int(match[1]), int(match[2])


def backend(text: str) -> str:
    """The name of a backend that `open_backend` knows; whether it can be reached is found out later."""
    pattern = r"here|ray(:[\w.\[\]:-]+:\d+)?|hf-jobs(:[\w-]{1,50})?"
    return _matching(text, pattern, "one of here, ray, ray:HOST:PORT, hf-jobs, hf-jobs:FLAVOR")


def requirement(text: str) -> str:
    """A package as pip names it. Everybody can read it in the job, so an address with a password is refused."""
    address = text.partition("://")[2].partition("/")[0]
    if not text.isprintable() or not text.strip() or "@" in address:
        raise argparse.ArgumentTypeError("name a package as pip does, without a password in its address")
    return text.strip()


def gigabytes(text: str) -> int:
    """A positive number of gigabytes, as bytes."""
    size = float(_matching(text, r"(?=.*[1-9])\d{1,6}(\.\d{1,3})?", "a number of gigabytes"))
    return int(size * GIGABYTE)


def device(text: str) -> str:
    """`cpu`, `cuda` or `cuda:N`."""
    return _matching(text, r"cpu|cuda(:\d+)?", "one of cpu, cuda, cuda:N")


def integer(least: int, most: int | None = None) -> Callable[[str], int]:
    """Makes the type of whole numbers within limits.

    Args:
        least: the smallest number that is allowed.
        most: the largest; None for no limit.
    """

    def read(text: str) -> int:
        number = int(text) if re.fullmatch(r"-?\d{1,19}", text) else None
        if number is None or number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"must be a whole number, {least} {'or more' if most is None else f'to {most}'}")
        return number

    return read


def _matching(text: str, pattern: str, meaning: str) -> str:
    if not re.fullmatch(pattern, text, re.ASCII):
        raise _not(text, meaning)
    return text


def _not(text: str, meaning: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"{text[:100]!r} is not {meaning}")
