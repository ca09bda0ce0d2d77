"""Work in the background that reports its progress, that several callers can wait for, and that can be cancelled."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from headroles.errors import HeadRolesError, JobCancelledError, panics_as_errors

T = TypeVar("T")
POLL_SECONDS = 0.2  # how soon work that waits for something notices that it was cancelled
ABANDONED_A_WORKER = 4  # how many cancelled jobs may still be ending beside those that have a slot


@dataclass(frozen=True)
class Progress:
    """The progress of work: `fraction` from 0 to 1, and what it is doing in words."""

    fraction: float
    note: str


class Job(Generic[T]):
    """One piece of work in a thread of its own; the work calls `report`, everyone else may look, wait, leave or cancel."""

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self._progress = Progress(0.0, "waiting for other work to end")
        self._waiters = 1  # the caller that started it
        self._is_cancelled = False
        self._lock = threading.Lock()
        self._future: Future[T] = Future()
        self._on_cancel: Callable[[Job[T]], None] = lambda _: None

    @property
    def progress(self) -> Progress:
        """What the work reported last."""
        return self._progress

    @property
    def is_done(self) -> bool:
        """Whether the work has ended, however it ended."""
        return self._future.done()

    def report(self, fraction: float, note: str) -> None:
        """Called by the work. Raises JobCancelledError once the job is cancelled, which ends the work there."""
        if self._is_cancelled:
            raise _stopped(self)
        self._progress = Progress(min(max(fraction, 0.0), 1.0), note)

    def join(self) -> bool:
        """Counts one more caller that waits; False once the job is cancelled, because then there is nothing to wait for."""
        with self._lock:
            self._waiters += not self._is_cancelled
            return not self._is_cancelled

    def leave(self) -> None:
        """Counts one caller less that waits; the last one to leave cancels the job."""
        with self._lock:
            self._waiters -= 1
            is_last = self._waiters <= 0
        if is_last:
            self.cancel()

    def cancel(self) -> None:
        """Ends the work at its next report, whoever waits for it, and keeps nothing of it; does nothing once it is done."""
        with self._lock:
            was_cancelled, self._is_cancelled = self._is_cancelled, True
        if not was_cancelled:
            self._on_cancel(self)

    def wait(self, timeout: float) -> None:
        """Waits until the job is done, or `timeout` seconds have passed."""
        wait([self._future], timeout)

    def result(self, timeout: float | None = None) -> T:
        """Waits for the result. Raises what the work raised, and concurrent.futures.TimeoutError after `timeout` seconds."""
        return self._future.result(timeout)


class Jobs(Generic[T]):
    """Runs at most `workers` jobs at once, one for each key; the others wait and take no thread.

    A cancelled job gives its slot to the next one at once, although its thread may hang until some timeout of its own. There are
    at most ABANDONED_A_WORKER such threads for each worker; past that a slot is free only when its thread is.
    """

    def __init__(self, workers: int) -> None:
        self._workers, self._most_abandoned = workers, ABANDONED_A_WORKER * workers
        self._running: dict[Hashable, Job[T]] = {}  # those that wait for a slot as well
        self._waiting: deque[_Waiting[T]] = deque()
        self._holding: set[Job[T]] = set()  # have a slot
        self._abandoned: set[Job[T]] = set()  # gave it back before their thread ended
        self._lock = threading.RLock()

    def start(self, key: Hashable, work: Callable[[Job[T]], T], dropped: Callable[[], None] = lambda: None) -> Job[T]:
        """Joins the job of a key that is under way, or starts a new one.

        Args:
            key: Names the job.
            work: What a new job does.
            dropped: Called instead of `work` if the job is cancelled before it has begun.

        Returns:
            The job, with one more caller that waits for it.
        """
        with self._lock:
            running = self._running.get(key)
            if running is not None and running.join():
                return running
            job: Job[T] = Job(key)
            job._on_cancel = self._on_cancelled
            if len(self._holding) < self._workers:
                self._begin(job, work)
            else:
                self._waiting.append(_Waiting(job, work, dropped))
            self._running[key] = job  # only once there is a thread that takes it off again, or will be
            return job

    def find(self, key: Hashable) -> Job[T] | None:
        """The job of that key, while it is under way."""
        with self._lock:
            return self._running.get(key)

    def _begin(self, job: Job[T], work: Callable[[Job[T]], T]) -> None:
        """Needs the lock."""
        self._holding.add(job)
        try:
            # a daemon: a download that hangs must not keep the process alive
            threading.Thread(target=self._run, args=(job, work), daemon=True, name=f"job {job.key}").start()
        except BaseException:
            self._holding.discard(job)
            raise

    def _run(self, job: Job[T], work: Callable[[Job[T]], T]) -> None:
        try:
            with panics_as_errors(str(job.key)[:100]):
                result = work(job)
        except BaseException as error:
            if not isinstance(error, HeadRolesError):
                logging.getLogger(__name__).error("A bug in %s", job.key, exc_info=error)
            self._end(job)
            job._future.set_exception(error)
        else:
            self._end(job)
            job._future.set_result(result)

    def _end(self, job: Job[T]) -> None:
        """Forgets a job before it is done: a caller that asks again after a failure gets a new try, not the old failure."""
        with self._lock:
            self._holding.discard(job)
            self._abandoned.discard(job)
            self._forget(job)
        self._begin_next()

    def _on_cancelled(self, job: Job[T]) -> None:
        """Takes a cancelled job off the queue, or frees its slot for another one."""
        with self._lock:
            waiting = next((waiting for waiting in self._waiting if waiting.job is job), None)
            if waiting is not None:
                self._waiting.remove(waiting)
                self._forget(job)
            elif job in self._holding and len(self._abandoned) < self._most_abandoned:
                self._holding.remove(job)
                self._abandoned.add(job)
        if waiting is not None:
            waiting.dropped()
            job._future.set_exception(_stopped(job))
        self._begin_next()

    def _begin_next(self) -> None:
        """Gives free slots to those who have waited longest."""
        while True:
            with self._lock:
                if not self._waiting or len(self._holding) >= self._workers:
                    return
                job, work, dropped = self._waiting.popleft()
                try:
                    self._begin(job, work)
                    continue
                except RuntimeError as error:  # the system gives no more threads
                    self._forget(job)
                    why = error
            dropped()
            job._future.set_exception(why)

    def _forget(self, job: Job[T]) -> None:
        """Needs the lock."""
        if self._running.get(job.key) is job:  # not one that followed it when it was cancelled
            del self._running[job.key]


class _Waiting(NamedTuple, Generic[T]):
    job: Job[T]
    work: Callable[[Job[T]], T]
    dropped: Callable[[], None]


def _stopped(job: Job) -> JobCancelledError:
    return JobCancelledError(f"{str(job.key)[:100]}: stopped on request.")
