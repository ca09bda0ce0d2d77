"""GGUF files, as Ollama, LM Studio and llama.cpp keep models: what their headers say, read with bounds. No weight is read here.

The package `gguf` reads them. By itself it makes room for whatever a header counts, and an object for every string and number of
a list; here each count is held against a limit first, and lists are skipped over, since only the tokenizer wants theirs.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headroles.core.records.atomic_files import read_ordinary
from headroles.errors import MissingPackageError, keep_for_debugging
from headroles.hub.plain_files import UnfitError, check_plain, short

if TYPE_CHECKING:
    from gguf import GGUFReader, ReaderField

SUFFIX = ".gguf"
MAX_TENSORS = 5_000  # 126 layers, the most of published dense models, have 1,138; each takes the library a tenth of a millisecond
MAX_DIMENSIONS = 4  # ggml's own limit
MAX_KEYS = 1024
MAX_ITEMS = 1_100_000  # in one list; Gemma's vocabulary has 262,144 tokens and twice as many merges
MAX_ALL_ITEMS = 3_000_000
MAX_STRING = 1024**2  # bytes; the longest are chat templates of some ten thousand
MAX_ITEM = 8192  # bytes of a string in a list: a merge of two tokens
MAX_HEADER = 64 * 1024**2  # bytes before the first weight; Gemma's takes a third of it
MAX_NUMBERS = 2**48  # in a tensor
CUT_OFF = "it is cut off: its header speaks of more than there is."
TOO_LARGE = f"its header takes more than {MAX_HEADER:,} bytes."
NOT_TEXT = "its header has a text that is none."
MAGIC, VERSIONS = b"GGUF", (2, 3)


@dataclass(frozen=True)
class Gguf:
    """What a GGUF file says of itself.

    Attributes:
        values: what its keys say, but for those that say a list.
        lists: of the keys that do, how many items.
        shapes: of every tensor, as torch has it, by the file's own names.
        quantization: how most of its numbers are stored, such as `Q4_1`.
    """

    path: Path
    values: dict[str, Any]
    lists: dict[str, int]
    shapes: dict[str, tuple[int, ...]]
    quantization: str

    @property
    def architecture(self) -> str:
        """llama.cpp's name of it."""
        return str(self.values.get("general.architecture", ""))


def is_gguf(path: Path) -> bool:
    """Whether a path is called as GGUF files are; those in a folder of their own are none of a folder's weights."""
    return path.suffix.lower() == SUFFIX and not path.is_dir()


def read_gguf(path: Path) -> Gguf:
    """What the header of a file says; of one that was just read, remembered.

    Raises:
        UnfitError: when the file is cut off, broken, one part of several, larger in its header than any model needs, or stored
            in a way that cannot be read back.
        MissingPackageError: without the package `gguf`.
    """
    check_plain(path.parent, path.name, stays_inside=False)
    found = path.stat()
    return _read_once(path, found.st_mtime_ns, found.st_size, found.st_ino)


@lru_cache(maxsize=2)
def _read_once(path: Path, *_: int) -> Gguf:
    """What follows the path tells one version of the file from the next."""
    reader = open_gguf(path)
    values = {name: _value(field) for name, field in reader.fields.items() if len(field.types) == 1}
    lists = {name: _count(field) for name, field in reader.fields.items() if len(field.types) != 1}
    if values.get("split.count", 1) not in (0, 1):
        raise UnfitError("it is one part of several; join them first, with `llama-gguf-split --merge`.")
    shapes = {tensor.name: tuple(int(size) for size in reversed(tensor.shape)) for tensor in reader.tensors}
    stored: Counter[str] = Counter()
    for tensor in reader.tensors:
        stored[tensor.tensor_type.name] += tensor.n_elements
    return Gguf(path, values, lists, shapes, stored.most_common(1)[0][0])


def read_lists(path: Path, names: Iterable[str]) -> dict[str, list[Any]]:
    """Of a header's lists those that are asked for, as far as they are there. Raises as `read_gguf` does."""
    from gguf import GGUFReader, GGUFValueType

    fields = open_gguf(path).fields
    found: dict[str, list[Any]] = {}
    for name in names:
        field = fields.get(name)
        if field is None or len(field.types) == 1:
            continue
        content, kind = field.parts[-1].tobytes(), field.types[1]
        if kind == GGUFValueType.STRING:
            found[name] = list(_texts(content, _count(field)))
        else:
            found[name] = np.frombuffer(content, GGUFReader.gguf_scalar_to_np[kind], offset=12).tolist()
    return found


def _texts(content: bytes, count: int) -> Iterator[str]:
    """A list's strings, each after its length in eight bytes."""
    offset = 12
    try:
        for _ in range(count):
            start = offset + 8
            offset = start + int.from_bytes(content[offset:start], "little")
            yield content[start:offset].decode()
    except UnicodeDecodeError:
        raise UnfitError(NOT_TEXT) from None


def _value(field: "ReaderField") -> Any:
    try:
        return field.contents()
    except UnicodeDecodeError:
        raise UnfitError(NOT_TEXT) from None


def _count(field: "ReaderField") -> int:
    """How many items a list has, as it is skipped over: four bytes say of which kind, eight how many."""
    return int.from_bytes(field.parts[-1][4:12].tobytes(), "little")


def open_gguf(path: Path) -> "GGUFReader":
    """The library's reader of a file, after every check. Raises as `read_gguf` does."""
    check_plain(path.parent, path.name, stays_inside=False)
    _check_beginning(path)
    make = _bounded_reader()
    try:
        reader = make(path)
        _check_places(reader)
        for kind in {tensor.tensor_type for tensor in reader.tensors}:
            _check_can_be_read(kind)
    except UnfitError:
        raise
    except MemoryError:
        raise UnfitError("its header takes more memory than any model's does.") from None
    except Exception as error:  # the library has no errors of its own: ValueError, KeyError, IndexError and numpy's
        keep_for_debugging(error)
        raise UnfitError("it is no whole GGUF file: it is cut off or broken.") from None
    if not reader.tensors:
        raise UnfitError("it holds no weights.")
    return reader


def _check_beginning(path: Path) -> None:
    """Raises UnfitError unless it is a GGUF file of a version, and a byte order, that the library reads."""
    try:
        beginning = read_ordinary(path, 8)
    except OSError:
        raise UnfitError("it cannot be read.") from None
    if beginning[:4] != MAGIC or len(beginning) < 8:
        raise UnfitError("it is no GGUF file, whatever its name says.")
    version = int.from_bytes(beginning[4:], "little")
    if int.from_bytes(beginning[4:], "big") in VERSIONS:
        raise UnfitError("it is written for machines of another byte order.")
    if version not in VERSIONS:
        raise UnfitError(f"it is of version {version:,} of the format; 2 and 3 are read.")


def _check_places(reader: "GGUFReader") -> None:
    """Raises UnfitError where two tensors share bytes: a small file could say that it is a large model."""
    end = 0
    for tensor in sorted(reader.tensors, key=lambda tensor: tensor.data_offset):
        if tensor.data_offset < end:
            raise UnfitError(f"its tensor {short(tensor.name)} lies where another one does.")
        end = tensor.data_offset + tensor.n_bytes


def _check_can_be_read(kind: Any) -> None:
    """Raises UnfitError for a way to store numbers that the library cannot undo."""
    from gguf import GGML_QUANT_SIZES, dequantize

    _, block_bytes = GGML_QUANT_SIZES[kind]
    plain = {"F32": np.float32, "F16": np.float16}.get(kind.name)
    try:
        dequantize(np.zeros((1, 1), plain) if plain else np.zeros((1, block_bytes), np.uint8), kind)
    except NotImplementedError:
        raise UnfitError(f"its weights are stored as {kind.name}, which cannot be read; take another quantisation.") from None


def _bounded_reader() -> "type[GGUFReader]":
    """The library's reader with limits; made here, since it is a package that not everybody has."""
    try:
        from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType
    except ModuleNotFoundError as error:
        raise MissingPackageError.of("Reading GGUF files", "gguf", error) from error

    kinds = {int(kind) for kind in GGMLQuantizationType}

    class Reader(GGUFReader):
        _items = 0

        def _get(self, offset: int, dtype: Any, count: Any = 1, override_order: Any = None) -> Any:
            end = int(offset) + np.dtype(dtype).itemsize * int(count)
            if end > len(self.data):  # the library would go on with less
                raise UnfitError(CUT_OFF)
            return super()._get(int(offset), dtype, int(count), override_order)

        def _get_str(self, offset: int) -> Any:
            length = int(self._get(offset, np.uint64)[0])
            if offset > MAX_HEADER:
                raise UnfitError(TOO_LARGE)
            if length > MAX_STRING:
                raise UnfitError(f"its header has a text of {length:,} bytes; at most {MAX_STRING:,} are read.")
            return super()._get_str(offset)

        def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
            if raw_type != GGUFValueType.ARRAY:
                return super()._get_field_parts(orig_offs, raw_type)
            kind = GGUFValueType(self._get(orig_offs, np.uint32)[0])
            count = int(self._get(orig_offs + 4, np.uint64)[0])
            self._items += count
            if count > MAX_ITEMS or self._items > MAX_ALL_ITEMS:
                raise UnfitError(f"its header has a list of {count:,} items; at most {MAX_ITEMS:,} are read.")
            size = 12 + self._size_of(kind, count, orig_offs + 12)
            return size, [self._get(orig_offs, np.uint8, size)], [], [GGUFValueType.ARRAY, kind]

        def _size_of(self, kind: Any, count: int, offset: int) -> int:
            """How many bytes a list takes."""
            if kind == GGUFValueType.ARRAY:
                raise UnfitError("its header has a list of lists.")
            if kind != GGUFValueType.STRING:
                return count * np.dtype(self.gguf_scalar_to_np[kind]).itemsize
            start, data, last = offset, memoryview(self.data), len(self.data)  # pyright: ignore[reportArgumentType]
            for _ in range(count):
                if offset + 8 > last:
                    raise UnfitError(CUT_OFF)
                length = int.from_bytes(data[offset : offset + 8], "little")
                if offset > MAX_HEADER:
                    raise UnfitError(TOO_LARGE)
                if length > MAX_ITEM:
                    raise UnfitError(f"its header has a list with a text of {length:,} bytes; at most {MAX_ITEM:,} are read.")
                offset += 8 + length
            return offset - start

        def _build_fields(self, offs: int, count: int) -> int:
            if count > MAX_KEYS:
                raise UnfitError(f"its header has {count:,} keys; at most {MAX_KEYS:,} are read.")
            return super()._build_fields(offs, count)

        def _build_tensor_info(self, offs: int, count: int) -> Any:
            if count > MAX_TENSORS:
                raise UnfitError(f"its header counts {count:,} tensors; at most {MAX_TENSORS:,} are read.")
            return super()._build_tensor_info(offs, count)

        def _get_tensor_info_field(self, orig_offs: int) -> Any:
            length = int(self._get(orig_offs, np.uint64)[0])
            dimensions = int(self._get(orig_offs + 8 + min(length, MAX_STRING), np.uint32)[0])
            if dimensions > MAX_DIMENSIONS:
                raise UnfitError(f"one of its tensors has {dimensions:,} dimensions; at most {MAX_DIMENSIONS} are read.")
            field = super()._get_tensor_info_field(orig_offs)
            _, _, _, sizes, raw_kind, place = field.parts
            if raw_kind[0] not in kinds:
                raise UnfitError(f"its weights are stored in a way (number {raw_kind[0]}) that is not known here.")
            if not 0 < prod(map(int, sizes)) <= MAX_NUMBERS:
                raise UnfitError(f"its tensor {short(field.name)} is larger than any model's, or empty.")
            if place[0] > len(self.data):
                raise UnfitError(CUT_OFF)
            return field

    return Reader
