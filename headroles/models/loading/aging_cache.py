"""What was read and measured lately, kept up to so many bytes, most of it not for long."""

import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Generic, TypeVar

from cachetools import LRUCache

V = TypeVar("V")
MAX_IDLE_SECONDS = 30.0  # of what nobody asked for since, where more than a part of all the bytes is taken
MIN_TIMER_SECONDS = 1.0  # between two looks at it
FLOOR_DIVISOR = 16  # one byte in so many may stay for ever


class AgingCache(Generic[V]):
    """Values by key, the least recently used dropped where they would take more than `max_bytes`; for any number of threads.

    What nobody has asked for lately goes as well, down to a sixteenth of `max_bytes`: a rush leaves little behind. `clock` gives
    seconds.
    """

    def __init__(self, max_bytes: int, size_of: Callable[[V], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._values: LRUCache[Hashable, V] = LRUCache(max_bytes, getsizeof=size_of)
        self._used: dict[Hashable, float] = {}  # when each was asked for last, the longest ago first
        self._clock = clock
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    @property
    def used_bytes(self) -> int:
        """How many bytes the values take."""
        with self._lock:
            return int(self._values.currsize)

    def get(self, key: Hashable) -> V | None:
        """The value of a key, which counts as used now; None where there is none."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._touch(key)
            return value

    def put(self, key: Hashable, value: V) -> None:
        """In place of what was kept under that key; a value too large for all the bytes is not kept."""
        with self._lock:
            self._values.pop(key, None)
            with suppress(ValueError):  # "value too large"
                self._values[key] = value
                self._touch(key)
            self._used = {key: when for key, when in self._used.items() if key in self._values}
            self._schedule_eviction()

    def evict_old(self) -> None:
        """Drops what was not asked for in the last MAX_IDLE_SECONDS, the longest ago first, while more is kept than may stay."""
        with self._lock:
            self._timer = None
            for key, when in list(self._used.items()):
                if not self._is_over_floor or self._clock() - when < MAX_IDLE_SECONDS:
                    break
                self._values.pop(key, None)
                del self._used[key]
            self._schedule_eviction()

    @property
    def _is_over_floor(self) -> bool:
        return self._values.currsize > self._values.maxsize // FLOOR_DIVISOR

    def _touch(self, key: Hashable) -> None:
        self._used.pop(key, None)
        self._used[key] = self._clock()

    def _schedule_eviction(self) -> None:
        if self._timer is None and self._is_over_floor:
            oldest = self._clock() - next(iter(self._used.values()))
            self._timer = threading.Timer(max(MAX_IDLE_SECONDS - oldest, MIN_TIMER_SECONDS), self.evict_old)
            self._timer.daemon = True  # it must not keep the process from ending
            self._timer.start()
