"""The typed API: each endpoint, its checks, and how it is published. With `ui`, one of two files that import gradio."""

import asyncio
import contextlib
import ipaddress
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, TypeVar

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.components.api_component import Api
from gradio.context import LocalContext

from headroles.core.comparison import compare_models, compare_prompts
from headroles.errors import HeadRolesError, InvalidInputError, JobCancelledError
from headroles.explorer import Explorer, check_batch
from headroles.jobs import Job
from headroles.render import plain, results
from headroles.render.api_help import render_api_help
from headroles.render.exports import KINDS, heatmap_file
from headroles.render.html import ASSETS
from headroles.render.messages import render_progress
from headroles.server import api
from headroles.server.limits import Desk

POLL_SECONDS = 0.25  # how often the page asks how far a job is, and an endpoint whether its client is still there
EXAMPLES = {"Python": "python.py", "JavaScript": "javascript.js", "curl": "shell.sh"}  # in assets/examples
EXAMPLE_URL = "http://127.0.0.1:7860"

R = TypeVar("R")


class Blocks(gr.Blocks):
    """gradio's Blocks, except for what a client may send to an endpoint.

    Too few values get the defaults, and None where there is none: gradio answers with an error without words, and writes the
    values to the log. What could be a file, an object or a list in a list, is refused in a sentence: gradio would look for it.
    """

    def validate_inputs(self, block_fn: BlockFunction, inputs: list[Any]) -> None:
        if all(isinstance(component, Api) for component in block_fn.inputs):
            inputs.extend(getattr(component, "value", None) for component in block_fn.inputs[len(inputs) :])
            if not all(_is_plain(value) for value in inputs):
                raise gr.Error("Send only texts, numbers, true, false, and lists of texts.", print_exception=False)
        super().validate_inputs(block_fn, inputs)


def add_api(explorer: Explorer, desk: Desk) -> None:
    """The public endpoints; every input is checked inside, since hints are not enforced.

    Their docstrings are what the page, gradio's own list and MCP tell of them.
    """

    async def models(request: gr.Request) -> results.ModelsResult:
        """The models that can be analysed, with how many tokens each reads, and the limits of this server."""
        return await desk.run(visitor_of(request), api.models_result, explorer.models(), explorer.settings, cost=0)

    async def categories(request: gr.Request, model: str) -> results.CategoriesResult:
        """Which head plays which role in a model, measured offline: the top heads of every role, all scores, all primary roles.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
        """
        return plain.categories_result(await asked(request, [model], explorer.categories, model))

    async def analyze(request: gr.Request, model: str, prompt: str, all_heads: bool = False) -> results.AnalysisResult:
        """Which attention heads of a model do which job on a text: every role with its top heads, applicable or not and why.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompt: The text, at most 256 tokens.
            all_heads: Whether to add every head of the model in every role.
        """
        api.checked_switch("all_heads", all_heads)
        return plain.analysis_result(await asked(request, [model], explorer.analyze, model, prompt), all_heads)

    async def analyze_batch(request: gr.Request, model: str, prompts: list[str]) -> results.BatchResult:
        """The same as analyze for several texts at once, in their order; far faster than one call a text.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompts: The texts, 1 to 64, each at most 256 tokens.
        """
        check_batch(prompts)
        analyses = await asked(request, [model], explorer.analyze_batch, model, prompts, cost=len(prompts))
        return plain.batch_result(model, analyses)

    async def compare(
        request: gr.Request, model: str, prompt: str, other_prompt: str = "", other_model: str = ""
    ) -> results.ComparisonResult:
        """What changes between two texts on one model, or between two models on one text; give one of the last two arguments.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompt: The text, at most 256 tokens.
            other_prompt: A second text for the same model.
            other_model: The name of a second model for the same text.
        """
        if bool(other_prompt) == bool(other_model):
            raise InvalidInputError("Give either other_prompt or other_model, one of the two.")
        if other_prompt:
            analyses = await asked(request, [model], explorer.analyze_batch, model, [prompt, other_prompt], cost=2)
            return plain.prompts_result(compare_prompts(*analyses))
        on_both = [model, other_model]
        analyses = await asked(request, on_both, lambda: [explorer.analyze(name, prompt) for name in on_both], cost=2)
        return plain.two_models_result(compare_models(*analyses))

    async def pattern(request: gr.Request, model: str, prompt: str, layer: int, head: int) -> results.PatternResult:
        """The attention of one head on a text, [query][key], with what the head does there in every role.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompt: The text, at most 256 tokens.
            layer: The head's layer, from 0.
            head: The head's number within the layer, from 0.
        """
        which = api.checked_head(layer, head)
        return plain.pattern_result(await asked(request, [model], explorer.view_head, model, prompt, which))

    async def heatmap(
        request: gr.Request, model: str, prompt: str, layer: int, head: int, role: str = "", format: str = "png"
    ) -> results.HeatmapResult:
        """A picture of one head's attention on a text, with the cells outlined that a role expects to be strong.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompt: The text, at most 256 tokens.
            layer: The head's layer, from 0.
            head: The head's number within the layer, from 0.
            role: The role whose cells are outlined, for instance induction; empty for what the head mainly does.
            format: png (the result holds it in base64) or svg (as text).
        """
        which, looked_for = api.checked_head(layer, head), api.checked_role(role)
        kind = api.checked_choice("format", format, KINDS)

        def draw() -> results.HeatmapResult:
            view = explorer.view_head(model, prompt, which, looked_for)
            file = heatmap_file(view, kind)
            return plain.heatmap_result(view, file.media_type, file.content)

        return await asked(request, [model], draw)

    async def asked(request: gr.Request, models: list[str], function: Callable[..., R], *args: object, cost: int = 1) -> R:
        """What a function gives once the models are loaded; the wait for a load takes no worker."""
        visitor = visitor_of(request)
        desk.charge(visitor, cost)
        for model in models:
            job = explorer.prepare(model)
            if not job.is_done:
                with desk.loading(), _leaving(job):
                    async for _ in follow(job):
                        pass
            job.result()
        return await desk.run(visitor, function, *args, cost=0)

    for endpoint in (models, categories, analyze, analyze_batch, compare, pattern, heatmap):
        _publish(endpoint)


def visitor_of(request: gr.Request | None) -> str:
    """Who asks, as far as the limits must know: the address that the request came from, for IPv6 its network of one household.

    Behind a proxy, and only there, that is the last public address of X-Forwarded-For: what the proxies themselves wrote; what
    stands before it, a client may have made up. A proxy is known by its private address, as those of a Space have one. Where none
    is to be found, all share one limit.
    """
    client = getattr(request, "client", None)
    forwarded = (getattr(request, "headers", None) or {}).get("x-forwarded-for", "")
    address = None
    # from the nearest to the farthest, for as long as they are our own proxies
    for text in (str(getattr(client, "host", "")), *reversed(str(forwarded).split(","))):
        try:
            address = ipaddress.ip_address(text.strip())
        except ValueError:
            break
        if address.is_global:
            break
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address or "unknown")


async def follow(job: Job) -> AsyncIterator[str]:
    """A job's progress as HTML until it is done, with the time that is left; raises what the job raises."""
    started = time.monotonic()
    while not job.is_done:
        yield render_progress(job.progress, time.monotonic() - started)
        await asyncio.sleep(POLL_SECONDS)
    job.result()


def _publish(endpoint: Callable[..., Coroutine[Any, Any, object]]) -> None:
    @wraps(endpoint)
    async def checked(*args: object, **kwargs: object) -> object:
        try:
            return await _while_listened_to(endpoint(*args, **kwargs))
        except HeadRolesError as error:
            raise gr.Error(str(error), print_exception=False) from None

    # no limit of gradio's own: its queue says nothing to those who wait, the desk does
    gr.api(checked, api_name=endpoint.__name__, concurrency_limit=None)  # pyright: ignore[reportPrivateImportUsage]


def _is_plain(value: object) -> bool:
    """Whether it is a single value or a list of single ones."""
    return not any(isinstance(item, dict | list) for item in (value if isinstance(value, list) else [value]))


async def _while_listened_to(work: Coroutine[Any, Any, R]) -> R:
    """What the work gives; cancels it when the client went away, so that its place is free for others."""
    task = asyncio.create_task(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=POLL_SECONDS)
            if not _is_heard():
                raise JobCancelledError("The client went away.")
        return task.result()
    finally:
        task.cancel()
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody else looks at it any more


def _is_heard() -> bool:
    """Whether somebody still waits for the event under way. gradio marks the event, but has no public way to ask."""
    blocks, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    queue = getattr(blocks, "_queue", None)
    event = getattr(queue, "event_ids_to_events", {}).get(event_id)
    return getattr(event, "alive", True)


@contextlib.contextmanager
def _leaving(job: Job) -> Iterator[None]:
    """Takes one off who waits for the job if the wait is broken off; the last one to leave ends it."""
    try:
        yield
    except asyncio.CancelledError:
        job.leave()
        raise


def example_text(file: str) -> str:
    """An example as the README has it, with EXAMPLE_URL as the address."""
    return (ASSETS / "examples" / file).read_text("utf-8")


# what the page and the README say of each endpoint; the tests hold it against the endpoints themselves
ENDPOINTS = (
    ("models", "", "every model, how many tokens it reads, and the limits of this server"),
    ("categories", "model", "which head plays which role, measured offline"),
    ("analyze", "model, prompt, all_heads = false", "every role with its top heads on this text"),
    ("analyze_batch", "model, prompts", "the same for up to 64 texts at once"),
    ("compare", 'model, prompt, other_prompt = "", other_model = ""', "what changes between two texts or two models"),
    ("pattern", "model, prompt, layer, head", "the attention of one head, and what it does"),
    ("heatmap", 'model, prompt, layer, head, role = "", format = "png"', "a picture of it, PNG or SVG"),
)
# `{url}` stands for the page's address
API_HELP: str = render_api_help(
    ENDPOINTS, {title: example_text(file).replace(EXAMPLE_URL, "{url}") for title, file in EXAMPLES.items()}
)
