"""Progress of work in the background, for pages that wait for it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

from headroles.jobs import Job, Progress
from headroles.render.page.messages import render_progress
from headroles.server.gate.request_queue import LARGE_PROMPTS, RequestQueue

POLL_SECONDS = 0.25  # how often the page asks how far a job is


async def follow_job(start: Callable[[], Job], queue: RequestQueue, visitor: str, what: str) -> AsyncGenerator[str, None]:
    """Follows a job until it is done. A caller that stops earlier leaves the job, and the last one to leave ends it.

    Args:
        start: Starts or joins the job; called only once there is room to wait for it.
        queue: Limits how many wait.
        visitor: Who waits.
        what: Names the work; the same for all who share it.

    Yields:
        The progress as HTML, with the time that is left.

    Raises:
        BusyError: As in `RequestQueue.loading`.
        HeadRolesError: What the job raises.
    """
    with queue.loading(visitor, what):
        job, started = start(), time.monotonic()
        try:
            while not job.is_done:
                yield render_progress(job.progress, time.monotonic() - started)
                await asyncio.sleep(POLL_SECONDS)
            job.result()
        finally:
            job.leave()  # others may still wait for it


async def work_with_progress(
    function: Callable[[Callable[[float], None]], object], queue: RequestQueue, visitor: str, what: str, cost: int
) -> AsyncGenerator[str, None]:
    """Runs work in one of a queue's workers. A caller that stops earlier ends the work at its next report.

    Args:
        function: The work; calls its argument with the share that is done, 0 to 1.
        queue: Runs it.
        visitor: Who asks for it.
        what: Names the work.
        cost: As how many prompts it counts.

    Yields:
        The progress as HTML.

    Raises:
        HeadRolesError: What the queue or the work raises.
    """
    job: Job[object] = Job(what)
    started = time.monotonic()
    task = asyncio.ensure_future(
        queue.run(visitor, function, lambda share: job.report(share, what), cost=cost, is_large=cost >= LARGE_PROMPTS)
    )
    try:
        while not task.done():
            yield render_progress(job.progress if job.progress.fraction else Progress(0.0, what), time.monotonic() - started)
            await asyncio.wait([task], timeout=POLL_SECONDS)
        task.result()
    finally:
        job.cancel()
        task.cancel()  # where it still waits for a worker
        with suppress(asyncio.CancelledError, Exception):
            await task
