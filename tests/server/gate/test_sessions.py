"""gradio keeps nothing of those who have their answers; its inside is what `sessions` reaches for."""

import asyncio
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from gradio.blocks import Blocks as Original

from headroles.server.api.publish import GuardedBlocks, add_api
from headroles.server.gate.request_queue import RequestQueue
from headroles.server.gate.sessions import KEEP_SECONDS, MAX_SESSIONS, EmptySession, Sessions, keep_nothing
from tests.server.gate.test_request_queue import Clock

pytestmark = pytest.mark.anyio


@pytest.fixture
def blocks(explorer, monkeypatch) -> gr.Blocks:
    monkeypatch.setattr("headroles.server.gate.sessions.KEEP_SECONDS", KEEP_SECONDS)  # elsewhere it never strikes
    with GuardedBlocks(analytics_enabled=False) as app:
        add_api(explorer, RequestQueue(explorer.settings))
    return app.queue()


def test_gradios_inside_is_what_this_reaches_for(blocks):
    queue: Any = blocks._queue
    for name in ("event_ids_to_events", "pending_event_ids_session", "pending_messages_per_session", "clean_events"):
        assert hasattr(queue, name), name
    for name in ("ANALYTICS_MAX_EVENTS", "ANAYLTICS_CACHE_FREQUENCY"):
        assert isinstance(getattr(queue, name), int), name
    assert queue.pending_messages_per_session.max_size == 2000
    assert asyncio.iscoroutinefunction(Original.postprocess_data)
    app = SimpleNamespace(state_holder=None)
    keep_nothing(app, blocks)
    assert queue.pending_messages_per_session.max_size > MAX_SESSIONS
    assert isinstance(app.state_holder["a session"], EmptySession)
    assert "a session" not in app.state_holder


def sessions_of(blocks: gr.Blocks, clock: Clock, *names: str) -> Sessions:
    """Each with an answer that is ready and not delivered."""
    queue: Any = blocks._queue
    sessions = Sessions(blocks, clock)
    for name in names:
        queue.pending_messages_per_session[name] = asyncio.Queue()
        queue.pending_messages_per_session[name].put_nowait("an answer")
        queue.pending_event_ids_session[name] = {f"event of {name}"}
        sessions.add("a visitor", f"event of {name}", name)
    return sessions


async def test_an_answer_that_nobody_listens_for_goes_after_a_while_and_one_that_is_listened_for_stays(blocks):
    clock, queue = Clock(), blocks._queue
    sessions = sessions_of(blocks, clock, "heard", "unheard")
    assert sessions.outstanding("a visitor") == (2, 2)
    with sessions.listening("heard"):
        await sessions.sweep()
        clock.now += KEEP_SECONDS - 1
        await sessions.sweep()
        assert sessions.outstanding("a visitor") == (2, 1)
        clock.now += 1
        await sessions.sweep()
        assert sessions.outstanding("a visitor") == (1, 0)
        assert list(queue.pending_messages_per_session) == list(queue.pending_event_ids_session) == ["heard"]
    assert sessions.outstanding("another") == (0, 0)


async def test_an_event_that_comes_while_its_session_is_cleared_up_is_not_lost(blocks, monkeypatch):
    """Its page would wait for ever: gradio answers that there is no such session."""
    clock, queue = Clock(), blocks._queue
    sessions = sessions_of(blocks, clock, "busy", "idle")
    queue.pending_event_ids_session["idle"].clear()
    queue.pending_messages_per_session["idle"].get_nowait()
    cleared = []

    async def clean(session_hash: str) -> None:
        cleared.append(session_hash)
        queue.pending_event_ids_session[session_hash].add("another event")

    monkeypatch.setattr(queue, "clean_events", clean)
    await sessions.sweep()
    assert "idle" not in queue.pending_messages_per_session  # and nothing was waited for
    assert not cleared
    clock.now += KEEP_SECONDS
    await sessions.sweep()
    assert cleared == ["busy"]
    assert "another event" in queue.pending_event_ids_session["busy"]
    assert "busy" in queue.pending_messages_per_session


async def test_what_was_delivered_goes_at_once(blocks):
    queue: Any = blocks._queue
    sessions = sessions_of(blocks, Clock(), "a page")
    queue.pending_messages_per_session["a page"].get_nowait()
    queue.pending_event_ids_session["a page"].clear()
    await sessions.sweep()
    assert not queue.pending_messages_per_session
    assert not queue.pending_event_ids_session
    assert not sessions._events


def test_an_event_that_has_ended_is_still_known_by_its_session(blocks):
    sessions = sessions_of(blocks, Clock(), "a page")
    assert sessions.session_of("event of a page") == "a page"
    assert sessions.session_of("unknown") == "unknown"


def test_an_output_that_stays_as_it_is_is_not_built_anew(monkeypatch):
    with GuardedBlocks() as app:
        boxes = [gr.Textbox(), gr.Textbox(), gr.Button(visible=True)]
        gr.Button().click(lambda: None, None, boxes)
    built: list[object] = []
    original = gr.Textbox.__init__
    monkeypatch.setattr(
        gr.Textbox, "__init__", lambda self, *args, **kwargs: (built.append(self), original(self, *args, **kwargs))[1]
    )
    answer = {boxes[0]: "new", boxes[2]: gr.update(visible=False)}
    made = asyncio.run(app.postprocess_data(app.fns[0], answer, EmptySession(app)))
    assert made == ["new", gr.skip(), {"visible": False, "__type__": "update"}]
    assert built == []
    assert asyncio.run(app.postprocess_data(app.fns[0], {boxes[0]: gr.skip()}, EmptySession(app))) == [gr.skip()] * 3


@pytest.mark.parametrize(
    "value", [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, [{"url": "http://127.0.0.1"}], [["a"]]]
)
def test_what_could_be_a_file_is_refused_by_the_pages_own_handlers_too(value):
    with GuardedBlocks() as app:
        box = gr.Textbox()
        gr.Button().click(lambda text: text, box, box)
    with pytest.raises(gr.Error, match="Send only texts"):
        app.validate_inputs(app.fns[0], [value])
