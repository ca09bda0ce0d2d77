"""Visitors: who sends a request, as far as the limits must know, and whether they still wait for the answer."""

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
    """Names the visitor by the address that the request came from; for IPv6 by the network of one household.

    Behind a proxy, and only there, it is the last public address of X-Forwarded-For, which the proxies themselves wrote; a client
    may have made up what is before it. A proxy is known by its private address, as on a Space. Visitors without an address share
    one limit.
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
    """Waits for the work; cancels it when the client goes away, so that others can have the worker."""
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
