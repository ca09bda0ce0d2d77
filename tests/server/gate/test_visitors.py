"""Whether a client still waits, and that a change of gradio that would hide it is noticed here."""

import asyncio
from types import SimpleNamespace

import pytest
from gradio.context import LocalContext
from gradio.queueing import Event, Queue

from headroles.errors import JobCancelledError
from headroles.server.gate.visitors import is_connected, visitor_of, while_connected


@pytest.fixture
def event():
    """The event under way, as gradio tells its handlers of it."""
    event = SimpleNamespace(alive=True)
    blocks = SimpleNamespace(_queue=SimpleNamespace(event_ids_to_events={"x": event}))
    tokens = LocalContext.blocks.set(blocks), LocalContext.event_id.set("x")  # type: ignore[arg-type]
    yield event
    LocalContext.blocks.reset(tokens[0])
    LocalContext.event_id.reset(tokens[1])


def test_who_hung_up_is_not_heard_and_where_there_is_no_event_somebody_is(event):
    assert is_connected()
    event.alive = False
    assert not is_connected()
    LocalContext.event_id.set("another")
    assert is_connected()


def test_an_ipv4_visitor_of_a_server_that_listens_in_ipv6_is_no_proxy():
    def asked(host: str, forwarded: str) -> str:
        headers = {"x-forwarded-for": forwarded}
        return visitor_of(SimpleNamespace(client=SimpleNamespace(host=host), headers=headers))  # type: ignore[arg-type]

    assert asked("::ffff:8.8.8.8", "1.1.1.1") == "8.8.8.8"
    assert asked("::ffff:10.0.0.1", "9.9.9.9, 1.1.1.1") == "1.1.1.1"


def test_gradio_keeps_where_we_look_what_tells_who_is_there():
    queue = Queue(live_updates=False, concurrency_count=1, update_intervals=1, max_size=None, blocks=SimpleNamespace())  # type: ignore[arg-type]
    assert queue.event_ids_to_events == {}
    assert "alive" in Event.__init__.__code__.co_names


def test_work_ends_when_its_client_goes_away(event):
    ended = []

    async def work() -> None:
        event.alive = False
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(JobCancelledError, match="The client went away"):
        asyncio.run(while_connected(work()))
    assert ended


def test_work_whose_client_waits_gives_what_it_gives(event):
    async def work() -> int:
        return 7

    assert asyncio.run(while_connected(work())) == 7
