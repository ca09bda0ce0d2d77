"""What a model's weight files say of themselves in their headers: which tensors of which shapes. No weight is read."""

import re
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open

from headroles.hub.gguf import is_gguf, read_gguf
from headroles.hub.plain_files import UnfitError, check_plain

WEIGHT_FILE_NAME = re.compile(r"model(-(\d{5})-of-(\d{5}))?\.safetensors")  # not its variants, `model.fp16.safetensors`
MAX_SHARDS = 512
MAX_HEADER_BYTES = 16 * 1024**2  # mixtral's 995 tensors take 120 kB
MAX_TENSORS = 100_000
MAX_DIMENSIONS = 8
Shapes = Mapping[str, tuple[int, ...]]


def weight_files(folder: Path) -> list[Path]:
    """The files in a folder that hold a model's weights; a GGUF file is its own."""
    if is_gguf(folder):
        return [folder]
    return [folder / name for name in pick_weights(file.name for file in folder.glob("model*.safetensors"))]


def pick_weights(names: Iterable[str]) -> list[str]:
    """Of a folder's file names those of its weights: one file, or else the parts that it is cut into."""
    found = sorted(name for name in names if WEIGHT_FILE_NAME.fullmatch(name))
    return ["model.safetensors"] if "model.safetensors" in found else found


def weight_bytes(folder: Path) -> int:
    """What a folder's weight files take on the disk."""
    return sum(file.stat().st_size for file in weight_files(folder))


def tensor_shapes(folder: Path, trusted: bool = False) -> Shapes:
    """The shape of every tensor in a folder's weight files or in a GGUF file, by the names they have there.

    `trusted` is a folder of the registry, whose files may be links to anywhere.

    Raises:
        UnfitError: when a part is missing, is no plain file, or its header is broken or larger than any model needs.
    """
    if is_gguf(folder):
        return read_gguf(folder).shapes
    files = weight_files(folder)
    _check_complete([file.name for file in files])
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        check_plain(folder, file.name, stays_inside=not trusted)
        shapes.update(_read_header(file))
        if len(shapes) > MAX_TENSORS:
            raise UnfitError(f"its weights have more than {MAX_TENSORS:,} tensors.")
    return shapes


def count_parameters(shapes: Shapes) -> int:
    """How many numbers there are in all tensors together."""
    return sum(map(prod, shapes.values()))


def _check_complete(names: list[str]) -> None:
    """Raises UnfitError unless the parts that the names count are all there."""
    parts = [(int(match[2]), int(match[3])) for name in names if (match := WEIGHT_FILE_NAME.fullmatch(name)) and match[1]]
    if not parts:
        return
    total = parts[0][1]
    if total > MAX_SHARDS:
        raise UnfitError(f"its weights are in {total:,} parts; at most {MAX_SHARDS} are read.")
    for number in range(1, total + 1):
        if (number, total) not in parts:
            raise UnfitError(f"of its weights the part model-{number:05d}-of-{total:05d}.safetensors is missing.")


def _read_header(file: Path) -> Shapes:
    broken = UnfitError("its weights file is broken.")
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
        if length > min(MAX_HEADER_BYTES, file.stat().st_size):
            raise broken  # before the library makes room for it
        with safe_open(file, framework="np") as tensors:  # for torch it would ask for room for all of them
            names = list(tensors.keys())
            if len(names) > MAX_TENSORS:
                raise UnfitError(f"its weights have more than {MAX_TENSORS:,} tensors.")
            shapes = {name: tuple(tensors.get_slice(name).get_shape()) for name in names}
    except (OSError, SafetensorError, UnicodeError, OverflowError, MemoryError):
        raise broken from None
    if any(len(shape) > MAX_DIMENSIONS for shape in shapes.values()):
        raise broken
    return shapes
