"""JSON that somebody else wrote, as one of our values: checked first, and what is wrong with it said in one sentence."""

import errno
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from headroles.core.records.atomic_files import read_ordinary
from headroles.errors import InvalidRecordError

M = TypeVar("M", bound=BaseModel)


def validate(kind: type[M], content: object, subject: str, label: str) -> M:
    """What JSON holds, as a value of that kind.

    Args:
        kind: the pydantic model that checks it.
        content: the parsed JSON.
        subject: begins the sentence of an error: "The record gpt2.json is not valid".
        label: what the content is called where all of it is wrong: "the record".

    Raises:
        InvalidRecordError: says what is wrong first, and where.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])[:100] or label
        raise InvalidRecordError(f"{subject} at {place}: {first['msg'][:200]}.") from error


def parse_line(kind: type[M], line: bytes, subject: str, label: str) -> M:
    """What one line of a file of JSON lines holds. As `validate`, and raises InvalidRecordError for what is no JSON, too."""
    try:
        content = from_json(line, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRecordError(f"{subject}, which is no JSON: {str(error)[:200]}.") from error
    return validate(kind, content, subject, label)


def read_bounded(path: Path, limit: int, subject: str) -> bytes:
    """What a file holds, at most one byte more than the limit, which shows its parser that it is too large.

    Args:
        path: of the file.
        limit: the most bytes that it may have.
        subject: begins the sentence of an error: "The record gpt2.json".

    Raises:
        InvalidRecordError: when it is no ordinary file: a folder, a pipe or a device.
        OSError: when it is not there, or cannot be read.
    """
    try:
        return read_ordinary(path, limit + 1)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise InvalidRecordError(f"{subject} is no ordinary file.") from error
