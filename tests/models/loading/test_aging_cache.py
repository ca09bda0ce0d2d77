"""What is kept of what was read, and for how long."""

from headroles.models.loading.aging_cache import MAX_IDLE_SECONDS, AgingCache


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(max_bytes: int = 100) -> tuple[AgingCache[str], Clock]:
    clock = Clock()
    return AgingCache(max_bytes, len, clock), clock


def test_the_least_recently_used_goes_where_the_bytes_are_full():
    memory, _ = make(30)
    for key in "abc":
        memory.put(key, key * 10)
    assert memory.get("a")
    memory.put("d", "d" * 10)
    assert [memory.get(key) is not None for key in "abcd"] == [True, False, True, True]
    assert memory.used_bytes == 30


def test_what_is_too_large_for_all_the_bytes_is_not_kept_and_takes_the_old_value_with_it():
    memory, _ = make(30)
    memory.put("a", "a" * 10)
    memory.put("a", "a" * 31)
    assert memory.get("a") is None
    assert memory.used_bytes == 0


def test_what_nobody_asks_for_goes_down_to_a_sixteenth_the_longest_ago_first():
    memory, clock = make(100)
    for number in range(8):
        memory.put(number, "x" * 5)
        clock.now += 1
    clock.now += MAX_IDLE_SECONDS - 5  # the first half has not been asked for long enough
    assert memory.get(0)
    memory.evict_old()
    assert [number for number in range(8) if memory.get(number)] == [0, 4, 5, 6, 7]
    clock.now += MAX_IDLE_SECONDS
    memory.evict_old()
    assert memory.used_bytes == 5
    clock.now += 10 * MAX_IDLE_SECONDS
    memory.evict_old()
    assert memory.used_bytes == 5  # as little as that may stay


def test_it_ages_by_itself_once_more_is_kept_than_may_stay(monkeypatch):
    begun = []
    monkeypatch.setattr("threading.Timer.start", lambda timer: begun.append((timer.interval, timer.function, timer.daemon)))
    memory, clock = make(100)
    memory.put("a", "x" * 6)
    assert begun == []
    clock.now += 10
    memory.put("b", "x" * 6)
    memory.put("c", "x")
    assert begun == [(MAX_IDLE_SECONDS - 10, memory.evict_old, True)]  # when the oldest is due
    clock.now += MAX_IDLE_SECONDS - 10
    memory.evict_old()
    assert [key for key in "abc" if memory.get(key)] == ["b", "c"]
    assert begun[1:] == [(10, memory.evict_old, True)]
