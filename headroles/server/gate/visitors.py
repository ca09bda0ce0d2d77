"""Who asks, as far as the limits must know, and whether they still wait for the answer."""

import asyncio
import ipaddress
from collections.abc import Coroutine
from typing import Any, TypeVar

import gradio as gr
from gradio.context import LocalContext
from starlette.requests import HTTPConnection

from headroles.errors import JobCancelledError

POLL_SECONDS = 0.25  # how often an endpoint looks whether its client is still there

R = TypeVar("R")


def visitor_of(request: gr.Request | HTTPConnection | None) -> str:
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
            address = _plain(ipaddress.ip_address(text.strip()))
        except ValueError:
            break
        if address.is_global:
            break
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address or "unknown")


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """A visitor's IPv4 address where a server that listens at `::` has it in IPv6: that form counts as private, as a proxy's."""
    return getattr(address, "ipv4_mapped", None) or address


async def while_connected(work: Coroutine[Any, Any, R]) -> R:
    """What the work gives; cancels it when the client went away, so that its place is free for others."""
    task = asyncio.create_task(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=POLL_SECONDS)
            if not is_connected():
                raise JobCancelledError("The client went away.")
        return task.result()
    finally:
        task.cancel()
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody else looks at it any more


def is_connected() -> bool:
    """Whether somebody still waits for the event under way.

    gradio marks the event, but has no public way to ask: this is the one place that looks inside. Where another version keeps
    it elsewhere, everybody counts as heard; the requirements hold gradio at what was tested, and a test fails before they move.
    """
    blocks, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    queue = getattr(blocks, "_queue", None)
    event = getattr(queue, "event_ids_to_events", {}).get(event_id)
    return getattr(event, "alive", True)
