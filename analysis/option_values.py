"""What may stand in the command lines of the analysis, each value checked as it is read."""

import argparse
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from huggingface_hub.utils import HFValidationError, validate_repo_id

from headroles.core.registry import MODELS
from headroles.errors import InvalidInputError
from headroles.settings import BRANCH, GIGABYTE

from .places import HERE
from .queries import PREFIX, Query, read_query
from .sweeps import read_names
from .work import check_package


def folder(text: str) -> Path:
    if Path(text).exists() and not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a file, not a folder")
    return Path(text)


def model_name(text: str) -> str:
    if text not in MODELS:
        try:
            validate_repo_id(text)
        except HFValidationError:
            raise argparse.ArgumentTypeError(f"{text[:100]!r} is no name that a model has on the Hub, as ORG/MODEL") from None
    return text


def dataset(text: str) -> str:
    with suppress(HFValidationError):
        validate_repo_id(text)
        if "/" in text:
            return text
    raise argparse.ArgumentTypeError(f"{text[:100]!r} is no dataset on the Hub, as ORG/DATASET")


def names(text: str) -> list[str] | Query:
    if text.startswith(PREFIX):
        try:
            return read_query(text)
        except InvalidInputError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    try:
        return read_names(Path(text).read_text("utf-8"))
    except (OSError, UnicodeError):
        raise argparse.ArgumentTypeError(f"{text} cannot be read as a list of names") from None


def revisions(text: str) -> list[str]:
    found = [revision.strip() for revision in text.split(",")]
    if wrong := [revision for revision in found if not BRANCH.fullmatch(revision)]:
        raise argparse.ArgumentTypeError(f"{wrong[0][:100]!r} is no branch, tag or commit")
    return found


def part(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text[:100]!r} is no part I/N with I from 1 to N")
    return int(match[1]), int(match[2])


def place(text: str) -> str:
    """One of those that `place_of` knows; whether it can be reached is seen later."""
    if text != HERE and not re.fullmatch(r"ray(:[\w.\[\]:-]+:\d+)?|hf-jobs(:[\w-]{1,50})?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text[:100]!r} is none of here, ray, ray:HOST:PORT, hf-jobs and hf-jobs:FLAVOR")
    return text


def package(text: str) -> str:
    try:
        return check_package(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def gigabytes(text: str) -> int:
    if not re.fullmatch(r"\d{1,6}(\.\d{1,3})?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"{text[:100]!r} is no number of gigabytes")
    return int(float(text) * GIGABYTE)


def device(text: str) -> str:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is none of cpu, cuda and cuda:N")
    return text


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Reads whole numbers from `least` to `most`."""

    def read(text: str) -> int:
        number = int(text) if re.fullmatch(r"-?\d{1,19}", text) else None
        if number is None or number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"must be a whole number, {least} {'or more' if most is None else f'to {most}'}")
        return number

    return read
