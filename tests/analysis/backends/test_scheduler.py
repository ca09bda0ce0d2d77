"""The driver of many workers, against some that only count seconds: when all are done, who goes again, who is stopped."""

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence

import pytest

from analysis.backends.scheduler import NODE_DEATHS, Cause, Event, Task, TaskDied, TaskEnded, TaskStarted, run_tasks
from analysis.pipeline.runs import Outcome
from headroles.settings import GIGABYTE


class Simulated:
    """Workers with a clock of their own: each job takes the seconds that `seconds` says, and ends as `end` says."""

    largest = 8 * GIGABYTE

    def __init__(self, workers: int, seconds: Callable[[Task], float], end: Callable[[Task], Cause | None] = lambda task: None):
        self._free, self._seconds, self._end = workers, seconds, end
        self._clock = 0.0
        self._queue: deque[Task] = deque()
        self._ends: list[tuple[float, int, Task]] = []
        self.begun: list[Task] = []
        self.cancelled: list[Task] = []

    def now(self) -> float:
        return self._clock

    def start(self, task: Task) -> None:
        self._queue.append(task)

    def cancel(self, task: Task) -> None:
        self.cancelled.append(task)
        if task in self._queue:
            self._queue.remove(task)
            return
        self._ends = [end for end in self._ends if end[2] != task]
        heapq.heapify(self._ends)
        self._free += 1

    def wait(self, seconds: float | None) -> Sequence[Event]:
        events: list[Event] = []
        while self._queue and self._free:
            task = self._queue.popleft()
            self._free -= 1
            self.begun.append(task)
            heapq.heappush(self._ends, (self._clock + self._seconds(task), len(self.begun), task))
            events.append(TaskStarted(task))
        if events:
            return events
        until = self._ends[0][0] if self._ends else float("inf")
        if seconds is not None and self._clock + seconds < until:
            self._clock += seconds
            return []
        assert self._ends, "the driver waits for nothing"
        self._clock, _, task = heapq.heappop(self._ends)
        self._free += 1
        cause = self._end(task)
        return [TaskDied(task, cause) if cause else TaskEnded(task, Outcome(task.name, "written", 1.0))]


def tasks(count: int, memory: int = GIGABYTE) -> list[Task]:
    return [Task(f"org/m{number}", f"org/m{number}", memory) for number in range(count)]


def models_of_a_hub(seed: int, guess: float) -> tuple[list[Task], dict[str, float]]:
    """200 models of sizes as a hub has them, and their seconds; `guess` is how far those are from what the size says."""
    chance = random.Random(seed)
    sizes = [chance.lognormvariate(0, 1.5) for _ in range(200)]
    made = [Task(f"m{number}", f"m{number}", int(size * GIGABYTE)) for number, size in enumerate(sizes)]
    return made, {task.name: 60 * size * chance.uniform(1 / guess, guess) for task, size in zip(made, sizes)}


@pytest.mark.parametrize("workers", [1, 2, 3, 7, 16, 33, 64])
@pytest.mark.parametrize("guess", [1.0, 5.0])
def test_200_models_take_little_longer_than_they_must(workers, guess):
    for seed in range(5):
        models, seconds = models_of_a_hub(seed, guess)
        place = Simulated(workers, lambda task, seconds=seconds: seconds[task.name])
        names = [outcome.model for outcome in run_tasks(models, place)]
        assert sorted(names) == sorted(task.name for task in models)
        largest = max(seconds.values())
        bound = max(largest, sum(seconds.values()) / workers)
        assert bound * (1 - 1e-9) <= place.now() <= bound + largest
        if guess == 1.0:  # the largest first, and its size says how long it takes: Graham's bound for that order
            assert place.now() <= bound * (4 / 3)


def test_no_worker_stands_idle_while_a_model_waits():
    place = Simulated(64, lambda task: 1.0)
    assert len(list(run_tasks(tasks(640), place))) == 640
    assert place.now() == 10.0


def test_a_model_whose_node_dies_goes_again_and_at_last_no_more():
    place = Simulated(2, lambda task: 1.0, lambda task: "node" if task.name == "org/m0" or task.node_deaths < 1 else None)
    outcomes = {outcome.model: outcome for outcome in run_tasks(tasks(3), place)}
    assert [outcomes[f"org/m{number}"].status for number in range(3)] == ["failed", "written", "written"]
    assert [task.node_deaths for task in place.begun if task.name == "org/m0"] == list(range(NODE_DEATHS + 1))
    assert [task.node_deaths for task in place.begun if task.name == "org/m1"] == [0, 1]
    assert all(task.memory == GIGABYTE for task in place.begun)
    assert outcomes["org/m0"].reason == (
        "The node that analysed org/m0 died, like 3 before it; the model may be too large for them."
    )


@pytest.mark.parametrize("cause", ["memory", "process"])
def test_what_died_of_memory_asks_for_twice_as_much_once(cause):
    place = Simulated(1, lambda task: 1.0, lambda task: cause if task.memory < 2 * GIGABYTE else None)
    assert [outcome.status for outcome in run_tasks(tasks(1), place)] == ["written"]
    assert [task.memory for task in place.begun] == [GIGABYTE, 2 * GIGABYTE]
    place = Simulated(1, lambda task: 1.0, lambda task: cause)
    (outcome,) = run_tasks(tasks(1), place)
    assert [task.memory for task in place.begun] == [GIGABYTE, 2 * GIGABYTE]
    assert outcome.status == "failed"
    assert outcome.reason.endswith(", with twice the memory too.")


def test_what_has_all_the_memory_of_the_largest_node_is_not_tried_again():
    place = Simulated(1, lambda task: 1.0, lambda task: "memory")
    (outcome,) = run_tasks(tasks(1, Simulated.largest), place)
    assert len(place.begun) == 1
    assert outcome.reason == ("The process of org/m0 needed more memory than there was; it had 8.0 GB, and no node has more.")


def test_who_hangs_is_stopped_at_the_limit_counted_from_when_it_began():
    place = Simulated(1, lambda task: {"org/m1": 1e9}.get(task.name, 9.0))
    outcomes = list(run_tasks(tasks(4), place, limit=10))  # the last begins long after ten seconds
    assert [(outcome.model, outcome.status) for outcome in outcomes] == [
        ("org/m0", "written"),
        ("org/m1", "failed"),
        ("org/m2", "written"),
        ("org/m3", "written"),
    ]
    assert outcomes[1].reason == "org/m1 was stopped: it took longer than the 10 seconds of --limit."
    assert outcomes[1].seconds == 10
    assert [task.name for task in place.cancelled] == ["org/m1"]


def test_what_ended_in_time_while_the_driver_was_busy_is_not_stopped():
    place = Simulated(2, lambda task: 9.0)
    outcomes = run_tasks(tasks(2), place, limit=10)
    first = next(outcomes)
    place._clock += 100  # as when it pushes a record for long
    assert [first.status, *(outcome.status for outcome in outcomes)] == ["written", "written"]


def test_whoever_stops_listening_stops_all_that_is_under_way_or_waits():
    place = Simulated(2, lambda task: float(task.name[-1]) + 1)
    outcomes = run_tasks(tasks(5), place)
    assert next(outcomes).model == "org/m0"
    outcomes.close()
    assert sorted(task.name for task in place.cancelled) == [f"org/m{number}" for number in range(1, 5)]


def test_an_error_of_the_workers_stops_all_and_is_raised():
    class Broken(Simulated):
        def wait(self, seconds: float | None) -> Sequence[Event]:
            raise KeyboardInterrupt

    place = Broken(2, lambda task: 1.0)
    with pytest.raises(KeyboardInterrupt):
        list(run_tasks(tasks(3), place))
    assert len(place.cancelled) == 3
