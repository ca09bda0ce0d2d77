"""Work in the background that says how far it is, that several people can wait for, and that can be cancelled."""

import logging
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from headroles.errors import HeadRolesError, JobCancelledError

T = TypeVar("T")
POLL_SECONDS = 0.2  # how soon work that waits for its turn notices that it was cancelled


@dataclass(frozen=True)
class Progress:
    """How far work is: `fraction` 0 to 1, and in words what it is doing."""

    fraction: float
    note: str


class Job(Generic[T]):
    """One piece of work in a thread of its own; the work calls `report`, everyone else may look, wait, leave or cancel."""

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self._progress = Progress(0.0, "waiting for other work to end")
        self._waiting_for_it = 1  # who started it
        self._is_cancelled = False
        self._lock = threading.Lock()
        self._future: Future[T] = Future()

    @property
    def progress(self) -> Progress:
        return self._progress

    @property
    def is_done(self) -> bool:
        return self._future.done()

    def report(self, fraction: float, note: str) -> None:
        """Called by the work. Raises JobCancelledError once the job is cancelled, which ends the work there."""
        if self._is_cancelled:
            raise JobCancelledError(f"{str(self.key)[:100]}: stopped on request.")
        self._progress = Progress(min(max(fraction, 0.0), 1.0), note)

    def join(self) -> bool:
        """Counts one more who waits for the job; False once it is cancelled, because then there is nothing to wait for."""
        with self._lock:
            self._waiting_for_it += not self._is_cancelled
            return not self._is_cancelled

    def leave(self) -> None:
        """For one who waits no longer; the last one to leave cancels the job."""
        with self._lock:
            self._waiting_for_it -= 1
            self._is_cancelled |= self._waiting_for_it <= 0

    def cancel(self) -> None:
        """Asks the work to end at its next report, whoever waits for it; nothing it did is kept. Too late once it is done."""
        with self._lock:
            self._is_cancelled = True

    def wait(self, timeout: float) -> None:
        """Until it is done, however it ends, or `timeout` seconds have passed."""
        wait([self._future], timeout)

    def result(self, timeout: float | None = None) -> T:
        """What the work gave. Raises what it raised, and concurrent.futures.TimeoutError if that takes over `timeout` seconds."""
        return self._future.result(timeout)


class Jobs(Generic[T]):
    """Runs at most `workers` jobs at once, the others wait; one job a key, shared by all who ask for it."""

    def __init__(self, workers: int) -> None:
        self._slots = threading.Semaphore(workers)
        self._running: dict[Hashable, Job[T]] = {}
        self._lock = threading.Lock()

    def start(self, key: Hashable, work: Callable[[Job[T]], T]) -> Job[T]:
        """Joins the job of that key that is under way and not cancelled, or makes a new one that does `work`."""
        with self._lock:
            running = self._running.get(key)
            if running is not None and running.join():
                return running
            job: Job[T] = Job(key)
            # a daemon: a download that hangs must not keep the process from ending
            threading.Thread(target=self._run, args=(job, work), daemon=True, name=f"job {key}").start()
            self._running[key] = job  # only once there is a thread that takes it off again
            return job

    def find(self, key: Hashable) -> Job[T] | None:
        """The job of that key, while it is under way."""
        with self._lock:
            return self._running.get(key)

    def _run(self, job: Job[T], work: Callable[[Job[T]], T]) -> None:
        try:
            while not self._slots.acquire(timeout=POLL_SECONDS):
                job.report(0.0, job.progress.note)
            try:
                result = work(job)
            finally:
                self._slots.release()
        except BaseException as error:
            if not isinstance(error, HeadRolesError):
                logging.getLogger(__name__).error("A bug in %s", job.key, exc_info=error)
            self._take_off(job)
            job._future.set_exception(error)
        else:
            self._take_off(job)
            job._future.set_result(result)

    def _take_off(self, job: Job[T]) -> None:
        """Before the job is done: who asks again after a failure gets a new try, not the old failure."""
        with self._lock:
            if self._running[job.key] is job:  # not one that followed it when it was cancelled
                del self._running[job.key]
