"""The limits of one visitor: a share of what all share, and so much a minute. Knows nothing of requests."""

import math
from collections.abc import Callable

from cachetools import TTLCache

from headroles.errors import BusyError, InvalidInputError

MINUTE = 60.0
MAX_VISITORS = 10_000  # remembered at once; past it, who was away for longest starts afresh


def visitor_share(total: int, alone: bool) -> int:
    """The share of one visitor: half of the total while nobody else asks, else a quarter; at least one."""
    return max(total // (2 if alone else 4), 1)


class Budget:
    """Gives each visitor so many units a minute, at most a minute's worth at once.

    Args:
        limit: Units a minute; 0 for any number.
        clock: Gives seconds.
        unit: The name of the units in messages, in the plural.
    """

    def __init__(self, limit: int, clock: Callable[[], float], unit: str) -> None:
        self._limit, self._clock, self._unit = limit, clock, unit
        # a bucket is full again after a minute, so then there is nothing left to remember
        self._buckets: TTLCache[str, tuple[float, float]] = TTLCache(MAX_VISITORS, MINUTE, timer=clock)

    def charge(self, visitor: str, cost: int) -> None:
        """Charges a cost that is known before the work.

        Raises:
            InvalidInputError: The cost is more than a minute's worth.
            BusyError: It is more than is left; then nothing is charged.
        """
        if self._limit and cost > self._limit:
            raise InvalidInputError(
                f"You sent {cost} {self._unit} at once, but the limit is {self._limit} {self._unit} a minute; send fewer."
            )
        if self._limit and cost and self._left(visitor) < cost:
            raise self._refusal(cost - self._left(visitor))
        self.spend(visitor, cost)

    def check(self, visitor: str) -> None:
        """Raises BusyError while more was spent than there was."""
        if self._limit and self._left(visitor) <= 0:
            raise self._refusal(-self._left(visitor))

    def spend(self, visitor: str, amount: float) -> None:
        """Charges what is known only afterwards, even if less is left; a negative amount is given back."""
        if self._limit and amount:
            self._buckets[visitor] = (min(self._left(visitor) - amount, self._limit), self._clock())

    def used(self, visitor: str) -> float:
        """How much a visitor spent of late; 0 where there is no limit."""
        return self._limit - self._left(visitor)

    def _left(self, visitor: str) -> float:
        now = self._clock()
        left, then = self._buckets.get(visitor, (float(self._limit), now))
        return min(left + (now - then) * self._limit / MINUTE, self._limit)

    def _refusal(self, lacking: float) -> BusyError:
        wait = lacking * MINUTE / self._limit
        return BusyError(f"You have reached the limit of {self._limit} {self._unit} a minute; {in_seconds(wait)}")


def in_seconds(seconds: float) -> str:
    """`try again in about 5 seconds.`, at least one."""
    whole = max(math.ceil(seconds), 1)
    return f"try again in about {whole} second{'s' if whole > 1 else ''}."
