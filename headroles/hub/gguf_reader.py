"""How much of a GGUF file's header is read. Importing this module needs the package `gguf`, an extra.

On its own `gguf` allocates whatever a header announces, and an object for every string and number of a list, which takes 2.6 s
and 150 MB for SmolLM2. Here each count is checked against a limit first, and lists stay bytes until one is asked for.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFValueType, dequantize

from headroles.hub.plain_files import UnfitError, shorten

MAX_TENSORS = 5_000  # the largest published dense models have 1,138, in 126 layers; the library takes 0.1 ms for each
MAX_DIMENSIONS = 4  # ggml's own limit
MAX_KEYS = 1024
MAX_ITEMS = 1_100_000  # in one list; Gemma's vocabulary has 262,144 tokens and twice as many merges
MAX_ALL_ITEMS = 3_000_000
MAX_STRING = 1024**2  # bytes; the longest are chat templates of some ten thousand
MAX_ITEM = 8192  # bytes of a string in a list: a merge of two tokens
MAX_HEADER = 64 * 1024**2  # bytes before the first weight; Gemma's takes a third of it
MAX_NUMBERS = 2**48  # in a tensor
CUT_OFF = "it is cut off: its header describes more than the file holds."
TOO_LARGE = f"its header takes more than {MAX_HEADER:,} bytes."
KINDS = {int(kind) for kind in GGMLQuantizationType}


class BoundedReader(GGUFReader):
    """The library's reader, which refuses with UnfitError what is past a limit or cannot be dequantized."""

    _items = 0  # of all lists so far

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if not self.tensors:
            raise UnfitError("it holds no weights.")
        self._check_places()
        for kind in {tensor.tensor_type for tensor in self.tensors}:
            _check_dequantizes(kind)

    def values(self) -> dict[str, Any]:
        """What the keys hold that hold one value."""
        return {name: field.contents() for name, field in self.fields.items() if len(field.types) == 1}

    def lists(self) -> dict[str, int]:
        """The number of items of the keys that hold a list."""
        return {name: int(field.parts[-2][0]) for name, field in self.fields.items() if len(field.types) == 2}

    def items_of(self, name: str) -> list[Any]:
        """The items of a key that holds a list."""
        field = self.fields[name]
        content, kind = field.parts[-1], field.types[1]
        if kind != GGUFValueType.STRING:
            return content.view(self.gguf_scalar_to_np[kind]).tolist()
        texts = content.tobytes()
        return [texts[start:end].decode() for start, end in _text_spans(memoryview(texts), 0, self.lists()[name])]

    def _check_places(self) -> None:
        """Raises UnfitError where two tensors share bytes: a small file could pretend to be a large model."""
        end = 0
        for tensor in sorted(self.tensors, key=lambda tensor: tensor.data_offset):
            if tensor.data_offset < end:
                raise UnfitError(f"its tensor {shorten(tensor.name)} lies where another one does.")
            end = tensor.data_offset + tensor.n_bytes

    def _get(self, offset: int, dtype: Any, count: Any = 1, override_order: Any = None) -> Any:
        end = int(offset) + np.dtype(dtype).itemsize * int(count)
        if end > len(self.data):  # the library would go on with less
            raise UnfitError(CUT_OFF)
        return super()._get(int(offset), dtype, int(count), override_order)

    def _get_str(self, offset: int) -> Any:
        if offset > MAX_HEADER:
            raise UnfitError(TOO_LARGE)
        length = int(self._get(offset, np.uint64)[0])
        _check_limit(length, MAX_STRING, f"its header has a text of {length:,} bytes")
        return super()._get_str(offset)

    def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
        if raw_type != GGUFValueType.ARRAY:
            return super()._get_field_parts(orig_offs, raw_type)
        raw_kind, raw_count = self._get(orig_offs, np.uint32), self._get(orig_offs + 4, np.uint64)
        kind, count, start = GGUFValueType(raw_kind[0]), int(raw_count[0]), orig_offs + 12
        self._items += count
        _check_limit(count, MAX_ITEMS, f"its header has a list of {count:,} items")
        _check_limit(self._items, MAX_ALL_ITEMS, f"its header has lists of {self._items:,} items in all")
        size = self._size_of(kind, count, start)
        return 12 + size, [raw_kind, raw_count, self._get(start, np.uint8, size)], [], [GGUFValueType.ARRAY, kind]

    def _size_of(self, kind: Any, count: int, start: int) -> int:
        """The number of bytes that the items of a list take."""
        if kind == GGUFValueType.ARRAY:
            raise UnfitError("its header has a list of lists.")
        if kind != GGUFValueType.STRING:
            return count * np.dtype(self.gguf_scalar_to_np[kind]).itemsize
        ends = (end for _, end in _text_spans(memoryview(self.data), start, count))  # pyright: ignore[reportArgumentType]
        return max(ends, default=start) - start

    def _build_fields(self, offs: int, count: int) -> int:
        _check_limit(count, MAX_KEYS, f"its header has {count:,} keys")
        return super()._build_fields(offs, count)

    def _build_tensor_info(self, offs: int, count: int) -> Any:
        _check_limit(count, MAX_TENSORS, f"its header counts {count:,} tensors")
        return super()._build_tensor_info(offs, count)

    def _get_tensor_info_field(self, orig_offs: int) -> Any:
        _, name = self._get_str(orig_offs)
        dimensions = int(self._get(orig_offs + 8 + len(name), np.uint32)[0])
        _check_limit(dimensions, MAX_DIMENSIONS, f"one of its tensors has {dimensions:,} dimensions")
        field = super()._get_tensor_info_field(orig_offs)
        _, _, _, sizes, raw_kind, place = field.parts
        if raw_kind[0] not in KINDS:
            raise UnfitError(f"its weights are stored in a way (number {raw_kind[0]}) that is not known here.")
        if not 0 < prod(map(int, sizes)) <= MAX_NUMBERS:
            raise UnfitError(f"its tensor {shorten(field.name)} is larger than any model's, or empty.")
        if place[0] > len(self.data):
            raise UnfitError(CUT_OFF)
        return field


def _check_limit(count: int, limit: int, said: str) -> None:
    if count > limit:
        raise UnfitError(f"{said}; at most {limit:,} are read.")


def _text_spans(data: memoryview, offset: int, count: int) -> Iterator[tuple[int, int]]:
    """Where the strings of a list begin and end; each follows its length in eight bytes."""
    for _ in range(count):
        if offset > MAX_HEADER:
            raise UnfitError(TOO_LARGE)
        start = offset + 8
        if start > len(data):
            raise UnfitError(CUT_OFF)
        length = int.from_bytes(data[offset:start], "little")
        if length > MAX_ITEM:
            raise UnfitError(f"its header has a list with a text of {length:,} bytes; at most {MAX_ITEM:,} are read.")
        offset = start + length
        yield start, offset


def _check_dequantizes(kind: GGMLQuantizationType) -> None:
    """Raises UnfitError for a quantization that the library cannot undo."""
    _, block_bytes = GGML_QUANT_SIZES[kind]
    try:
        dequantize(np.zeros((1, block_bytes), np.uint8), kind)
    except NotImplementedError:
        raise UnfitError(f"its weights are stored as {kind.name}, which cannot be read; take another quantization.") from None
