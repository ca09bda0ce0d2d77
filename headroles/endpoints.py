"""The typed API: each endpoint, its checks, and how it is published. With `ui`, one of two files that import gradio."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial, wraps
from typing import ParamSpec, TypeVar

import gradio as gr
from anyio import CapacityLimiter, to_thread

from headroles.api import (
    AnalysisResult,
    ModelResult,
    PatternResult,
    analysis_result,
    model_result,
    pattern_result,
)
from headroles.attention import Head
from headroles.errors import HeadRolesError
from headroles.explorer import Explorer
from headroles.jobs import Job
from headroles.panel import render_progress

POLL_SECONDS = 0.25  # how often the page asks how far a job is
WORKERS = CapacityLimiter(8)  # requests that compute at once; those that wait for a load take no worker

P = ParamSpec("P")
R = TypeVar("R")


def add_api(explorer: Explorer) -> None:
    """The public endpoints; every input is checked inside, since hints are not enforced."""

    async def models() -> list[ModelResult]:
        """The models that can be analysed."""
        return [model_result(info) for info in explorer.models()]

    async def analyze(model: str, prompt: str) -> AnalysisResult:
        """Which heads of `model` do which job on `prompt`: every role with its top heads, applicable or not and why."""
        return analysis_result(await asked(model, explorer.analyze, model, prompt))

    async def pattern(model: str, prompt: str, layer: int, head: int) -> PatternResult:
        """The attention of one head on `prompt`, [query][key], with what it does there in every role."""
        return pattern_result(await asked(model, explorer.view_head, model, prompt, Head(layer, head)))

    async def asked(model: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What a function gives once the model is loaded; the wait takes no worker."""
        async for _ in follow(explorer.prepare(model)):
            pass
        return await in_thread(function, *args, **kwargs)

    def publish(name: str, function: Callable[P, Awaitable[R]]) -> None:
        @wraps(function)
        async def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return await function(*args, **kwargs)
            except HeadRolesError as error:
                raise gr.Error(str(error), print_exception=False) from None

        gr.api(checked, api_name=name, api_description=function.__doc__, concurrency_limit=None)  # pyright: ignore[reportPrivateImportUsage]

    publish("models", models)
    publish("analyze", analyze)
    publish("pattern", pattern)


async def follow(job: Job) -> AsyncIterator[str]:
    """A job's progress as HTML until it is done, with the time that is left; raises what the job raises."""
    started = time.monotonic()
    while not job.is_done:
        yield render_progress(job.progress, time.monotonic() - started)
        await asyncio.sleep(POLL_SECONDS)
    job.result()


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    return await to_thread.run_sync(partial(function, *args, **kwargs), limiter=WORKERS)
