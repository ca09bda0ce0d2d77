"""How the endpoints are published: to whom they answer, and what a client may send at all."""

from collections.abc import Callable, Coroutine
from copy import copy
from functools import wraps
from inspect import signature
from typing import Any

import gradio as gr
from anyio import to_thread
from gradio.block_function import BlockFunction
from gradio.components.api_component import Api
from gradio.state_holder import SessionState

from headroles.errors import HeadRolesError
from headroles.explorer import Explorer
from headroles.render.api.result import Result, typed_dict_of
from headroles.render.page.chat import chat_card
from headroles.server.api.endpoints import Endpoints
from headroles.server.gate.request_queue import RequestQueue
from headroles.server.gate.visitors import while_connected

WORDED = "answer"  # the tool whose words a chat client may show on the card
CARD, CARD_TYPE = "ui://headroles/answer.html", "text/html;profile=mcp-app"


class GuardedBlocks(gr.Blocks):
    """gradio's Blocks, except for what a client may send to an endpoint.

    Too few values get the defaults, and None where there is none: gradio answers with an error without words, and writes the
    values to the log. What could be a file, an object or a list in a list, is refused in a sentence: gradio would look for it.
    """

    def validate_inputs(self, block_fn: BlockFunction, inputs: list[Any]) -> None:
        if all(isinstance(component, Api) for component in block_fn.inputs):
            inputs.extend(getattr(component, "value", None) for component in block_fn.inputs[len(inputs) :])
        if not all(_is_plain(value) for value in inputs):
            raise gr.Error("Send only texts, numbers, true, false, and lists of texts.", print_exception=False)
        super().validate_inputs(block_fn, inputs)

    async def postprocess_data(
        self, block_fn: BlockFunction, predictions: list[Any] | dict[Any, Any], state: SessionState | None
    ) -> list[Any]:
        """As gradio's own, but an output that stays as it is is not built anew."""
        if not isinstance(predictions, dict) or not all(block in block_fn.outputs for block in predictions):
            return await super().postprocess_data(block_fn, predictions, state)
        changed = copy(block_fn)
        changed.outputs = [block for block in block_fn.outputs if predictions.get(block, gr.skip()) != gr.skip()]
        values = [predictions[block] for block in changed.outputs]
        made = await super().postprocess_data(changed, values[0] if len(values) == 1 else values, state) if values else []
        by_block = dict(zip(changed.outputs, made))
        return [by_block.get(block, gr.skip()) for block in block_fn.outputs]


def add_api(explorer: Explorer, desk: RequestQueue, mcp: bool = False) -> None:
    """Adds the public endpoints to the Blocks that are being built; for chat clients also one that answers in words alone."""
    endpoints = Endpoints(explorer, desk)
    for endpoint in endpoints.all():
        _publish(in_words(endpoint), endpoint.__name__)
    if mcp:
        meta = {"ui": {"resourceUri": CARD}, "openai/outputTemplate": CARD}  # one key of MCP Apps, one of ChatGPT's
        _publish(gr.mcp.tool(structured_output=True, _meta=meta)(in_words(_words_of(endpoints))), WORDED)
        _publish(gr.mcp.resource(CARD, "The card on which a chat client shows an answer", CARD_TYPE)(chat_card), "answer_card")


def _publish(function: Callable, name: str) -> None:
    # no limit of gradio's own: its queue says nothing to those who wait, the desk does
    gr.api(function, api_name=name, concurrency_limit=None)  # pyright: ignore[reportPrivateImportUsage]


def _words_of(endpoints: Endpoints) -> Callable[..., Coroutine[Any, Any, str]]:
    """`explain` with its words alone: of an object gradio's tools give what Python would print."""

    async def answer(request: gr.Request, model: str, prompt: str) -> str:
        return (await endpoints.explain(request, model, prompt)).words

    answer.__doc__ = endpoints.explain.__doc__
    return answer


def in_words(endpoint: Callable[..., Coroutine[Any, Any, object]]) -> Callable[..., Coroutine[Any, Any, object]]:
    """The endpoint for as long as its client listens, with what it refuses as gradio's own error; a bug stays a bug.

    A result becomes plain values off the event loop, which a large one would hold; for gradio's own list it is a TypedDict.
    """

    @wraps(endpoint)
    async def checked(*args: object, **kwargs: object) -> object:
        try:
            answer = await while_connected(endpoint(*args, **kwargs))
        except HeadRolesError as error:
            raise gr.Error(str(error), print_exception=False) from None
        return await to_thread.run_sync(answer.model_dump) if isinstance(answer, Result) else answer

    given = typed_dict_of(endpoint.__annotations__["return"])
    checked.__annotations__ = {**endpoint.__annotations__, "return": given}
    checked.__signature__ = signature(endpoint).replace(return_annotation=given)  # pyright: ignore[reportAttributeAccessIssue]
    return checked


def _is_plain(value: object) -> bool:
    """Whether it is a single value or a list of single ones."""
    return not any(isinstance(item, dict | list) for item in (value if isinstance(value, list) else [value]))
