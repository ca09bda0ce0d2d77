"""Who is let in: the order, the limits and what a refusal says."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headroles.errors import BusyError, InvalidInputError, PromptError
from headroles.server.gate.rate_limit import MAX_VISITORS, Budget, visitor_share
from headroles.server.gate.request_queue import LOADS_A_VISITOR, RequestQueue, events_at_once
from headroles.settings import Settings
from tests.fixtures.patience import PATIENCE, wait_until_async

pytestmark = pytest.mark.anyio


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(
    workers: int = 1,
    max_waiting: int = 64,
    prompts_a_minute: int = 0,
    clock: Callable[[], float] | None = None,
    seconds_a_minute: int = 0,
    effort: Callable[[], float] | None = None,
) -> RequestQueue:
    settings = Settings(
        workers=workers, max_waiting=max_waiting, prompts_a_minute=prompts_a_minute, seconds_a_minute=seconds_a_minute
    )
    return RequestQueue(settings, clock or Clock(), effort or Clock())


def charge(desk: RequestQueue, visitor: str, cost: int = 1) -> None:
    with desk.charged(visitor, cost):
        pass


class Work:
    """Calls that end when they are told to."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.begun: list[object] = []
        self.at_once = self._now = 0
        self._lock = threading.Lock()

    def __call__(self, name: object = None) -> object:
        with self._lock:
            self.begun.append(name)
            self._now += 1
            self.at_once = max(self.at_once, self._now)
        assert self.go_on.wait(PATIENCE)
        with self._lock:
            self._now -= 1
        return name


async def test_it_gives_what_the_function_gives_and_raises_what_it_raises():
    desk = make()
    assert await desk.run("a", divmod, 7, 2) == (3, 1)
    assert await desk.run("a", sorted, [1, 3, 2], reverse=True) == [3, 2, 1]
    with pytest.raises(ZeroDivisionError):
        await desk.run("a", divmod, 1, 0)
    assert desk.waiting == 0


async def test_so_many_work_at_once_and_the_rest_in_the_order_they_came():
    desk, work = make(workers=3), Work()
    tasks = [asyncio.create_task(desk.run(str(name), work, name)) for name in range(10)]
    await wait_until_async(lambda: len(work.begun) == 3)
    assert desk.waiting == 7
    work.go_on.set()
    assert await asyncio.gather(*tasks) == list(range(10))
    assert work.at_once == 3


async def test_one_worker_serves_first_come_first_served():
    desk, work = make(workers=1), Work()
    tasks = [asyncio.create_task(desk.run(str(name), work, name)) for name in range(6)]
    await wait_until_async(lambda: len(work.begun) == 1)
    work.go_on.set()
    await asyncio.gather(*tasks)
    assert work.begun == list(range(6))


async def test_a_full_queue_answers_at_once_with_how_long_to_wait():
    clock, work = Clock(), Work()
    desk = make(workers=2, max_waiting=4, clock=clock)

    def takes_six_seconds() -> None:
        clock.now += 6

    await desk.run("a", takes_six_seconds)
    tasks = [asyncio.create_task(desk.run(str(name), work)) for name in range(6)]
    await wait_until_async(lambda: desk.waiting == 4)
    with pytest.raises(BusyError) as caught:
        await desk.run("b", work)
    assert str(caught.value) == "4 requests are waiting here, which is the limit; try again in about 12 seconds."
    work.go_on.set()
    await asyncio.gather(*tasks)
    await desk.run("b", work)


async def test_who_goes_away_while_waiting_leaves_the_place_to_others():
    desk, work = make(workers=1, max_waiting=1), Work()
    working = asyncio.create_task(desk.run("a", work, "first"))
    await wait_until_async(lambda: len(work.begun) == 1)
    waiting = asyncio.create_task(desk.run("a", work, "gone"))
    await wait_until_async(lambda: desk.waiting == 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert desk.waiting == 0
    after = asyncio.create_task(desk.run("a", work, "next"))
    await wait_until_async(lambda: desk.waiting == 1)
    work.go_on.set()
    assert await asyncio.gather(working, after) == ["first", "next"]
    assert work.begun == ["first", "next"]


async def test_zero_switches_the_queues_limit_off():
    desk, work = make(workers=1, max_waiting=0), Work()
    tasks = [asyncio.create_task(desk.run("a", work)) for _ in range(200)]
    await wait_until_async(lambda: desk.waiting == 199)
    work.go_on.set()
    await asyncio.gather(*tasks)


def test_waiting_for_a_model_has_a_limit_of_its_own():
    desk = make(max_waiting=2)
    with desk.loading("a", "gpt2"), desk.loading("b", "gpt2"):
        with pytest.raises(
            BusyError, match="2 requests are waiting for models to load, which is the limit; try again in about 60"
        ):
            desk.loading("c", "gpt2").__enter__()
        assert asyncio.run(desk.run("a", int, "7")) == 7
    with desk.loading("c", "gpt2"):
        pass
    assert desk.loads == 0


def test_a_visitor_who_asks_too_fast_is_told_when_to_come_back():
    clock = Clock()
    desk = make(prompts_a_minute=120, clock=clock)
    for _ in range(120):
        charge(desk, "a")
    with pytest.raises(BusyError) as caught:
        charge(desk, "a", 16)
    assert str(caught.value) == "You have reached the limit of 120 prompts a minute; try again in about 8 seconds."
    charge(desk, "b", 120)
    clock.now += 8
    charge(desk, "a", 16)
    with pytest.raises(BusyError, match="in about 1 second[.]"):
        charge(desk, "a")


async def test_a_refusal_costs_nothing():
    clock, work = Clock(), Work()
    desk = make(workers=1, max_waiting=1, prompts_a_minute=3, clock=clock)
    tasks = [asyncio.create_task(desk.run("a", work)) for _ in range(2)]
    await wait_until_async(lambda: desk.waiting == 1)
    for _ in range(5):
        with pytest.raises(BusyError, match="requests are waiting"):
            await desk.run("a", work)
    work.go_on.set()
    await asyncio.gather(*tasks)
    await desk.run("a", work)
    with pytest.raises(BusyError, match="3 prompts a minute"):
        await desk.run("a", work)


def test_more_prompts_at_once_than_a_minutes_share_can_never_be_let_in():
    with pytest.raises(InvalidInputError, match="64 prompts at once, but the limit is 30 prompts a minute; send fewer"):
        charge(make(prompts_a_minute=30), "a", 64)


def test_zero_switches_the_rate_off():
    desk = make(prompts_a_minute=0)
    for _ in range(1000):
        charge(desk, "a", 64)


@given(steps=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 20)), max_size=60), limit=st.integers(20, 200))
def test_nobody_gets_more_than_the_limit_and_a_full_bucket(steps, limit):
    clock = Clock()
    desk = make(prompts_a_minute=limit, clock=clock)
    begun, given_out = clock.now, 0
    for seconds, cost in steps:
        clock.now += seconds
        try:
            charge(desk, "a", cost)
            given_out += cost
        except BusyError:
            pass
    assert given_out <= limit + (clock.now - begun) * limit / 60 + 1e-6


@given(cost=st.integers(1, 50), limit=st.integers(50, 500))
def test_who_waits_as_long_as_told_is_let_in(cost, limit):
    clock = Clock()
    desk = make(prompts_a_minute=limit, clock=clock)
    charge(desk, "a", limit)
    with pytest.raises(BusyError) as caught:
        charge(desk, "a", cost)
    clock.now += int(str(caught.value).rsplit("about ", 1)[1].split()[0])
    charge(desk, "a", cost)


def test_it_remembers_a_bounded_number_of_visitors_and_none_for_long():
    clock = Clock()
    desk = make(prompts_a_minute=5, clock=clock)
    for number in range(MAX_VISITORS + 50):
        charge(desk, str(number))
    assert len(desk._prompts._buckets) == MAX_VISITORS
    clock.now += 61
    assert len(desk._prompts._buckets) == 0


def test_the_server_takes_in_more_than_the_desk_lets_wait():
    for settings in (Settings(), Settings(workers=500, max_waiting=90_000)):
        assert events_at_once(settings) > settings.workers + 2 * settings.max_waiting


async def test_an_error_of_the_work_frees_its_place():
    desk = make(workers=1, max_waiting=1)

    def fails() -> None:
        raise PromptError("There is no text to look at.")

    for _ in range(5):
        with pytest.raises(PromptError):
            await desk.run("a", fails)


async def test_one_visitor_has_half_of_the_workers_alone_and_a_quarter_beside_others():
    desk, work = make(workers=12), Work()
    mine = [asyncio.create_task(desk.run("a", work, "a")) for _ in range(12)]
    await wait_until_async(lambda: len(work.begun) == 6)
    others = [asyncio.create_task(desk.run(name, work, name)) for name in 12 * "b" + 12 * "c"]
    await wait_until_async(lambda: len(work.begun) == 12)
    assert Counter(work.begun) == {"a": 6, "b": 3, "c": 3}
    assert desk.waiting == 24
    work.go_on.set()
    await asyncio.gather(*mine, *others)


async def test_a_free_worker_goes_to_whom_the_fewest_work_for_though_another_came_first():
    desk, of_a, of_b, work = make(workers=2), Work(), Work(), Work()
    busy = [asyncio.create_task(desk.run(name, first, name)) for name, first in (("a", of_a), ("b", of_b))]
    await wait_until_async(lambda: bool(of_a.begun and of_b.begun))
    waiting = [asyncio.create_task(desk.run(name, work, name)) for name in "aaac"]
    await wait_until_async(lambda: desk.waiting == 4)
    of_b.go_on.set()
    await wait_until_async(lambda: bool(work.begun))
    assert work.begun == ["c"]
    of_a.go_on.set()
    work.go_on.set()
    await asyncio.gather(*busy, *waiting)


async def test_one_visitor_has_half_of_the_queue_alone_and_a_quarter_beside_others():
    desk, work = make(workers=1, max_waiting=12), Work()
    tasks = [asyncio.create_task(desk.run("a", work)) for _ in range(7)]
    await wait_until_async(lambda: desk.waiting == 6)
    with pytest.raises(BusyError, match="6 of your requests are waiting here, which is one visitor's limit; try again in"):
        await desk.run("a", work)
    tasks += [asyncio.create_task(desk.run("b", work)) for _ in range(3)]
    await wait_until_async(lambda: desk.waiting == 9)
    with pytest.raises(BusyError, match="3 of your requests are waiting here, which is one visitor's limit; try again in"):
        await desk.run("b", work)
    work.go_on.set()
    await asyncio.gather(*tasks)


async def test_who_computed_for_longer_than_a_minutes_share_is_told_when_to_come_back_and_is_not_charged():
    clock, effort = Clock(), Clock()
    desk = make(seconds_a_minute=30, prompts_a_minute=2, clock=clock, effort=effort)

    def takes_forty_seconds() -> None:
        effort.now += 40

    await desk.run("a", takes_forty_seconds)
    with pytest.raises(BusyError, match="the limit of 30 seconds of computing a minute; try again in about 20 seconds"):
        await desk.run("a", int)
    await desk.run("b", int)
    clock.now += 21
    await desk.run("a", int)  # the second of two prompts: the refusal was none


def test_one_visitor_loads_two_models_at_once_and_others_theirs():
    desk = make()
    assert LOADS_A_VISITOR == 2
    with desk.loading("a", "gpt2"), desk.loading("a", "distilgpt2"), desk.loading("a", "gpt2"):
        with pytest.raises(BusyError, match="2 models are loading for you, which is one visitor's limit"):
            desk.loading("a", "third").__enter__()
        with desk.loading("b", "third"):
            pass
    assert desk.loads == 0


def test_what_is_refused_on_the_way_is_given_back():
    desk = make(prompts_a_minute=1)
    for _ in range(5):
        with pytest.raises(BusyError, match="no room"), desk.charged("a"):
            raise BusyError("no room")
    charge(desk, "a")
    with pytest.raises(BusyError, match="1 prompts a minute"):
        charge(desk, "a")


def test_a_share_is_half_alone_and_a_quarter_beside_others_and_one_place_at_least():
    assert [visitor_share(places, alone=True) for places in (1, 2, 12, 64)] == [1, 1, 6, 32]
    assert [visitor_share(places, alone=False) for places in (1, 2, 12, 64)] == [1, 1, 3, 16]


@given(places=st.integers(1, 1000))
def test_a_share_leaves_some_places_where_there_are_two(places):
    for alone in (True, False):
        assert 1 <= visitor_share(places, alone) <= max(places // 2, 1)


def test_without_a_limit_nothing_is_remembered():
    budget = Budget(0, Clock(), "prompts")
    budget.charge("a", 10)
    budget.spend("a", 10)
    budget.check("a")
    assert len(budget._buckets) == 0


async def test_large_requests_leave_most_workers_to_small_ones_and_let_them_pass():
    desk, large, small = make(workers=12), Work(), Work()
    tasks = [asyncio.create_task(desk.run(str(number), large, number, is_large=True)) for number in range(10)]
    await wait_until_async(lambda: len(large.begun) == 3)
    small.go_on.set()
    assert await desk.run("0", small, "small") == "small"  # of one whose large request is at work as well
    assert await desk.run("9", small, "small") == "small"  # or waits
    assert len(large.begun) == 3
    large.go_on.set()
    assert await asyncio.gather(*tasks) == list(range(10))
    assert large.at_once == 3
    assert desk.waiting == 0


async def test_large_requests_that_no_worker_takes_wait_within_the_limits_of_the_queue():
    desk, work = make(workers=8, max_waiting=4), Work()
    tasks = [asyncio.create_task(desk.run(str(number), work, is_large=True)) for number in range(6)]
    await wait_until_async(lambda: len(work.begun) == 2 and desk.waiting == 4)
    with pytest.raises(BusyError, match="4 requests are waiting here, which is the limit"):
        await asyncio.wait_for(desk.run("another", work, is_large=True), PATIENCE)
    work.go_on.set()
    assert await desk.run("another", int, "7") == 7  # a small one is taken at once
    await asyncio.gather(*tasks)
