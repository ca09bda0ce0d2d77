"""GGUF files, as Ollama, LM Studio and llama.cpp keep models: reads their headers, within the limits of `gguf_reader`."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headroles.core.records.atomic_files import read_ordinary
from headroles.errors import MissingPackageError, keep_for_debugging
from headroles.hub.plain_files import UnfitError, check_plain

if TYPE_CHECKING:
    from headroles.hub.gguf_reader import BoundedReader

SUFFIX = ".gguf"
MAGIC, VERSIONS = b"GGUF", (2, 3)


@dataclass(frozen=True)
class Gguf:
    """The header of a GGUF file.

    Attributes:
        values: of the keys that hold one value.
        lists: the number of items of the keys that hold a list.
        shapes: of every tensor, with axes in torch's order, by the file's own names.
        quantization: how most of the numbers are stored, such as `Q4_1`.
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
    """Whether a path is a GGUF file by its name. A folder of such a name is not, and those in a folder are not its weights."""
    return path.suffix.lower() == SUFFIX and not path.is_dir()


def read_gguf(path: Path) -> Gguf:
    """The header of a file. The last two that were read are remembered until the files change.

    Raises:
        UnfitError: when the file is cut off, broken, one part of several, has a larger header than any model needs, or stores
            its weights in a way that cannot be dequantized.
        MissingPackageError: without the package `gguf`.
    """
    check_plain(path.parent, path.name, stays_inside=False)
    found = path.stat()
    return _read_once(path, found.st_mtime_ns, found.st_size, found.st_ino)


@contextmanager
def _in_our_words() -> Iterator[None]:
    """Around the library, whose errors are ValueError, KeyError, IndexError and numpy's, and may hold parts of the file."""
    try:
        yield
    except (UnfitError, MissingPackageError):
        raise
    except MemoryError:
        raise UnfitError("its header takes more memory than any model's does.") from None
    except UnicodeDecodeError:
        raise UnfitError("its header has text that is not UTF-8.") from None
    except OSError:
        raise UnfitError("it cannot be read.") from None
    except Exception as error:
        keep_for_debugging(error)
        raise UnfitError("it is not a whole GGUF file: it is cut off or broken.") from None


@lru_cache(maxsize=2)
@_in_our_words()
def _read_once(path: Path, *_: int) -> Gguf:
    """Reads a header; the numbers after the path tell one version of the file from the next."""
    reader = open_gguf(path)
    values = reader.values()
    if values.get("split.count", 1) not in (0, 1):
        raise UnfitError("it is one part of several; join them first, with `llama-gguf-split --merge`.")
    shapes = {tensor.name: tuple(int(size) for size in reversed(tensor.shape)) for tensor in reader.tensors}
    stored: Counter[str] = Counter()
    for tensor in reader.tensors:
        stored[tensor.tensor_type.name] += tensor.n_elements
    return Gguf(path, values, reader.lists(), shapes, stored.most_common(1)[0][0])


@_in_our_words()
def read_lists(path: Path, names: Iterable[str]) -> dict[str, list[Any]]:
    """The named lists of a header; those that it lacks are left out. Raises as `read_gguf` does."""
    reader = open_gguf(path)
    return {name: reader.items_of(name) for name in names if name in reader.lists()}


@_in_our_words()
def open_gguf(path: Path) -> "BoundedReader":
    """The library's reader of a file that passed every check. Raises as `read_gguf` does."""
    try:
        from headroles.hub.gguf_reader import BoundedReader
    except ModuleNotFoundError as error:
        raise MissingPackageError.of("Reading GGUF files", "gguf", error) from error

    check_plain(path.parent, path.name, stays_inside=False)
    _check_beginning(path)
    return BoundedReader(path)


def _check_beginning(path: Path) -> None:
    """Raises UnfitError unless it is a GGUF file of a version, and a byte order, that the library reads."""
    beginning = read_ordinary(path, 8)
    if beginning[:4] != MAGIC or len(beginning) < 8:
        raise UnfitError("it is not a GGUF file, whatever its name says.")
    if int.from_bytes(beginning[4:], "big") in VERSIONS:
        raise UnfitError("it is written for machines of another byte order.")
    version = int.from_bytes(beginning[4:], "little")
    if version not in VERSIONS:
        raise UnfitError(f"it is of version {version:,} of the format; 2 and 3 are read.")
