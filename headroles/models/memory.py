"""What was read and measured lately, kept up to so many bytes."""

import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Generic, TypeVar

from cachetools import LRUCache

V = TypeVar("V")


class Memory(Generic[V]):
    """Values by key, the least recently used dropped where they would take more than `max_bytes`; for any number of threads."""

    def __init__(self, max_bytes: int, size_of: Callable[[V], int]) -> None:
        self._values: LRUCache[Hashable, V] = LRUCache(max_bytes, getsizeof=size_of)
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        with self._lock:
            return int(self._values.currsize)

    def get(self, key: Hashable) -> V | None:
        with self._lock:
            return self._values.get(key)

    def keep(self, key: Hashable, value: V) -> None:
        """In place of what was kept under that key; a value too large for all the bytes is not kept."""
        with self._lock:
            self._values.pop(key, None)
            with suppress(ValueError):  # "value too large"
                self._values[key] = value
