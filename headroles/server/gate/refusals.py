"""What the door says to a request that goes no further."""

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
    """For a stream of answers of which there is none here: in the form of the stream's own errors, which gradio's clients read
    whatever the status, while a proxy before several servers sees by the status that it has to ask another one.

    A page that was heard until lately has got all its answers by its last stream, while this one was on its way. It is told so in
    the words with which gradio ends a stream: after any others it never opens one again, and hears of nothing more.
    """
    sentence = "No answer waits here under this name: it was collected, or nobody asked for it in time. Ask again."
    if not path.rstrip("/").endswith("/queue/data"):
        return RefusedError(404, sentence, f"event: error\ndata: {json.dumps(sentence)}\n\n", "text/event-stream")
    told = {"msg": "unexpected_error", "event_id": None, "message": sentence, "success": False, "session_not_found": True}
    if was_heard:
        told = {"msg": "close_stream", "event_id": None}
    return RefusedError(200 if was_heard else 404, sentence, f"data: {json.dumps(told)}\n\n", "text/event-stream")


async def refuse(send: Callable[[MutableMapping[str, Any]], Awaitable[None]], refusal: RefusedError) -> None:
    """Sends a refusal and closes the connection: what is left of the request is not read."""
    headers = [
        (b"content-type", refusal.media_type.encode()),
        (b"content-length", str(len(refusal.content)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": refusal.content})
