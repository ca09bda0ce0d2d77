"""What a request says of the way it came: believed where a proxy of the operator's stands in front, and nowhere else.

gradio makes the addresses on its page of X-Forwarded-Host and X-Forwarded-Proto, and uvicorn takes the scheme from a client on
this machine, so that whoever sends them could have a page made whose links lead elsewhere.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

SAID_BY_PROXIES = frozenset({b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port", b"x-forwarded-prefix", b"forwarded"})
NEVER = frozenset({b"x-gradio-server"})  # from gradio's own server in front of itself, which is not used here


class ProxyHeaders:
    """An ASGI app that takes from requests what only a proxy may say, or without a `trusted` one nobody."""

    def __init__(self, app: ASGIApp, trusted: bool) -> None:
        self._app, self._trusted = app, trusted
        self._dropped = NEVER if trusted else NEVER | SAID_BY_PROXIES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            scope = {**scope, "headers": [header for header in scope["headers"] if header[0].lower() not in self._dropped]}
            if not self._trusted:
                scope["scheme"] = "http" if scope["type"] == "http" else "ws"  # headroles itself speaks no TLS
        await self._app(scope, receive, send)
