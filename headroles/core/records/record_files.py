"""Records as JSON text and files: written whole or not at all, checked before they are believed."""

import hashlib
import re
from pathlib import Path

from pydantic_core import from_json

from headroles.core.records.atomic_files import write_whole
from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.validation import read_bounded, validate
from headroles.errors import InvalidRecordError

# what a registry or the Hub can call a model, and one revision of it
NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(@[A-Za-z0-9][\w.-]*)?", re.ASCII)
PART = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
LONGEST = 150  # characters of a file's name
MAX_RECORD_BYTES = 16 * 1024 * 1024  # 128 layers of 128 heads in five roles take under 2 MB


def write_record(record: HeadCategories, path: Path) -> Path:
    """Writes the record as one file, whole or not at all, and makes its folder; `read_record` reads it back."""
    write_whole(path, record.to_json().encode())
    return path


def record_file_name(model_name: str) -> str:
    """`<org>__<name>.json`: one file a model, so that two pushes of two models never meet.

    A name that could meet another one there (`a__b/c`, `a b`), or that not every disk takes, gets a hash of itself behind it.
    """
    organisation, slash, _ = model_name.rpartition("/")
    # then the first "__" of the file's name is where the slash was, and the model's name can be read off it
    apart = "__" not in (organisation if slash else model_name) and not organisation.endswith("_")
    plain = model_name.replace("/", "__")
    return f"{plain if apart and NAME.fullmatch(model_name) and len(plain) <= LONGEST else _hashed(plain, model_name)}.json"


def file_part(text: str) -> str:
    """A text as a part of a file's name: no two share one, on a disk that does not tell capitals from small letters either."""
    return text if PART.fullmatch(text) else _hashed(text, text)


def _hashed(readable: str, text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{re.sub(r'[^A-Za-z0-9.-]+', '_', readable).lstrip('.')[:60]}~{digest}"


def parse_record(text: str | bytes, name: str, model_name: str = "") -> HeadCategories:
    """A record from JSON text.

    Args:
        text: the JSON.
        name: what an error calls it.
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
    return validate(HeadCategories, content, f"The record {name} is not valid", "the record")


def read_record(path: Path, model_name: str = "", name: str = "") -> HeadCategories:
    """The record in a file; a larger one than MAX_RECORD_BYTES is refused without reading it whole. See `parse_record`.

    Raises:
        InvalidRecordError: also when it is no ordinary file: a folder, a pipe or a device.
        OSError: when it is not there, or cannot be read.
    """
    name = name or path.name
    return parse_record(read_bounded(path, MAX_RECORD_BYTES, f"The record {name}"), name, model_name)
