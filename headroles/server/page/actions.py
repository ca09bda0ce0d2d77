"""Actions: from a state of the page, by what a visitor did there, to the next state. Knows nothing of gradio."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import parse_qsl

from headroles.core.heads import Head
from headroles.core.roles.roles import get_role
from headroles.errors import InvalidInputError
from headroles.server.page.page_state import PageState


class Inputs(NamedTuple):
    """What is in the page's inputs; a client may send anything."""

    model: object
    prompt: object
    other_prompt: object
    other_model: object
    refused: object


EVENT_FIELDS = (
    "layer",
    "head",
    "role",
    "side",
    "prompt",
    "try",
    "query",
    "download",
    "out",
    "method",
)  # what the scripts say about an event
Action = Callable[
    [PageState, Inputs, Mapping], PageState
]  # the next state: from the last one, the inputs and the event's details


def explore(last: PageState, boxes: Inputs, _: Mapping) -> PageState:
    """Shows the typed sentence on the picked model."""
    model = as_text(boxes.model)
    state = last if last.model == model else replace(last, model=model, head=None, role=None, out=None)
    return _with_prompt(state, as_text(boxes.prompt))


def press(last: PageState, _: Inputs, data: Mapping) -> PageState:
    """Follows a button in one of the page's own parts.

    It opens a head, a role's suggested prompt or an example, or it ablates heads, perhaps on another prompt.
    """
    if "try" in data:
        role = get_role(data["try"])
        prompt = as_text(data.get("prompt")) or role.suggested_prompt or last.prompt
        return replace(_with_prompt(last, prompt), head=None, role=role)
    if "out" in data:
        # the rest is as in a link
        changes = {"out": as_text(data["out"]), "method": as_text(data.get("method"))}
        if prompt := as_text(data.get("prompt")):
            changes |= {"prompt": prompt, "head": "", "role": ""}
        return replace(read_state(last.query(), **changes), tab="explore")
    if "prompt" in data:
        return _with_prompt(last, as_text(data["prompt"]))
    role = get_role(data["role"]) if data.get("role") else None
    opened = replace(last, head=Head(data.get("layer", -1), data.get("head", -1)), role=role, tab="explore")
    if data.get("side") == "b" and last.tab == "prompts" and last.other_prompt:
        return replace(_with_prompt(opened, last.other_prompt), other_prompt=last.prompt)
    if data.get("side") == "b" and last.tab == "models" and last.other_model:
        return replace(opened, model=last.other_model, other_model=last.model, out=None)
    return opened


def _with_prompt(last: PageState, prompt: str) -> PageState:
    """Shows another prompt; heads that were ablated on the last one are not ablated on the new one."""
    return replace(last, prompt=prompt, out=last.out if prompt == last.prompt else None, tab="explore")


def beside_text(last: PageState, boxes: Inputs, data: Mapping) -> PageState:
    """Compares the typed sentence with another one."""
    return replace(explore(last, boxes, data), other_prompt=as_text(boxes.other_prompt), tab="prompts")


def beside_model(last: PageState, boxes: Inputs, data: Mapping) -> PageState:
    """Compares the picked model with another one, on the typed sentence."""
    return replace(explore(last, boxes, data), other_model=as_text(boxes.other_model), tab="models")


def accept_analysis(_: PageState, boxes: Inputs, __: Mapping) -> PageState:
    """Shows what was refused because the model had no roles, which are now measured first."""
    return read_state(boxes.refused)


def follow_link(_: PageState, __: Inputs, data: Mapping) -> PageState:
    """Shows what the address of the page names."""
    return read_state(data.get("query"))


def read_state(query: object, **changes: str) -> PageState:
    """Reads the state that an address names.

    Args:
        query: The query of the address; a client may send anything.
        changes: Values that replace those of the query, by name.

    Returns:
        The state.

    Raises:
        InvalidInputError: The query names no state.
    """
    return PageState.from_query({**dict(parse_qsl(as_text(query).lstrip("?"))), **changes})


def as_text(value: object) -> str:
    """Checks that a client sent a text; nothing at all is an empty text. Raises InvalidInputError for anything else."""
    if value is not None and not isinstance(value, str):
        raise InvalidInputError(f"A text was expected, but {type(value).__name__} came.")
    return value or ""
