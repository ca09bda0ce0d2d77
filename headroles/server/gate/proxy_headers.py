"""Headers that only a proxy may set: trusted where the operator has a proxy in front, and dropped everywhere else.

gradio builds the addresses on its page from X-Forwarded-Host and X-Forwarded-Proto, and uvicorn takes the scheme from a client on
this machine. So a client that sends them could get a page whose links lead elsewhere.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

PROXY_HEADERS = frozenset({b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port", b"x-forwarded-prefix", b"forwarded"})
NEVER = frozenset({b"x-gradio-server"})  # from gradio's own server in front of itself, which is not used here


class ProxyHeaders:
    """An ASGI middleware that drops headers that only a proxy may set; without a `trusted` proxy, nobody may."""

    def __init__(self, app: ASGIApp, trusted: bool) -> None:
        self._app, self._trusted = app, trusted
        self._dropped = NEVER if trusted else NEVER | PROXY_HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on without the dropped headers."""
        if scope["type"] in ("http", "websocket"):
            scope = {**scope, "headers": [header for header in scope["headers"] if header[0].lower() not in self._dropped]}
            if not self._trusted:
                scope["scheme"] = "http" if scope["type"] == "http" else "ws"  # headroles itself speaks no TLS
        await self._app(scope, receive, send)
