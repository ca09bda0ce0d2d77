"""An outcome and its record as lines of a log, and back: what a job says whose disk nobody else can read.

Lines are short, numbered, and carry the hash of the whole: a log cuts long lines, mixes two streams, and may have lost some.
"""

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headroles.core.records.record_files import MAX_RECORD_BYTES, parse_record
from headroles.errors import InvalidRecordError

from .runs import Outcome

WIDTH = 1000  # characters of the content in a line; container logs cut at some thousands
MAX_LINES = 4 * MAX_RECORD_BYTES // WIDTH
LINE = re.compile(r"headroles-answer ([0-9a-f]{32}) (\d{1,6})/(\d{1,6}) ([A-Za-z0-9+/=]{1,1000})", re.ASCII)


class _Answer(BaseModel):
    """What stands in the lines; `record` is JSON, empty where there is none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    status: Literal["written", "failed"]
    seconds: float = Field(ge=0, allow_inf_nan=False)
    peak_bytes: int | None = Field(default=None, ge=0)
    reason: str = Field(max_length=2000)
    record: str = Field(max_length=MAX_RECORD_BYTES)


def framed(outcome: Outcome) -> Iterator[str]:
    """The lines that say an outcome, for the end of a log. Raises ValidationError for one that kept an old record."""
    answer = _Answer(
        model=outcome.model,
        status=outcome.status,  # type: ignore[arg-type]  # "skipped" is refused
        seconds=outcome.seconds,
        peak_bytes=outcome.peak_bytes,
        reason=outcome.reason[:2000],
        record=outcome.record.to_json() if outcome.record else "",
    )
    content = base64.b64encode(zlib.compress(answer.model_dump_json().encode())).decode()
    parts = [content[first : first + WIDTH] for first in range(0, len(content), WIDTH)]
    for number, part in enumerate(parts, 1):
        yield f"headroles-answer {_digest(content)} {number}/{len(parts)} {part}"


def unframed(lines: Iterable[str], name: str) -> Outcome | None:
    """The last outcome of the model called `name` that a log says whole; None where it says none.

    Raises InvalidRecordError where what it says whole is no such outcome.
    """
    content = ""
    parts: dict[tuple[str, int], dict[int, str]] = {}
    for line in lines:
        if not (match := LINE.search(line)) or not 1 <= int(match[2]) <= int(match[3]) <= MAX_LINES:
            continue
        digest, of = match[1], int(match[3])
        found = parts.setdefault((digest, of), {})
        found[int(match[2])] = match[4]
        if len(found) == of and _digest(whole := "".join(found[number] for number in range(1, of + 1))) == digest:
            content = whole
    return _outcome(content, name) if content else None


def _outcome(content: str, name: str) -> Outcome:
    broken = InvalidRecordError(f"The job of {name} gave an answer that is none.")
    try:
        unpacked = zlib.decompressobj().decompress(base64.b64decode(content, validate=True), 2 * MAX_RECORD_BYTES)
        answer = _Answer.model_validate_json(unpacked)
    except (binascii.Error, zlib.error, ValidationError):
        raise broken from None
    if answer.model != name or bool(answer.record) != (answer.status == "written"):
        raise broken
    outcome = Outcome(name, answer.status, answer.seconds, answer.peak_bytes, None, answer.reason)
    if not answer.record:
        return outcome
    record = parse_record(answer.record, name)
    if record.model_name != name:
        raise broken
    return replace(outcome, record=record)


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:32]
