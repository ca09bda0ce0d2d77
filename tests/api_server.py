"""The endpoints alone on a server, without the page."""

from collections.abc import Iterator
from contextlib import contextmanager

from headroles.explorer import Explorer
from headroles.server.endpoints import Blocks, add_api
from headroles.server.limits import Desk, events_at_once


@contextmanager
def serve_api(explorer: Explorer, desk: Desk | None = None, mcp: bool = False) -> Iterator[str]:
    """Its address, without a slash at the end."""
    with Blocks(analytics_enabled=False) as app:
        add_api(explorer, desk or Desk(explorer.settings))
    options = {"prevent_thread_lock": True, "quiet": True, "ssr_mode": False, "max_threads": events_at_once(explorer.settings)}
    _, url, _ = app.queue().launch(**options, mcp_server=mcp)
    try:
        yield url.rstrip("/")
    finally:
        app.close()
