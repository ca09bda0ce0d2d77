"""Refusals: what a request gets that goes no further than the middleware."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any


class RefusedError(Exception):
    """Raised for a request that goes no further; holds the status and a sentence, and in which form that is sent."""

    def __init__(self, status: int, sentence: str, content: str = "", media_type: str = "application/json") -> None:
        super().__init__(sentence)
        self.status, self.media_type = status, media_type
        self.content = (content or json.dumps({"detail": sentence})).encode()


def no_answer(path: str, was_heard: bool = False) -> RefusedError:
    """Makes the refusal of a stream for which no answer waits here.

    It has the form of the stream's own errors, which gradio's clients read whatever the status; a proxy before several servers
    sees by the status that it has to ask another one. A page that listened until lately got all its answers by its last stream,
    while this one was on its way. It gets the message with which gradio ends a stream: after any other it never opens one again.

    Args:
        path: The path of the stream.
        was_heard: Whether somebody listened for the session's answers until lately.

    Returns:
        The refusal, to be raised.
    """
    sentence = "No answer waits here under this name: it was collected already, or not in time. Ask again."
    if not path.rstrip("/").endswith("/queue/data"):
        return RefusedError(404, sentence, f"event: error\ndata: {json.dumps(sentence)}\n\n", "text/event-stream")
    message = {"msg": "unexpected_error", "event_id": None, "message": sentence, "success": False, "session_not_found": True}
    if was_heard:
        message = {"msg": "close_stream", "event_id": None}
    return RefusedError(200 if was_heard else 404, sentence, f"data: {json.dumps(message)}\n\n", "text/event-stream")


async def refuse(send: Callable[[MutableMapping[str, Any]], Awaitable[None]], refusal: RefusedError) -> None:
    """Sends a refusal and closes the connection: what is left of the request is not read."""
    headers = [
        (b"content-type", refusal.media_type.encode()),
        (b"content-length", str(len(refusal.content)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": refusal.content})
