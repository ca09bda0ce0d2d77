"""Waiting for work in the background, so that others need not."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable

from headroles.jobs import Job
from headroles.render.messages import render_progress
from headroles.server.limits import Desk

POLL_SECONDS = 0.25  # how often the page asks how far a job is


async def follow(start: Callable[[], Job], desk: Desk, visitor: str, what: str) -> AsyncGenerator[str, None]:
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
