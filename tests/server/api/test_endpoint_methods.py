"""Each endpoint called as a method, without a server: what it gives, what it refuses, and what clients are told of it."""

import asyncio
import inspect
import threading

import gradio as gr
import pytest

from headroles.core.limits import MAX_BATCH_PROMPTS, MAX_PROMPT_TOKENS
from headroles.core.registry import EMBEDDED_MODEL
from headroles.errors import BusyError, HeadRolesError, InvalidInputError, JobCancelledError, UnknownModelError
from headroles.jobs import Job, Jobs
from headroles.render.api import schema
from headroles.server.api.api_help import ENDPOINTS
from headroles.server.api.endpoints import Endpoints
from headroles.server.api.publish import in_words
from headroles.server.gate.request_queue import RequestQueue
from headroles.settings import Settings
from tests.conftest import PLAIN, REPEATING
from tests.fixtures.patience import PATIENCE

pytestmark = pytest.mark.anyio
REQUEST = gr.Request(client={"host": "8.8.8.8"})


@pytest.fixture
def endpoints(explorer) -> Endpoints:
    return Endpoints(explorer, RequestQueue(Settings(prompts_a_minute=0)))


def test_those_that_are_published_are_those_that_the_page_tells_of(endpoints):
    assert [endpoint.__name__ for endpoint in endpoints.all()] == [name for name, _, _ in ENDPOINTS]
    for endpoint, (_, arguments, _) in zip(endpoints.all(), ENDPOINTS):
        _, *parameters = inspect.signature(endpoint).parameters
        assert parameters == [argument.split(" = ")[0] for argument in arguments.split(", ") if argument]


async def test_each_gives_what_the_explorer_says_in_plain_values(endpoints, explorer):
    analysis = explorer.analyze(EMBEDDED_MODEL, PLAIN)
    both = explorer.analyze_batch(EMBEDDED_MODEL, [PLAIN, REPEATING])
    assert await endpoints.categories(REQUEST, EMBEDDED_MODEL) == schema.categories_result(explorer.categories(EMBEDDED_MODEL))
    assert await endpoints.analyze_batch(REQUEST, EMBEDDED_MODEL, [PLAIN, REPEATING]) == schema.batch_result(EMBEDDED_MODEL, both)
    everything = await endpoints.analyze_batch(REQUEST, EMBEDDED_MODEL, [PLAIN], all_heads=True)
    assert [len(each.heads) for each in everything.analyses] == [analysis.num_layers * analysis.num_heads]
    single = await endpoints.analyze(REQUEST, EMBEDDED_MODEL, PLAIN, all_heads=True)
    assert single == everything.analyses[0]
    assert (await endpoints.compare(REQUEST, EMBEDDED_MODEL, PLAIN, REPEATING)).kind == "prompts"
    assert (await endpoints.pattern(REQUEST, EMBEDDED_MODEL, PLAIN, 1, 2)).tokens == list(analysis.tokens)
    assert (await endpoints.heatmap(REQUEST, EMBEDDED_MODEL, PLAIN, 1, 2, format="svg")).data.startswith("<?xml")
    of_text, of_model = (
        await endpoints.figure(REQUEST, EMBEDDED_MODEL, PLAIN),
        await endpoints.figure(REQUEST, EMBEDDED_MODEL, sheet="model", format="svg"),
    )
    assert (of_text.media_type, of_text.encoding) == ("application/pdf", "base64")
    assert of_model.data.startswith("<?xml")
    assert len((await endpoints.models(REQUEST)).models) == len(explorer.models())


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda e: e.analyze(REQUEST, "gpt5", PLAIN), UnknownModelError),
        (lambda e: e.analyze(REQUEST, EMBEDDED_MODEL, PLAIN, all_heads="yes"), InvalidInputError),
        (lambda e: e.analyze_batch(REQUEST, EMBEDDED_MODEL, [PLAIN], all_heads=1), InvalidInputError),
        (lambda e: e.analyze_batch(REQUEST, EMBEDDED_MODEL, []), InvalidInputError),
        (lambda e: e.compare(REQUEST, EMBEDDED_MODEL, PLAIN), InvalidInputError),
        (lambda e: e.pattern(REQUEST, EMBEDDED_MODEL, PLAIN, -1, 0), InvalidInputError),
        (lambda e: e.heatmap(REQUEST, EMBEDDED_MODEL, PLAIN, 0, 0, format="gif"), InvalidInputError),
    ],
)
def test_what_is_wrong_is_refused_as_an_error_of_ours_and_as_gradios_where_it_is_published(endpoints, call, error):
    with pytest.raises(error) as caught:
        asyncio.run(call(endpoints))

    async def refuse() -> None:
        await call(endpoints)

    with pytest.raises(gr.Error) as told:
        asyncio.run(in_words(refuse)())
    assert told.value.message == str(caught.value)
    assert isinstance(caught.value, HeadRolesError)


def test_a_bug_stays_a_bug_where_it_is_published():
    async def broken() -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        asyncio.run(in_words(broken)())


async def test_a_batch_costs_as_many_prompts_as_it_has_and_a_comparison_two(explorer):
    desk = RequestQueue(Settings(prompts_a_minute=5), clock=lambda: 0.0)
    endpoints = Endpoints(explorer, desk)
    await endpoints.analyze_batch(REQUEST, EMBEDDED_MODEL, [PLAIN, REPEATING])
    await endpoints.compare(REQUEST, EMBEDDED_MODEL, PLAIN, REPEATING)
    await endpoints.models(REQUEST)
    await endpoints.analyze(REQUEST, EMBEDDED_MODEL, PLAIN)
    with pytest.raises(BusyError, match="5 prompts a minute"):
        await endpoints.analyze(REQUEST, EMBEDDED_MODEL, PLAIN)


def test_a_wait_for_a_model_that_is_broken_off_leaves_its_load(explorer, monkeypatch):
    jobs, begun, ended = Jobs(workers=1), threading.Event(), threading.Event()

    def load(job: Job) -> None:
        begun.set()
        try:
            while not ended.wait(0.01):
                job.report(0.5, "loading")
        except JobCancelledError:
            ended.set()
            raise

    monkeypatch.setattr(explorer, "has_loaded", lambda model: False)
    monkeypatch.setattr(explorer, "prepare", lambda model: jobs.start(model, load))

    async def hang_up() -> None:
        call = asyncio.create_task(Endpoints(explorer, RequestQueue()).analyze(REQUEST, EMBEDDED_MODEL, PLAIN))
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(hang_up())
    assert ended.wait(PATIENCE)


def test_limits_in_what_clients_are_told_are_those_that_hold(endpoints):
    for endpoint in endpoints.all():
        text = inspect.getdoc(endpoint) or ""
        assert "{" not in text
        assert ("prompt: The text" not in text) or f"prompt: The text, at most {MAX_PROMPT_TOKENS} tokens." in text
    told = f"prompts: The texts, 1 to {MAX_BATCH_PROMPTS}, each at most {MAX_PROMPT_TOKENS} tokens."
    assert told in (inspect.getdoc(endpoints.analyze_batch) or "")
