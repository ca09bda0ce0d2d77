"""Records as JSON text and files: written whole or not at all, checked before they are believed."""

import os
import uuid
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import from_json

from headroles.core.records import HeadCategories
from headroles.errors import InvalidRecordError

MAX_RECORD_BYTES = 16 * 1024 * 1024  # 128 layers of 128 heads in five roles take under 2 MB


def write_record(record: HeadCategories, path: Path) -> Path:
    """Writes the record as one file, whole or not at all, and makes its folder; `read_record` reads it back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # a name of its own: two processes that write the same record must not write into each other's half
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.write_text(record.to_json(), "utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def record_file_name(model_name: str) -> str:
    """`<org>__<name>.json`: one file a model, so that two pushes of two models never meet."""
    return model_name.replace("/", "__") + ".json"


def parse_record(text: str | bytes, name: str, model_name: str = "") -> HeadCategories:
    """A record from JSON text; `name` is what an error calls it.

    Args:
        model_name: whose record to take where the text holds several, as `{model_name: record, ...}`.

    Raises:
        InvalidRecordError: says in one sentence what is wrong first.
    """
    if len(text) > MAX_RECORD_BYTES:
        raise InvalidRecordError(f"The record {name} has {len(text)} bytes; at most {MAX_RECORD_BYTES} are read.")
    try:
        content = from_json(text)
    except ValueError as error:
        raise InvalidRecordError(f"The record {name} is no JSON: {str(error)[:200]}.") from error
    if isinstance(content, dict) and "schema_version" not in content:
        content = content.get(model_name, content)
    try:
        return HeadCategories.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])[:100] or "the record"
        raise InvalidRecordError(f"The record {name} is not valid at {place}: {first['msg'][:200]}.") from error


def read_record(path: Path, model_name: str = "", name: str = "") -> HeadCategories:
    """The record in a file; a larger one than MAX_RECORD_BYTES is refused without reading it whole. See `parse_record`."""
    with path.open("rb") as file:
        return parse_record(file.read(MAX_RECORD_BYTES + 1), name or path.name, model_name)
