"""Waiting for work in the background, so that others need not."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator

from headroles.jobs import Job
from headroles.render.messages import render_progress

POLL_SECONDS = 0.25  # how often the page asks how far a job is


async def follow(job: Job) -> AsyncIterator[str]:
    """A job's progress as HTML until it is done, with the time that is left; raises what the job raises."""
    started = time.monotonic()
    while not job.is_done:
        yield render_progress(job.progress, time.monotonic() - started)
        await asyncio.sleep(POLL_SECONDS)
    job.result()


@contextlib.contextmanager
def leaving(job: Job) -> Iterator[None]:
    """Takes one off who waits for the job if the wait is broken off; the last one to leave ends it."""
    try:
        yield
    except asyncio.CancelledError:
        job.leave()
        raise
