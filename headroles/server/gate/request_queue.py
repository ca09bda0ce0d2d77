"""Who may work now: so many requests at once, so many that wait, and of each no more than a share for one visitor.

A refusal comes at once, says which limit it is and how long to wait, and costs nothing. Of a visitor nothing is kept but a name
that the caller gives, for a minute.
"""

import asyncio
import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeVar

from anyio import CapacityLimiter, to_thread

from headroles.errors import BusyError, panics_as_errors
from headroles.server.gate.rate_limit import MINUTE, Budget, in_seconds, visitor_share
from headroles.settings import Settings

WEIGHT_OF_LAST = 0.2  # in the running mean of how long requests take
LARGE_PROMPTS = 8  # a request of so many texts or more leaves most workers to smaller ones
LOADS_A_VISITOR = 2  # different models that load at once for one visitor; half of those that load at once at all

R = TypeVar("R")


class _Slot(NamedTuple):
    """A request that waits: the number of its arrival, what it waits for, and whether it is a large one."""

    arrival: int
    turn: asyncio.Future[None]
    is_large: bool


@dataclass
class _Present:
    """A visitor with requests under way: how many work, and those that wait, in the order of their arrival."""

    working: int = 0
    waiting: deque[_Slot] = field(default_factory=deque)

    def next_place(self, takes_large: bool) -> _Slot | None:
        """Who comes next; a large request lets smaller ones pass while no worker takes one."""
        return next((place for place in self.waiting if takes_large or not place.is_large), None)


class RequestQueue:
    """Lets requests in; one for all that share an event loop, page and API alike. Threads must not share it.

    `settings` say how many work at once (`workers`), wait (`max_waiting`), come from one visitor (`prompts_a_minute`), and how
    long they may compute (`seconds_a_minute`); 0 switches any of the last three limits off. `clock` gives seconds, `effort`
    those that the calling thread has computed.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        clock: Callable[[], float] = time.monotonic,
        effort: Callable[[], float] = time.thread_time,
    ) -> None:
        self.settings = settings or Settings()
        self._clock, self._effort = clock, effort
        self._threads = CapacityLimiter(self.settings.workers)
        self._large = 0  # of the requests that work
        self._present: dict[str, _Present] = {}
        self._arrivals = itertools.count()
        self._loading: dict[str, Counter[str]] = {}  # by visitor; who waits for a model takes no worker
        self._mean_seconds = 0.0
        self._prompts = Budget(self.settings.prompts_a_minute, clock, "prompts")
        self._seconds = Budget(self.settings.seconds_a_minute, clock, "seconds of computing")

    @property
    def waiting(self) -> int:
        """How many requests wait for a worker."""
        return sum(len(present.waiting) for present in self._present.values())

    @property
    def loads(self) -> int:
        """How many requests wait for a model."""
        return sum(map(Counter.total, self._loading.values()))

    async def run(
        self, visitor: str, function: Callable[..., R], *args: object, cost: int = 1, is_large: bool = False, **kwargs: object
    ) -> R:
        """What the function gives, called in a thread once a worker is free for this visitor.

        A free worker goes to whom the fewest work for, then to who computed least of late, then to who came first. A caller that
        is cancelled while it waits leaves its place; work that has begun is finished.

        Args:
            visitor: who asks.
            cost: how many prompts this is; 0 for what was charged before.
            is_large: whether it holds others up, so that a quarter of the workers at most may have such ones.

        Raises:
            BusyError: when too many wait already or this visitor asked for too much; says for how long.
            InvalidInputError: when the cost alone is more than a minute's share.
            And what the function raises.
        """
        self._check_queue(visitor, is_large)
        with self.charged(visitor, cost):
            await self._wait_for_a_worker(visitor, is_large)
        spent = [0.0]
        try:
            return await to_thread.run_sync(
                partial(self._timed, partial(function, *args, **kwargs), spent), limiter=self._threads
            )
        finally:
            self._seconds.spend(visitor, spent[0])
            self._leave(visitor, is_large)

    @contextmanager
    def charged(self, visitor: str, cost: int = 1) -> Iterator[None]:
        """Counts that many prompts of a visitor, unless what follows is refused for want of room.

        Raises as `run` does, and counts nothing then.
        """
        self._prompts.charge(visitor, cost)
        try:
            yield
        except BusyError:
            self._prompts.spend(visitor, -cost)
            raise

    @contextmanager
    def loading(self, visitor: str, model: str) -> Iterator[None]:
        """Around the wait for a model, to be entered before its load begins.

        Raises BusyError when as many wait for one as may wait for a worker, or this visitor for too many.
        """
        mine = self._loading.get(visitor, Counter())
        of_all, limit = self.loads, self.settings.max_waiting
        if limit and of_all >= limit:
            raise BusyError(f"{of_all} requests are waiting for models to load, which is the limit; {in_seconds(MINUTE)}")
        if limit and mine.total() >= visitor_share(limit, alone=len(self._loading) <= 1):
            raise BusyError(
                f"{mine.total()} of your requests are waiting for models to load, which is one visitor's limit; "
                f"{in_seconds(MINUTE)}"
            )
        if limit and model not in mine and len(mine) >= LOADS_A_VISITOR:
            raise BusyError(f"{len(mine)} models are loading for you, which is one visitor's limit; {in_seconds(MINUTE)}")
        self._loading[visitor] = mine
        mine[model] += 1
        try:
            yield
        finally:
            mine[model] -= 1
            if not mine[model]:
                del mine[model]
            if not mine:
                self._loading.pop(visitor, None)

    def _check_queue(self, visitor: str, is_large: bool) -> None:
        """Raises BusyError when there is no place left to wait, in all or for this visitor, or no time left to compute."""
        limit, waiting = self.settings.max_waiting, self.waiting
        mine = self._present.get(visitor, _Present())
        if self._takes_at_once(mine, visitor, is_large):
            self._seconds.check(visitor)
            return
        seconds = self._mean_seconds * waiting / self.settings.workers
        if limit and waiting >= limit:
            raise BusyError(f"{waiting} requests are waiting here, which is the limit; {in_seconds(seconds)}")
        if limit and len(mine.waiting) >= visitor_share(limit, alone=waiting == len(mine.waiting)):
            raise BusyError(
                f"{len(mine.waiting)} of your requests are waiting here, which is one visitor's limit; {in_seconds(seconds)}"
            )
        self._seconds.check(visitor)

    @property
    def _free(self) -> int:
        """How many workers have nothing to do."""
        return self.settings.workers - sum(present.working for present in self._present.values())

    @property
    def _takes_large(self) -> bool:
        """Whether a worker may have one more large request."""
        return self._large < visitor_share(self.settings.workers, alone=False)

    def _takes_at_once(self, mine: _Present, visitor: str, is_large: bool) -> bool:
        """Whether a request of this visitor would not wait at all."""
        has_room = self._free > 0 and (self._takes_large or not is_large)
        return has_room and not mine.waiting and mine.working < self._share_of(visitor)

    async def _wait_for_a_worker(self, visitor: str, is_large: bool) -> None:
        present = self._present.setdefault(visitor, _Present())
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = _Slot(next(self._arrivals), turn, is_large)
        present.waiting.append(place)
        self._hand_out()
        try:
            await turn
        except BaseException:
            if place in present.waiting:
                present.waiting.remove(place)
            elif not turn.cancelled() and turn.exception() is None:  # it was given a worker and does not take it
                self._leave(visitor, is_large)
            self._hand_out()
            raise

    def _leave(self, visitor: str, is_large: bool) -> None:
        """Gives a worker back."""
        self._present[visitor].working -= 1
        self._large -= is_large
        self._hand_out()

    def _hand_out(self) -> None:
        """Gives free workers to those who wait, the fairest first; who has no time left to compute is told so."""
        while self._free > 0:
            candidates = [
                (present.working, self._seconds.used(name), place.arrival, name, place)
                for name, present in self._present.items()
                if (place := present.next_place(self._takes_large)) and present.working < self._share_of(name)
            ]
            if not candidates:
                break
            *_, visitor, place = min(candidates, key=lambda candidate: candidate[:3])
            self._present[visitor].waiting.remove(place)
            turn = place.turn
            if turn.done():  # whoever waited was cancelled just now
                continue
            try:
                self._seconds.check(visitor)
            except BusyError as error:
                turn.set_exception(error)
                continue
            turn.set_result(None)
            self._present[visitor].working += 1
            self._large += place.is_large
        self._present = {name: present for name, present in self._present.items() if present.working or present.waiting}

    def _share_of(self, visitor: str) -> int:
        """How many may work for a visitor at once: fewer while somebody else waits."""
        alone = not any(present.waiting for name, present in self._present.items() if name != visitor)
        return visitor_share(self.settings.workers, alone)

    def _timed(self, function: Callable[[], R], spent: list[float]) -> R:
        started, before = self._clock(), self._effort()
        try:
            with panics_as_errors():
                return function()
        finally:
            spent[0] = self._effort() - before
            seconds = self._clock() - started
            weight = WEIGHT_OF_LAST if self._mean_seconds else 1.0
            self._mean_seconds += weight * (seconds - self._mean_seconds)


def events_at_once(settings: Settings) -> int:
    """How many requests the server in front of the desk must take in: more than may wait, since it says nothing to the rest."""
    return max(1000, 2 * (settings.workers + 2 * settings.max_waiting))
