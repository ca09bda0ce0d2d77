"""The middleware in front of gradio: checks every request. Only the routes that this app needs are open, see ROUTES."""

import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from anyio import fail_after
from gradio import Blocks
from starlette.middleware import Middleware
from starlette.requests import Request

from headroles.server.gate.refusals import RefusedError, no_answer, refuse
from headroles.server.gate.sessions import Sessions
from headroles.server.gate.visitors import visitor_of
from headroles.settings import Settings

MAX_BODY_BYTES = 1024**2  # 64 texts of 256 tokens take less than half of it
MAX_PASSED_BYTES = 32 * 1024**2  # of a body that is too large, read and let go before it is refused
BODY_SECONDS = 20.0  # for a body to come
STALL_SECONDS = 30.0  # for a client to read what it is sent
MAX_NAME = 128  # characters of a session's or an event's name
MAX_QUERY = 64 * 1024  # a link holds a text, and the page sends its own with each event; other queries are short
MAX_SHORT_QUERY = 1024
MAX_STREAMS = 2_000
STREAMS_A_VISITOR = 128
LEAST_OWED = 8  # answers that anyone may leave uncollected, however few may wait for a worker

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Route(NamedTuple):
    """An open route: its methods, what its path looks like, and what it is for."""

    methods: str
    path: str
    reason: str
    takes: str = ""  # "event" where it sends work, "stream" where it stays open


# what is not here is answered with 404: uploads, files, component servers, direct runs, deep links, monitoring, logins, media
ROUTES = (
    Route("GET HEAD", "/", "the page, embedded too, and every link to a state of it"),
    Route("GET HEAD", "/(assets|static|svelte)/.+", "the page's own scripts, sheets, fonts and icons"),
    Route("GET HEAD", "/(favicon.ico|robots.txt|manifest.json|pwa_icon|pwa_icon/[0-9]+)", "what browsers ask any site for"),
    Route("GET HEAD", "(/gradio_api)?/theme.css", "the page's colours"),
    Route("GET", "/config/?", "the page's layout, for the page and for clients in Python and JavaScript"),
    Route("GET", "/gradio_api/info/?", "what the endpoints take and give, for clients and the page's API view"),
    Route("GET", "/gradio_api/openapi.json", "the same for other clients"),
    Route("GET", "/gradio_api/app_id/?", "asked by the page, to notice that the server was started anew"),
    Route("GET", "/gradio_api/startup-events", "asked once by the server itself when it starts"),
    Route("POST", "/gradio_api/queue/join/?", "an event of the page, or a call of gradio's clients", "event"),
    Route("GET", "/gradio_api/queue/data", "their answers", "stream"),
    Route("POST", "/gradio_api/call/(v2/)?[a-z_]+/?", "a call over plain HTTP", "event"),
    Route("GET", "/gradio_api/call/(v2/)?[a-z_]+/[0-9a-f]+", "its answer", "stream"),
    Route("POST", "/gradio_api/cancel", "a client that wants no answer any more"),
)
RENAMED = {"knock_out": "ablate"}  # endpoints of API version 1, and what they are called now
MCP_ROUTE = Route(
    "GET POST DELETE", "/gradio_api/mcp(/.*)?", "the endpoints as tools of an MCP server; HEADROLES_MCP=1 alone opens it"
)


def guard(blocks: Blocks, settings: Settings) -> dict[str, Any]:
    """Makes the arguments of gradio's `launch` that put the middleware in front of an app and let gradio keep no sessions.

    Args:
        blocks: The app.
        settings: Say how many answers may wait, and whether MCP is served.

    Returns:
        The `middleware` and the `lifespan`.
    """
    sessions = Sessions(blocks)
    return {"middleware": [Middleware(GateMiddleware, sessions=sessions, settings=settings)], "lifespan": sessions.lifespan}


class GateMiddleware:
    """An ASGI middleware in front of gradio's app.

    Args:
        app: Answers what is not refused.
        sessions: Know who listens, and whose answers are not delivered yet.
        settings: As in `guard`.
    """

    def __init__(self, app: App, sessions: Sessions, settings: Settings) -> None:
        self._app, self._sessions, self._limit = app, sessions, settings.max_waiting
        self._routes = ROUTES + ((MCP_ROUTE,) if settings.mcp else ())
        self._streams: Counter[str] = Counter()  # held open, by visitor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on to gradio, or refuses it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with ExitStack() as stack:
                route = self._find(scope)
                visitor = visitor_of(Request(scope))
                if scope["method"] == "POST":
                    body = await read_body(receive)
                    receive = _replay(body, receive)
                    if route.takes == "event":
                        session = check_event(body)
                        self._check_outstanding(visitor)
                        send = _report_event(send, lambda event: self._sessions.add(visitor, event, session or event))
                if route.takes == "stream":
                    listener = self._session(scope)
                    if not self._sessions.has_answer(listener):
                        raise no_answer(scope["path"], self._sessions.was_heard(listener))
                    stack.enter_context(self._stream(visitor))
                    stack.enter_context(self._sessions.listening(listener))
                    send = _unless_stalled(send)
                await self._app(scope, receive, send)
        except RefusedError as refusal:
            await refuse(send, refusal)

    def _find(self, scope: Scope) -> Route:
        """Finds the open route that a request takes. Raises RefusedError when there is none, or its address is too long."""
        root = scope.get("root_path", "").rstrip("/")
        path = scope["path"].removeprefix(root) if root else scope["path"]
        if (call := re.fullmatch("/gradio_api/call/(?:v2/)?([a-z_]+)(?:/.*)?", path)) and call[1] in RENAMED:
            raise RefusedError(404, f"The endpoint /{call[1]} is called /{RENAMED[call[1]]} now.")
        for route in self._routes:
            if scope["method"] in route.methods.split() and re.fullmatch(route.path, path):
                if len(scope["query_string"]) > (MAX_QUERY if path == "/" or route.takes == "event" else MAX_SHORT_QUERY):
                    raise RefusedError(414, "The address is too long.")
                return route
        raise RefusedError(404, "There is nothing at this address.")

    def _session(self, scope: Scope) -> str:
        """Finds the session that a stream belongs to. Raises RefusedError when its name, or its event's, is too long."""
        last = scope["path"].rpartition("/")[2]
        if last == "data":
            return _name(parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0])
        return self._sessions.session_of(_name(last))

    def _check_outstanding(self, visitor: str) -> None:
        """Raises RefusedError when too many answers of a visitor are not collected yet, or not even listened for."""
        if not self._limit:
            return
        if self._sessions.is_full:
            raise RefusedError(503, "Too many answers are waiting to be collected; try again in a minute.")
        owed, unheard = self._sessions.outstanding(visitor)
        if owed >= max(2 * self._limit, LEAST_OWED) or unheard >= max(self._limit // 2, LEAST_OWED):
            raise RefusedError(
                429, f"{unheard or owed} of your answers are not collected yet, which is the limit; collect them first."
            )

    @contextmanager
    def _stream(self, visitor: str) -> Iterator[None]:
        """Counts a stream while it is open. Raises RefusedError when there are too many, in all or for this visitor."""
        if self._streams.total() >= MAX_STREAMS or self._streams[visitor] >= STREAMS_A_VISITOR:
            raise RefusedError(429, "Too many streams are open; close some, or try again in a minute.")
        self._streams[visitor] += 1
        try:
            yield
        finally:
            self._streams[visitor] -= 1
            if not self._streams[visitor]:
                del self._streams[visitor]


async def read_body(receive: Receive) -> bytes:
    """Reads a whole body.

    The rest of a body that is too large is read and dropped, up to a limit: a client that is cut off while it sends does not read
    why.

    Raises:
        RefusedError: The body is too large, or does not come in time.
    """
    body, received = bytearray(), 0
    try:
        with fail_after(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RefusedError(400, "The request broke off.")
                received += len(message.get("body", b""))
                if received <= MAX_BODY_BYTES:
                    body += message.get("body", b"")
                elif received > MAX_PASSED_BYTES or not message.get("more_body"):
                    raise RefusedError(413, f"A request may have {MAX_BODY_BYTES:,} bytes at most.")
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        raise RefusedError(408, f"The request was not complete within {BODY_SECONDS:.0f} seconds.") from None


def check_event(body: bytes) -> str | None:
    """Reads the name of an event's session; None without one. Raises RefusedError for names that are not short texts."""
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError(400, "Send a JSON object.") from None
    if not isinstance(sent, dict):
        raise RefusedError(400, "Send a JSON object.")
    for name in ("session_hash", "event_id"):
        if sent.get(name) is not None:
            _name(sent[name])
    return sent.get("session_hash")


def _name(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_NAME:
        raise RefusedError(400, f"The name of a session or an event is a text of at most {MAX_NAME} characters.")
    return value


def _replay(body: bytes, receive: Receive) -> Receive:
    """Replays a body that was read already, then passes on what comes after it."""
    bodies = [body]

    async def receive_again() -> MutableMapping[str, Any]:
        if bodies:
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}
        return await receive()

    return receive_again


def _report_event(send: Send, report: Callable[[str], None]) -> Send:
    """Passes an answer on, and reports the event that it names."""

    async def send_and_report(message: MutableMapping[str, Any]) -> None:
        if match := re.fullmatch(rb'\{"event_id":"([0-9a-f]+)"\}', message.get("body", b"")):
            report(match[1].decode())
        await send(message)

    return send_and_report


def _unless_stalled(send: Send) -> Send:
    """Passes a stream on for as long as its client reads it."""

    async def send_in_time(message: MutableMapping[str, Any]) -> None:
        with fail_after(STALL_SECONDS):
            await send(message)

    return send_in_time
