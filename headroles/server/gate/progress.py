"""Waiting for work in the background, so that others need not."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

from headroles.jobs import Job, Progress
from headroles.render.page.messages import render_progress
from headroles.server.gate.request_queue import LARGE_PROMPTS, RequestQueue

POLL_SECONDS = 0.25  # how often the page asks how far a job is


async def follow_job(start: Callable[[], Job], desk: RequestQueue, visitor: str, what: str) -> AsyncGenerator[str, None]:
    """A job's progress as HTML until it is done, with the time that is left; raises what the job raises.

    Args:
        start: starts or joins the job; called only once there is a place to wait for it.
        what: names the work, the same for all who share it.

    Who breaks the wait off leaves the job, and the last one to leave ends it. Raises BusyError as `Desk.loading` does.
    """
    with desk.loading(visitor, what):
        job, started = start(), time.monotonic()
        try:
            while not job.is_done:
                yield render_progress(job.progress, time.monotonic() - started)
                await asyncio.sleep(POLL_SECONDS)
            job.result()
        finally:
            job.leave()  # others may still wait for it


async def work_with_progress(
    function: Callable[[Callable[[float], None]], object], desk: RequestQueue, visitor: str, what: str, cost: int
) -> AsyncGenerator[str, None]:
    """The progress of work that a desk's worker does, as HTML until it is done; raises what it raises.

    Args:
        function: does it, and calls what it gets with the share that is done.
        what: names the work.
        cost: how many prompts it is.

    Who breaks the wait off ends the work at its next report.
    """
    job: Job[object] = Job(what)
    started = time.monotonic()
    task = asyncio.ensure_future(
        desk.run(visitor, function, lambda share: job.report(share, what), cost=cost, is_large=cost >= LARGE_PROMPTS)
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
