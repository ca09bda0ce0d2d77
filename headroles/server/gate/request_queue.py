"""The queue of requests: limits how many work and how many wait, in all and for each visitor.

A refusal comes at once, names the limit and how long to wait, and costs nothing. All that is kept of a visitor is a name that the
caller gives, for a minute.
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
    """A request that waits: the number of its arrival, whether a worker is granted, and whether it is a large one."""

    arrival: int
    granted: asyncio.Future[None]
    is_large: bool


@dataclass
class _Present:
    """A visitor with requests under way: how many work, and those that wait, in the order of their arrival."""

    working: int = 0
    waiting: deque[_Slot] = field(default_factory=deque)

    def next_slot(self, takes_large: bool) -> _Slot | None:
        """The next slot; a large request lets smaller ones pass while no worker takes it."""
        return next((slot for slot in self.waiting if takes_large or not slot.is_large), None)


class RequestQueue:
    """Runs requests in turn: one queue for page and API, in one event loop. Threads must not share it.

    Args:
        settings: Say how many requests work at once (`workers`) and wait (`max_waiting`), how many prompts a visitor may send
            (`prompts_a_minute`), and how long they may compute (`seconds_a_minute`); 0 switches any of the last three off.
        clock: Gives seconds.
        effort: Gives the seconds that the calling thread has computed.
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
        self._large = 0  # large requests that work
        self._present: dict[str, _Present] = {}
        self._arrivals = itertools.count()
        self._loading: dict[str, Counter[str]] = {}  # by visitor; waiting for a model takes no worker
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
        """Calls a function in a thread once a worker is free for this visitor.

        A free worker goes to the visitor with the fewest workers, then to the one who computed least of late, then to the one who
        came first. A caller that is cancelled leaves the queue while it waits; work that has begun is finished.

        Args:
            visitor: Who asks.
            function: The work.
            args: Its arguments.
            cost: As how many prompts it counts; 0 for what was charged before.
            is_large: Whether it holds others up; at most a quarter of the workers take such requests.
            kwargs: Its named arguments.

        Returns:
            What the function returns.

        Raises:
            BusyError: Too many requests wait already, or this visitor asked for too much; the message says how long to wait.
            InvalidInputError: The cost alone is more than a visitor may spend in a minute.
            HeadRolesError: What the function raises.
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
        """Charges a visitor for so many prompts, unless what follows is refused because the server is busy.

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
        """Counts a request that waits for a model; entered before the load begins.

        Raises:
            BusyError: Too many requests wait for a model, in all or of this visitor.
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
        """Raises BusyError when too many wait, in all or of this visitor, or the visitor has no computing time left."""
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
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        slot = _Slot(next(self._arrivals), granted, is_large)
        present.waiting.append(slot)
        self._hand_out()
        try:
            await granted
        except BaseException:
            if slot in present.waiting:
                present.waiting.remove(slot)
            elif not granted.cancelled() and granted.exception() is None:  # it was given a worker and does not take it
                self._leave(visitor, is_large)
            self._hand_out()
            raise

    def _leave(self, visitor: str, is_large: bool) -> None:
        """Gives a worker back."""
        self._present[visitor].working -= 1
        self._large -= is_large
        self._hand_out()

    def _hand_out(self) -> None:
        """Gives free workers to those who wait, in fair order; refuses those who have no computing time left."""
        while self._free > 0:
            candidates = [
                (present.working, self._seconds.used(name), slot.arrival, name, slot)
                for name, present in self._present.items()
                if (slot := present.next_slot(self._takes_large)) and present.working < self._share_of(name)
            ]
            if not candidates:
                break
            *_, visitor, slot = min(candidates, key=lambda candidate: candidate[:3])
            self._present[visitor].waiting.remove(slot)
            granted = slot.granted
            if granted.done():  # whoever waited was cancelled just now
                continue
            try:
                self._seconds.check(visitor)
            except BusyError as error:
                granted.set_exception(error)
                continue
            granted.set_result(None)
            self._present[visitor].working += 1
            self._large += slot.is_large
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
    """How many requests gradio must accept at once: more than may wait here, since it tells the rest nothing."""
    return max(1000, 2 * (settings.workers + 2 * settings.max_waiting))
