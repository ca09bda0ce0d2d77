"""What gets past the door, over a real connection: the routes that are open, how much may be sent, and how it is refused."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from headroles.core.registry import EMBEDDED_MODEL
from headroles.explorer import Explorer
from headroles.server.gate.middleware import LEAST_OWED, MAX_BODY_BYTES, MAX_NAME, check_event, read_body
from headroles.server.gate.refusals import RefusedError
from headroles.server.gate.request_queue import RequestQueue
from headroles.settings import Settings
from tests.conftest import REPEATING
from tests.fixtures.api_server import serve_api
from tests.fixtures.patience import PATIENCE


@pytest.fixture(scope="module")
def url(explorer: Explorer) -> Iterator[str]:
    with serve_api(explorer, RequestQueue(Settings(prompts_a_minute=0, max_waiting=2))) as address:
        yield address


def status(url: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url + path, body, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize("path", ["/", "/?__theme=dark&embed=1", "/config", "/gradio_api/info", "/theme.css", "/robots.txt"])
def test_what_the_page_and_clients_need_is_open(url, path):
    assert status(url, path)[0] == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/gradio_api/upload", b"x"),
        ("/gradio_api/file=/etc/passwd", None),
        ("/gradio_api/proxy=http://127.0.0.1/", None),
        ("/gradio_api/component_server", b"{}"),
        ("/gradio_api/run/analyze", b"{}"),
        ("/gradio_api/api/analyze", b"{}"),
        ("/gradio_api/heartbeat/a", None),
        ("/gradio_api/deep_link?session_hash=a", None),
        ("/gradio_api/mcp/", None),
        ("/monitoring", None),
        ("/login", b"{}"),
        ("/config/../gradio_api/upload", None),
        ("//gradio_api/upload", b"x"),
    ],
)
def test_what_this_app_does_not_use_is_closed_and_tells_nothing(url, path, body):
    code, answer = status(url, path, body)
    assert (code, json.loads(answer)) == (404, {"detail": "There is nothing at this address."})


@pytest.mark.parametrize("path", ["/gradio_api/call/knock_out", "/gradio_api/call/v2/knock_out/"])
def test_a_call_of_an_old_name_is_told_the_new_one(url, path):
    code, answer = status(url, path, b'{"data": []}')
    assert (code, json.loads(answer)) == (404, {"detail": "The endpoint /knock_out is called /ablate now."})


def test_a_body_over_the_limit_is_refused_in_a_sentence(url):
    code, answer = status(url, "/gradio_api/call/analyze", b"x" * (2 * MAX_BODY_BYTES))
    assert (code, json.loads(answer)["detail"]) == (413, "A request may have 1,048,576 bytes at most.")


@pytest.mark.parametrize("name", ["session_hash", "event_id"])
@pytest.mark.parametrize("value", ["s" * (MAX_NAME + 1), 7, ["a"], {}])
def test_a_name_that_is_no_short_text_is_refused(url, name, value):
    body = json.dumps({"data": [], "fn_index": 0, "session_hash": "a", name: value}).encode()
    assert status(url, "/gradio_api/queue/join", body)[0] == 400


@pytest.mark.parametrize("body", [b"", b"x", b"7", b"[]", b"[" * 100_000, b"\xff"])
def test_what_is_no_object_is_no_event(body):
    with pytest.raises(RefusedError, match="Send a JSON object"):
        check_event(body)


def test_a_long_address_is_refused(url):
    assert status(url, "/gradio_api/queue/data?session_hash=" + "s" * 2000)[0] == 414
    assert status(url, "/gradio_api/queue/data?session_hash=" + "s" * (MAX_NAME + 1))[0] == 400


def test_answers_that_are_not_collected_count_against_who_asked_for_them_alone(explorer):
    body = json.dumps({"data": [EMBEDDED_MODEL, REPEATING, False]}).encode()
    with serve_api(explorer, RequestQueue(Settings(prompts_a_minute=0, max_waiting=2))) as url:
        codes = [
            status(url, "/gradio_api/call/analyze", body, **{"X-Forwarded-For": "8.8.8.8"})[0] for _ in range(LEAST_OWED + 1)
        ]
        assert codes == [200] * LEAST_OWED + [429]
        assert status(url, "/gradio_api/call/analyze", body, **{"X-Forwarded-For": "8.8.8.9"})[0] == 200


def test_an_answer_that_is_not_here_is_told_at_once_in_the_form_of_its_stream(url):
    body = json.dumps({"data": [EMBEDDED_MODEL, REPEATING, False]}).encode()
    event = json.loads(status(url, "/gradio_api/call/analyze", body)[1])["event_id"]
    answers = [status(url, f"/gradio_api/call/analyze/{event}") for _ in range(2)]
    assert [code for code, _ in answers] == [200, 404]
    assert answers[1][1].startswith(b'event: error\ndata: "No answer waits here under this name')
    code, answer = status(url, "/gradio_api/queue/data?session_hash=nobody")
    told = json.loads(answer.removeprefix(b"data: "))
    assert (code, told["msg"], told["session_not_found"]) == (404, "unexpected_error", True)


def test_a_page_that_asks_again_for_answers_which_came_meanwhile_is_told_that_its_stream_ends(url):
    """Its script opens the next one only then: after a refusal the page would hear of nothing more, whatever is pressed."""
    _, config = status(url, "/config")
    number = next(one["id"] for one in json.loads(config)["dependencies"] if one["api_name"] == "models")
    for _ in range(2):
        body = json.dumps({"fn_index": number, "data": [], "session_hash": "one page"}).encode()
        assert status(url, "/gradio_api/queue/join", body)[0] == 200
        code, answer = status(url, "/gradio_api/queue/data?session_hash=one+page")
        messages = [json.loads(line.removeprefix("data: "))["msg"] for line in answer.decode().split("\n\n") if line]
        assert code == 200
        assert messages[-2:] == ["process_completed", "close_stream"]
        code, answer = status(url, "/gradio_api/queue/data?session_hash=one+page")
        assert (code, json.loads(answer.removeprefix(b"data: "))["msg"]) == (200, "close_stream")


def test_a_body_that_comes_in_parts_is_whole_and_one_that_never_ends_is_bounded():
    async def read(parts: list[bytes]) -> bytes:
        left = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        left.append({"type": "http.request", "body": b"", "more_body": False})

        async def receive() -> dict:
            return left.pop(0)

        return await read_body(receive)

    assert asyncio.run(read([b"a", b"b", b"c"])) == b"abc"
    assert len(asyncio.run(read([b"a" * MAX_BODY_BYTES]))) == MAX_BODY_BYTES
    with pytest.raises(RefusedError, match="bytes at most"):
        asyncio.run(read([b"a" * MAX_BODY_BYTES, b"b"]))
    with pytest.raises(RefusedError, match="bytes at most"):
        asyncio.run(read([b"a" * MAX_BODY_BYTES] * 1000))
