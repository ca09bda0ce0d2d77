"""Background work: shared by key, cancelled by those who wait for it, and never left behind. Bounded by events, not by time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong

import pytest

from headroles.errors import JobCancelledError
from headroles.jobs import ABANDONED_A_WORKER, Job, Jobs, Progress
from tests.fixtures.patience import PATIENCE


class Work:
    """Work that says when it began and ends when it is let go."""

    def __init__(self, gives: object = None) -> None:
        self.gives = gives
        self.began, self.may_end = threading.Event(), threading.Event()

    def __call__(self, job: Job) -> object:
        self.began.set()
        while not self.may_end.wait(0.005):
            job.report(0.5, "working")
        if isinstance(self.gives, Exception):
            raise self.gives
        return self.gives


@pytest.fixture
def jobs():
    """With two workers; at its end no thread of any job may be left."""
    before = set(threading.enumerate())
    jobs = Jobs(workers=2)
    yield jobs
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
    assert set(threading.enumerate()) <= before
    assert jobs._running == {}


def test_one_job_a_key_is_shared_by_all_who_ask(jobs):
    work, other = Work(gives=[1]), Work()
    with ThreadPoolExecutor(8) as threads:
        started = list(threads.map(lambda _: jobs.start("a", work), range(8)))
    assert len(set(started)) == 1
    assert jobs.find("a") is started[0]
    assert jobs.start("b", other) is not started[0]
    work.may_end.set()
    other.may_end.set()
    with ThreadPoolExecutor(8) as threads:
        assert all(result is work.gives for result in threads.map(lambda job: job.result(PATIENCE), started))


def test_a_job_is_off_the_list_once_it_is_done_and_the_next_start_is_new_work(jobs):
    first = jobs.start("a", lambda _: 1)
    assert first.result(PATIENCE) == 1
    assert jobs.find("a") is None
    assert first.is_done
    assert jobs.start("a", lambda _: 2).result(PATIENCE) == 2


def test_a_failure_reaches_all_who_wait_and_the_next_start_tries_again(jobs):
    work = Work(gives=ValueError("broken"))
    waiting = [jobs.start("a", work) for _ in range(3)]
    with ThreadPoolExecutor(3) as threads:
        failures = [threads.submit(job.result, PATIENCE) for job in waiting]
        work.may_end.set()
        assert [str(failure.exception(PATIENCE)) for failure in failures] == ["broken"] * 3
    assert jobs.start("a", lambda _: "fine").result(PATIENCE) == "fine"


def test_whoever_sees_a_job_fail_can_start_anew_at_once(jobs):
    def fail(_: Job) -> None:
        raise ValueError("broken")

    for _ in range(100):
        failed = jobs.start("a", fail)
        with pytest.raises(ValueError, match="broken"):
            failed.result(PATIENCE)
        assert jobs.start("a", lambda _: 1).result(PATIENCE) == 1


def test_cancelled_work_ends_at_its_next_report(jobs):
    work = Work()
    job = jobs.start("gpt2", work)
    assert work.began.wait(PATIENCE)
    job.cancel()
    with pytest.raises(JobCancelledError, match="gpt2: stopped on request"):
        job.result(PATIENCE)


def test_a_job_that_waits_for_its_turn_can_be_cancelled_and_never_begins(jobs):
    busy, late = [Work(), Work()], Work()
    running = [jobs.start(number, work) for number, work in enumerate(busy)]
    assert all(work.began.wait(PATIENCE) for work in busy)
    waiting = jobs.start("late", late)
    assert waiting.progress == Progress(0.0, "waiting for other work to end")
    waiting.cancel()
    with pytest.raises(JobCancelledError):
        waiting.result(PATIENCE)
    assert not late.began.is_set()
    for job, work in zip(running, busy):
        work.may_end.set()
        job.result(PATIENCE)


def test_a_job_that_waits_is_cancelled_only_when_the_last_of_those_who_wait_leaves(jobs):
    work = Work()
    first, second = jobs.start("a", work), jobs.start("a", work)
    assert first.join()
    assert first is second
    first.leave()
    first.leave()
    first.report(0.7, "still wanted")
    first.leave()
    with pytest.raises(JobCancelledError):
        first.result(PATIENCE)


def test_nobody_joins_a_cancelled_job(jobs):
    stubborn, may_end = threading.Event(), threading.Event()

    def work(_: Job) -> str:
        stubborn.set()
        assert may_end.wait(PATIENCE)
        return "old"

    old = jobs.start("a", work)
    assert stubborn.wait(PATIENCE)
    old.leave()
    assert not old.join()
    new = jobs.start("a", lambda _: "new")
    assert new.result(PATIENCE) == "new"
    again = Work(gives="newest")
    newest = jobs.start("a", again)
    may_end.set()
    assert old.result(PATIENCE) == "old"  # it never reported, so nothing stopped it
    assert jobs.find("a") is newest  # and its end took nobody else's job off the list
    again.may_end.set()
    assert newest.result(PATIENCE) == "newest"


def test_a_job_cancelled_after_its_end_keeps_its_result(jobs):
    job = jobs.start("a", lambda _: 1)
    assert job.result(PATIENCE) == 1
    job.cancel()
    job.leave()
    assert job.result(PATIENCE) == 1


def test_progress_is_visible_and_stays_between_0_and_1(jobs):
    seen: list[Progress] = []

    def work(job: Job) -> None:
        for fraction in (-1.0, 0.25, 7.0):
            job.report(fraction, f"at {fraction}")
            seen.append(jobs.find("a").progress)

    jobs.start("a", work).result(PATIENCE)
    assert seen == [Progress(0.0, "at -1.0"), Progress(0.25, "at 0.25"), Progress(1.0, "at 7.0")]


def test_a_result_that_takes_too_long_is_not_waited_for(jobs):
    work = Work()
    job = jobs.start("a", work)
    with pytest.raises(TookTooLong):
        job.result(0.01)
    assert not job.is_done
    work.may_end.set()
    job.result(PATIENCE)


def test_no_more_jobs_run_at_once_than_there_are_workers_and_as_many_do(jobs):
    lock, pair = threading.Lock(), threading.Barrier(2, timeout=PATIENCE)
    running, most = 0, 0

    def work(_: Job) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        pair.wait()  # passes only when two are here together
        with lock:
            running -= 1

    for job in [jobs.start(key, work) for key in range(10)]:
        job.result(PATIENCE)
    assert most == 2


def test_even_an_exit_in_the_work_frees_its_slot_and_reaches_who_waits():
    jobs = Jobs(workers=1)

    def leave(_: Job) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        jobs.start("a", leave).result(PATIENCE)
    assert jobs.start("b", lambda _: 1).result(PATIENCE) == 1


def test_a_thread_that_cannot_start_leaves_no_job_that_never_ends(jobs, monkeypatch):
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            jobs.start("a", lambda _: 1)
    assert jobs.start("a", lambda _: 1).result(PATIENCE) == 1


def test_a_hanging_job_does_not_keep_the_process_alive(jobs):
    work = Work()
    job = jobs.start("a", work)
    thread = next(thread for thread in threading.enumerate() if thread.name == "job a")
    assert thread.daemon
    work.may_end.set()
    job.result(PATIENCE)


def test_jobs_that_wait_take_no_thread_and_one_that_is_left_before_it_began_is_dropped(jobs):
    busy, dropped = [Work(), Work()], []
    running = [jobs.start(number, work) for number, work in enumerate(busy)]
    before = threading.active_count()
    late = [jobs.start(f"late {number}", Work(), lambda number=number: dropped.append(number)) for number in range(50)]
    assert threading.active_count() == before
    for job in late:
        job.leave()
        with pytest.raises(JobCancelledError):
            job.result(0)
    assert dropped == list(range(50))
    for job, work in zip(running, busy):
        work.may_end.set()
        job.result(PATIENCE)


def test_work_that_hangs_gives_its_slot_back_once_nobody_waits_for_it_and_only_so_many_do():
    jobs, may_end = Jobs(workers=1), threading.Event()

    def hang(_: Job) -> None:
        assert may_end.wait(PATIENCE)

    for number in range(ABANDONED_A_WORKER):
        jobs.start(number, hang).leave()
        assert jobs.start(f"after {number}", lambda _: "begun").result(PATIENCE) == "begun"
    jobs.start("one too many", hang).leave()
    waiting = jobs.start("waits", lambda _: "begun")
    assert waiting.progress.note == "waiting for other work to end"
    assert not waiting.is_done
    may_end.set()
    assert waiting.result(PATIENCE) == "begun"
