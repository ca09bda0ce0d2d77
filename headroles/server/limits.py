"""Who may work now: so many requests at once, so many that wait, so many prompts a minute of one visitor.

A refusal comes at once and says how long to wait. Of a visitor nothing is kept but a name that the caller gives, for a minute.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from cachetools import TTLCache

from headroles.errors import BusyError, InvalidInputError
from headroles.settings import Settings

MINUTE = 60.0
MAX_VISITORS = 10_000  # remembered at once; past it, who was away for longest starts afresh
WEIGHT_OF_LAST = 0.2  # in the running mean of how long requests take

R = TypeVar("R")


class Desk:
    """Lets requests in; one for all that share an event loop, page and API alike. Threads must not share it.

    `settings` say how many work at once (`workers`), wait (`max_waiting`) and come from one visitor (`prompts_a_minute`);
    0 switches either of the last two limits off. `clock` gives seconds.
    """

    def __init__(self, settings: Settings | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings or Settings()
        self._clock = clock
        self._workers = CapacityLimiter(self.settings.workers)  # gives places in the order of arrival
        self._present = 0  # requests that work or wait for a worker
        self._loading = 0  # requests that wait for a model; they take no worker, and no place from those that need none
        self._mean_seconds = 0.0
        # a bucket is full again after a minute, so then there is nothing left to remember
        self._buckets: TTLCache[str, tuple[float, float]] = TTLCache(MAX_VISITORS, MINUTE, timer=clock)

    @property
    def waiting(self) -> int:
        """How many requests wait for a worker."""
        return max(self._present - self.settings.workers, 0)

    async def run(self, visitor: str, function: Callable[..., R], *args: object, cost: int = 1, **kwargs: object) -> R:
        """What the function gives, called in a thread once a worker is free; first come, first served.

        A caller that is cancelled while it waits leaves its place; work that has begun is finished.

        Args:
            visitor: who asks.
            cost: how many prompts this is; 0 for what was charged before.

        Raises:
            BusyError: at once, when too many wait already or this visitor asked for too much; says for how long.
            InvalidInputError: when the cost alone is more than a minute's share.
            And what the function raises.
        """
        if self._is_full(self.waiting):
            seconds = self._mean_seconds * self.waiting / self.settings.workers
            raise BusyError(f"{self.waiting} requests are waiting here, which is the limit; {_try_again(seconds)}")
        self.charge(visitor, cost)
        self._present += 1
        try:
            return await to_thread.run_sync(partial(self._timed, partial(function, *args, **kwargs)), limiter=self._workers)
        finally:
            self._present -= 1

    def charge(self, visitor: str, cost: int = 1) -> None:
        """Counts that many prompts of a visitor. Raises as `run` does, and counts nothing then."""
        limit = self.settings.prompts_a_minute
        if not limit or not cost:
            return
        if cost > limit:
            raise InvalidInputError(f"You sent {cost} prompts at once, but {limit} prompts a minute are the limit; send fewer.")
        now = self._clock()
        left, then = self._buckets.get(visitor, (float(limit), now))
        left = min(left + (now - then) * limit / MINUTE, limit)
        if left < cost:
            wait = (cost - left) * MINUTE / limit
            raise BusyError(f"You have reached the limit of {limit} prompts a minute; {_try_again(wait)}")
        self._buckets[visitor] = (left - cost, now)

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Around the wait for a model. Raises BusyError when as many wait for one as may wait for a worker."""
        if self._is_full(self._loading):
            raise BusyError(f"{self._loading} requests are waiting for models to load, which is the limit; {_try_again(MINUTE)}")
        self._loading += 1
        try:
            yield
        finally:
            self._loading -= 1

    def _is_full(self, waiting: int) -> bool:
        limit = self.settings.max_waiting
        # those at work are not waiting, so a free worker is never refused
        return bool(limit) and waiting >= limit

    def _timed(self, function: Callable[[], R]) -> R:
        started = self._clock()
        try:
            return function()
        finally:
            seconds = self._clock() - started
            share = WEIGHT_OF_LAST if self._mean_seconds else 1.0
            self._mean_seconds += share * (seconds - self._mean_seconds)


def events_at_once(settings: Settings) -> int:
    """How many requests the server in front of the desk must take in: more than may wait, since it says nothing to the rest."""
    return max(1000, 2 * (settings.workers + 2 * settings.max_waiting))


def _try_again(seconds: float) -> str:
    whole = max(math.ceil(seconds), 1)
    return f"try again in about {whole} second{'s' if whole > 1 else ''}."
