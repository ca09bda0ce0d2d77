"""The models in memory: who waits for whom, what is freed when, and that memory stays under the budget.

Fake models are held at a gate while they load, so what must not wait is shown by its getting past them, not by a clock.
"""

import ctypes
import gc
import random
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from torch import nn

from headroles.core.registry import EMBEDDED_MODEL, get_model_info
from headroles.errors import BusyError, JobCancelledError, ModelLoadError, ModelTooLargeError
from headroles.hub.repository import RepositoryFacts, inspect
from headroles.jobs import Job
from headroles.models.loading.loader import load_model
from headroles.models.model_pool import ModelPool, configure_malloc
from headroles.models.reading.pattern_reader import PatternReader
from tests.fixtures.architectures import build
from tests.fixtures.patience import NEVER, PATIENCE, wait_until

MB = 1024**2
# For what is no weight: 51 to 81 MB were seen, 23 of them the pages of the file that is being read, the rest its tensors before
# they are converted, activations, and gaps in the heap; 129 in a process that other tests had left at 1.8 GB, beside a busy
# machine. Where glibc keeps what is freed, it is 170 to 245 MB.
SLACK = 145 * MB
GROWTH = 25 * MB  # -2 to 7 were seen, and 40 to 44 with a leak of 0.6 MB a load, over the 70 loads between


class FakeReader:
    """What the pool touches of a reader; its one weight is gone once the pool has freed it."""

    def __init__(self, name: str, memory_bytes: int) -> None:
        model = nn.Linear(1, 1, bias=False)
        self.loaded = SimpleNamespace(name=name, memory_bytes=memory_bytes, model=model, close=lambda: None)

    @property
    def is_freed(self) -> bool:
        return self.loaded.model.weight.numel() == 0


class Gate:
    """Where somebody arrives, and waits until it is opened."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, job: Job | None = None) -> None:
        self.reached.set()

        def is_open() -> bool:
            if job is not None:
                job.report(0.5, "at the gate")
            return self.opened.is_set()

        wait_until(is_open, "nobody opened the gate")


class World:
    """Models of a name and a size in megabytes, that load at once unless there is a gate or an error for them."""

    def __init__(self, **megabytes: int) -> None:
        self.sizes = {name: size * MB for name, size in megabytes.items()}
        self.measured = dict(self.sizes)
        self.gates: list[Gate] = []
        self.load_gates: dict[str, Gate] = {}
        self.errors: dict[str, Exception] = {}
        self.loads: list[str] = []
        self.readers: list[weakref.ref[FakeReader]] = []
        self.pools: list[ModelPool] = []
        self.threads = ThreadPoolExecutor(16)

    def pool(self, megabytes: int, wait_seconds: float = PATIENCE, pinned: tuple[str, ...] = ()) -> ModelPool:
        load: Any = self.load  # of a FakeReader
        self.pools.append(ModelPool(megabytes * MB, pinned, self.inspect, load=load, wait_seconds=wait_seconds))
        return self.pools[-1]

    def gate(self, load_of: str = "") -> Gate:
        """A gate to be used somewhere, or one that all loads of a model pass."""
        self.gates.append(Gate())
        if load_of:
            self.load_gates[load_of] = self.gates[-1]
        return self.gates[-1]

    def inspect(self, source: str | Path) -> RepositoryFacts:
        return RepositoryFacts(str(source), "gpt2", self.sizes[str(source)] // 4, 0, path=Path(source))

    def load(self, name: str, facts: RepositoryFacts, job: Job) -> FakeReader:
        self.loads.append(name)
        if name in self.load_gates:
            self.load_gates[name](job)
        if name in self.errors:
            raise self.errors[name]
        reader = FakeReader(name, self.measured[name])
        self.readers.append(weakref.ref(reader))
        return reader

    def in_use(self) -> int:
        """Bytes of all readers that exist with their weights."""
        readers = [reference() for reference in list(self.readers)]
        return sum(reader.loaded.memory_bytes for reader in readers if reader is not None and not reader.is_freed)

    def end(self) -> None:
        """Opens all gates, and checks that nothing is left but the models that are loaded."""
        for gate in self.gates:
            gate.opened.set()
        self.threads.shutdown()
        for thread in threading.enumerate():
            if thread.name.startswith("job "):
                thread.join(PATIENCE)
                assert not thread.is_alive()
        gc.collect()
        for pool in self.pools:
            assert pool._held == set(pool._current.values())
            assert [entry.users for entry in pool._held] == [0] * len(pool.loaded)
            assert pool.used_bytes == sum(self.measured[name] for name in pool.loaded)
        alive = [reader.loaded.name for reference in self.readers if (reader := reference()) is not None]
        assert sorted(alive) == sorted(name for pool in self.pools for name in pool.loaded)


@pytest.fixture
def world():
    """A small model to be pinned, and others beside it; at the end nothing may have leaked."""
    world = World(embedded=10, a=20, b=20, c=20, d=20, slow=20, slower=20, failing=20, huge=1000)
    yield world
    world.end()


def name_of(reader: Any) -> str:
    assert not reader.is_freed
    return reader.loaded.name


def use(pool: ModelPool, name: str, work: Callable = name_of) -> str:
    return pool.use(name, name, work)


def test_a_model_is_loaded_once_for_all_who_want_it(world):
    pool, gate = world.pool(100), world.gate(load_of="a")
    wanted = [world.threads.submit(use, pool, "a") for _ in range(8)]
    assert gate.reached.wait(PATIENCE)
    assert "a" not in pool.loaded
    job = pool.prepare("a", "a")
    gate.opened.set()
    assert [future.result(PATIENCE) for future in wanted] == ["a"] * 8
    assert job.result(PATIENCE) is None
    assert world.loads == ["a"]
    assert pool.prepare("a", "a").is_done
    assert "a" in pool.loaded


def test_nobody_waits_for_a_slow_a_failing_or_a_huge_model(world):
    pool = world.pool(100, pinned=("embedded",))
    use(pool, "embedded")
    use(pool, "a")
    slow, slower = world.gate(load_of="slow"), world.gate(load_of="slower")
    world.errors["failing"] = ModelLoadError("failing could not be loaded: its weights file is broken.")
    waiting = [world.threads.submit(use, pool, name) for name in ("slow", "slower", "slow")]
    assert slow.reached.wait(PATIENCE)
    assert slower.reached.wait(PATIENCE)  # two loads are under way at the same time
    for name in ("embedded", "a", "b", "embedded"):  # those in memory, and one that has to be loaded
        assert world.threads.submit(use, pool, name).result(PATIENCE) == name
    for name, error in (("failing", ModelLoadError), ("huge", ModelTooLargeError)):
        with pytest.raises(error):
            world.threads.submit(use, pool, name).result(PATIENCE)
    assert not any(future.done() for future in waiting)
    slow.opened.set()
    slower.opened.set()
    assert [future.result(PATIENCE) for future in waiting] == ["slow", "slower", "slow"]


def test_a_failing_load_says_its_sentence_to_all_leaves_nothing_and_can_be_tried_again(world):
    pool, gate = world.pool(100), world.gate(load_of="failing")
    use(pool, "a")
    before = pool.used_bytes
    world.errors["failing"] = ModelLoadError("The download of failing broke off: no network. Try again.")
    job = pool.prepare("failing", "failing")
    waiting = [world.threads.submit(use, pool, "failing") for _ in range(4)]
    assert gate.reached.wait(PATIENCE)
    wait_until(lambda: pool._current["failing"].users == 5)
    assert pool.used_bytes == before + 20 * MB
    gate.opened.set()
    for future in waiting:
        with pytest.raises(ModelLoadError, match="no network. Try again"):
            future.result(PATIENCE)
    with pytest.raises(ModelLoadError, match="no network. Try again"):
        job.result(PATIENCE)
    assert pool.used_bytes == before
    assert pool.loaded == ("a",)
    del world.errors["failing"]
    assert use(pool, "failing") == "failing"


def test_a_failed_load_keeps_nothing_it_built_even_while_somebody_keeps_the_error(world):
    built: list[weakref.ref] = []

    def fail_late(name: str, facts: RepositoryFacts, job: Job) -> Any:
        half_built = FakeReader(name, 1)
        built.append(weakref.ref(half_built))
        try:
            raise KeyError("its cause")
        except KeyError as error:
            raise ModelLoadError("no pattern") from error

    pool = ModelPool(100 * MB, inspect=world.inspect, load=fail_late)
    with pytest.raises(ModelLoadError) as kept:
        use(pool, "a")
    assert str(kept.value) == "no pattern"
    assert built[0]() is None
    assert pool.used_bytes == 0


def test_a_huge_model_is_refused_before_it_is_fetched_or_anything_goes_for_it(world):
    def refuse(*_: object) -> RepositoryFacts:
        raise AssertionError("was downloaded")

    pool = world.pool(100, pinned=("embedded",))
    use(pool, "embedded")
    use(pool, "a")
    pool._fetch = refuse
    with pytest.raises(ModelTooLargeError, match=r"huge has 262 million parameters.* 1\.0 GB .*at most 0\.1 GB"):
        use(pool, "huge")
    assert pool.loaded == ("embedded", "a")
    assert world.loads == ["embedded", "a"]


def test_what_the_pinned_models_take_is_no_room_for_others(world):
    world.sizes["large"] = world.measured["large"] = 95 * MB
    pool = world.pool(100, pinned=("embedded",))
    assert use(pool, "large") == "large"
    use(pool, "embedded")
    with pytest.raises(ModelTooLargeError):
        use(pool, "large")


def test_the_least_recently_used_model_goes_first_and_frees_its_weights(world):
    pool, kept = world.pool(60), []
    for name in ("a", "b", "c", "a"):
        use(pool, name, kept.append)
    assert pool.loaded == ("b", "c", "a")
    use(pool, "d")
    assert pool.loaded == ("c", "a", "d")
    use(pool, "b")
    assert pool.loaded == ("a", "d", "b")
    assert [reader.is_freed for reader in kept] == [False, True, True, False]


def test_a_model_in_use_goes_only_when_no_idle_one_is_left(world):
    pool, gate = world.pool(40), world.gate()
    using = world.threads.submit(use, pool, "a", lambda reader: (gate(), name_of(reader)))
    assert gate.reached.wait(PATIENCE)
    use(pool, "b")  # used later than a, but idle
    use(pool, "c")
    assert set(pool.loaded) == {"a", "c"}
    gate.opened.set()
    using.result(PATIENCE)


def test_the_pinned_model_stays_even_when_it_fills_most_of_the_budget(world):
    world.sizes["embedded"] = world.measured["embedded"] = 75 * MB
    pool = world.pool(100, pinned=("embedded",))
    use(pool, "embedded")
    for name in ("a", "b", "c", "d", "a"):
        assert use(pool, name) == name
        assert pool.loaded == ("embedded", name)
    assert world.loads.count("embedded") == 1


def test_an_evicted_model_finishes_its_requests_and_counts_until_then(world):
    pool, gate = world.pool(30), world.gate()
    using = world.threads.submit(use, pool, "a", lambda reader: (gate(), name_of(reader))[1])
    assert gate.reached.wait(PATIENCE)
    load = pool.prepare("b", "b")
    wait_until(lambda: pool.loaded == ())
    assert load.progress.note == "waiting for memory"
    assert pool.used_bytes == 20 * MB
    assert world.loads == ["a"]
    gate.opened.set()
    assert using.result(PATIENCE) == "a"
    load.result(PATIENCE)
    assert pool.loaded == ("b",)
    assert use(pool, "a") == "a"
    assert world.loads == ["a", "b", "a"]


def test_a_load_that_finds_all_memory_in_use_for_too_long_gives_up_and_takes_nothing_away(world):
    pool, gate = world.pool(30, wait_seconds=0), world.gate()
    using = world.threads.submit(use, pool, "a", lambda reader: (gate(), name_of(reader))[1])
    assert gate.reached.wait(PATIENCE)
    with pytest.raises(BusyError, match="fill this machine's memory; try again in a minute"):
        use(pool, "b")
    assert pool.loaded == ("a",)
    assert use(pool, "a") == "a"
    gate.opened.set()
    assert using.result(PATIENCE) == "a"
    assert use(pool, "b") == "b"


def test_a_load_gives_up_in_time_however_busy_the_other_models_are(world):
    pool, gate, over = world.pool(50, wait_seconds=0.2, pinned=("embedded",)), world.gate(), threading.Event()

    def keep_busy() -> None:
        while not over.is_set():
            use(pool, "embedded")

    holding = [world.threads.submit(use, pool, name, lambda _: gate()) for name in ("a", "b")]
    busy = world.threads.submit(keep_busy)
    wait_until(lambda: world.loads.count("a") == world.loads.count("b") == 1)
    try:
        with pytest.raises(BusyError):
            world.threads.submit(use, pool, "c").result(PATIENCE)
    finally:
        over.set()
        gate.opened.set()
    for future in (*holding, busy):
        future.result(PATIENCE)


def test_a_load_that_waits_takes_away_no_more_than_it_needs(world):
    pool, first, second, looks = world.pool(50), world.gate(), world.gate(), []
    evict = pool._evict
    pool._evict = lambda excess: (looks.append(excess), evict(excess))[1]
    using = []
    for name, gate in (("a", first), ("b", second)):
        using.append(world.threads.submit(use, pool, name, lambda _, gate=gate: gate()))
        assert gate.reached.wait(PATIENCE)
    load = pool.prepare("c", "c")
    wait_until(lambda: len(looks) > 3)
    assert pool.loaded == ("b",)
    first.opened.set()
    load.result(PATIENCE)
    second.opened.set()
    for future in using:
        future.result(PATIENCE)
    assert set(pool.loaded) == {"b", "c"}


def test_a_load_can_be_stopped_while_it_waits_for_memory(world):
    pool, gate = world.pool(30), world.gate()
    using = world.threads.submit(use, pool, "a", lambda _: gate())
    assert gate.reached.wait(PATIENCE)
    load = pool.prepare("b", "b")
    wait_until(lambda: load.progress.note == "waiting for memory")
    load.leave()
    with pytest.raises(JobCancelledError):
        load.result(PATIENCE)
    gate.opened.set()
    using.result(PATIENCE)
    assert world.loads == ["a"]


def test_a_visitor_who_leaves_does_not_stop_the_load_others_wait_for(world):
    pool, gate = world.pool(100), world.gate(load_of="slow")
    leaving = pool.prepare("slow", "slow")
    staying = world.threads.submit(use, pool, "slow")
    assert gate.reached.wait(PATIENCE)
    wait_until(lambda: pool._current["slow"].users == 2)
    leaving.leave()
    assert pool.prepare("slow", "slow") is leaving
    leaving.leave()
    gate.opened.set()
    assert staying.result(PATIENCE) == "slow"


def test_whoever_asks_for_a_model_whose_load_was_stopped_gets_a_load_of_their_own(world):
    pool, hanging = world.pool(100), world.gate()
    world.load, load = (lambda name, facts, job: (hanging(), load(name, facts, job))[1]), world.load
    pool._load = world.load
    stopped = pool.prepare("a", "a")  # in a piece of work that never reports
    assert hanging.reached.wait(PATIENCE)
    stopped.leave()
    pool._load = load
    assert use(pool, "a") == "a"
    assert pool.used_bytes == 40 * MB  # the old load still takes its memory
    hanging.opened.set()
    assert stopped.result(PATIENCE) is None
    wait_until(lambda: pool.used_bytes == 20 * MB)


def test_a_model_counts_as_it_measures_once_it_is_loaded(world):
    pool = world.pool(60)
    world.measured["a"] = 12 * MB
    use(pool, "a")
    assert pool.used_bytes == 12 * MB
    use(pool, "b")
    world.measured["c"] = 30 * MB  # more than its files said: another has to go
    use(pool, "c")
    assert pool.loaded == ("b", "c")
    assert pool.used_bytes == 50 * MB


def test_the_weights_of_an_evicted_model_are_freed_while_the_error_of_a_request_is_kept(world):
    pool, readers = world.pool(30), []

    def break_down(reader: FakeReader) -> str:
        readers.append(weakref.ref(reader))
        raise ValueError(reader.loaded.name)

    with pytest.raises(ValueError, match="a") as kept:
        use(pool, "a", break_down)
    assert not readers[0]().is_freed
    use(pool, "b")
    assert readers[0]().is_freed
    del kept


def test_who_keeps_the_job_of_a_load_does_not_keep_the_model(world):
    pool = world.pool(30)
    job = pool.prepare("a", "a")
    job.result(PATIENCE)
    use(pool, "b")
    gc.collect()
    assert world.readers[0]() is None
    assert job.is_done


def test_a_thread_that_cannot_start_leaves_no_trace(world, monkeypatch):
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = world.pool(30)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            use(pool, "a")
    assert use(pool, "a") == "a"


def test_everybody_gets_their_model_though_all_want_the_memory_of_one(world):
    pool = world.pool(30, wait_seconds=NEVER)

    def visit(number: int) -> list[str]:
        return [use(pool, "abcd"[(number + turn) % 4]) for turn in range(25)]

    visits = list(world.threads.map(visit, range(8)))
    assert visits == [["abcd"[(number + turn) % 4] for turn in range(25)] for number in range(8)]


@pytest.mark.parametrize("seed", range(5))
def test_memory_stays_under_the_budget_whatever_happens_at_once(world, seed):
    budget, names = 70 * MB, ["embedded", "a", "b", "c", "d", "small", "failing", "huge"]
    world.sizes["small"] = world.measured["small"] = 4 * MB
    world.measured["d"] = 16 * MB
    pool = world.pool(70, pinned=("embedded",), wait_seconds=NEVER)
    chance, load, failed = random.Random(seed), world.load, []

    def check() -> None:
        assert world.in_use() <= budget
        assert pool.used_bytes <= budget

    def unreliable_load(name: str, facts: RepositoryFacts, job: Job) -> FakeReader:
        check()
        time.sleep(chance.random() / 500)
        job.report(0.5, "half")
        if name == "failing" or chance.random() < 0.1:
            raise ModelLoadError(f"{name} is broken")
        return load(name, facts, job)

    def work(reader: FakeReader) -> str:
        check()
        time.sleep(chance.random() / 500)
        return name_of(reader)

    def visit(visitor: random.Random) -> int:
        answers = 0
        for _ in range(60):
            name = visitor.choice(names)
            try:
                if visitor.random() < 0.2:
                    pool.prepare(name, name).leave()
                else:
                    assert use(pool, name, work) == name
                    answers += 1
            except ModelLoadError as error:
                failed.append((name, isinstance(error, ModelTooLargeError)))
            check()
        return answers

    pool._load = unreliable_load
    assert sum(world.threads.map(visit, [random.Random(f"{seed} {number}") for number in range(8)])) > 100
    assert {("failing", False), ("huge", True)} < set(failed)
    assert all(too_large == (name == "huge") for name, too_large in failed)


@pytest.fixture
def folders(tiny, tmp_path) -> dict[str, Path]:
    """Four real models that take 45 MB each, published in half precision as most are."""
    found = {f"random-{seed}": tmp_path / str(seed) for seed in range(4)}
    for seed, folder in enumerate(found.values()):
        build("gpt2", seed, n_embd=640, n_layer=2, initializer_range=0.1).half().save_pretrained(folder)
        tiny.tokenizer.save_pretrained(folder)
    return found


@pytest.mark.thorough
def test_resident_memory_stays_under_the_budget_over_200_switches_of_real_models(tiny, folders):
    sources = {EMBEDDED_MODEL: get_model_info(EMBEDDED_MODEL).source, **folders}
    texts = [tuple(range(start, start + 24)) for start in (5, 500)]
    budget = tiny.memory_bytes + 2 * inspect(folders["random-0"]).memory_bytes + 2 * MB
    expected = {(name, ids): read_alone(name, sources[name], ids) for name in sources for ids in texts}
    configure_malloc()  # as the app does when it starts
    baseline, samples, loads = resident_at_rest(), [], []

    def load(name: str, facts: RepositoryFacts, job: Job) -> PatternReader:
        loads.append(name)
        return PatternReader(load_model(name, facts))  # without the trial that strangers' models have

    def switch(step: tuple[str, tuple[int, ...]]) -> None:
        name, ids = step
        patterns = pool.use(name, sources[name], lambda reader: reader.read(ids).patterns)
        samples.append(psutil.Process().memory_info().rss)
        assert torch.equal(patterns, expected[step])
        assert pool.used_bytes <= budget

    pool = ModelPool(budget, pinned=[EMBEDDED_MODEL], load=load)
    steps, at_rest = random_switches(list(sources), texts, 200), []
    with ThreadPoolExecutor(3) as threads:
        for start in range(0, len(steps), 40):
            list(threads.map(switch, steps[start : start + 40]))
            at_rest.append(resident_at_rest())
    assert len(loads) > 80
    assert loads.count(EMBEDDED_MODEL) == 1
    assert max(samples) - baseline <= budget + SLACK
    # the lower of the last two: what else this process has started may hold something for a moment
    assert min(at_rest[-2:]) - at_rest[0] <= GROWTH


def resident_at_rest() -> int:
    """Bytes of this process without garbage, and without what the heap only keeps for later: that varies by 60 MB."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    return psutil.Process().memory_info().rss


def random_switches(names: list[str], texts: list[tuple[int, ...]], count: int) -> list[tuple[str, tuple[int, ...]]]:
    """Each to another model than the one before."""
    chance, steps = random.Random(0), [(names[0], texts[0])]
    while len(steps) < count:
        steps.append((chance.choice([name for name in names if name != steps[-1][0]]), chance.choice(texts)))
    return steps


def read_alone(name: str, source: str | Path, ids: tuple[int, ...]) -> torch.Tensor:
    return PatternReader(load_model(name, source)).read(ids).patterns
