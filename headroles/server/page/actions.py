"""Moves: from a place on the page, by what a visitor did there, to the next place. Knows nothing of gradio."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import parse_qsl

from headroles.core.heads import Head
from headroles.core.roles.roles import get_role
from headroles.errors import InvalidInputError
from headroles.server.page.page_state import PageState


class Inputs(NamedTuple):
    """What stands in the page's inputs; a client may send anything."""

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
)  # what the scripts tell of an event
Action = Callable[[PageState, Inputs, Mapping], PageState]  # where an event leads: from a place, by what it says itself


def explore(last: PageState, boxes: Inputs, _: Mapping) -> PageState:
    """The typed sentence on the picked model."""
    here = last if last.model == boxes.model else replace(last, model=as_text(boxes.model), head=None, role=None, out=None)
    return _of_text(here, as_text(boxes.prompt))


def press(last: PageState, _: Inputs, data: Mapping) -> PageState:
    """A button in one of the page's own parts: a head, a role's suggested prompt, an example, or heads to take out, maybe
    of another text."""
    if "try" in data:
        role = get_role(data["try"])
        prompt = as_text(data.get("prompt")) or role.suggested_prompt or last.prompt
        return replace(_of_text(last, prompt), head=None, role=role)
    if "out" in data:
        # the rest is as in a link
        asked = {"out": as_text(data["out"]), "method": as_text(data.get("method"))}
        if prompt := as_text(data.get("prompt")):
            asked |= {"prompt": prompt, "head": "", "role": ""}
        return replace(read_place(last.query(), **asked), tab="explore")
    if "prompt" in data:
        return _of_text(last, as_text(data["prompt"]))
    role = get_role(data["role"]) if data.get("role") else None
    opened = replace(last, head=Head(data.get("layer", -1), data.get("head", -1)), role=role, tab="explore")
    if data.get("side") == "b" and last.tab == "prompts" and last.other_prompt:
        return replace(_of_text(opened, last.other_prompt), other_prompt=last.prompt)
    if data.get("side") == "b" and last.tab == "models" and last.other_model:
        return replace(opened, model=last.other_model, other_model=last.model, out=None)
    return opened


def _of_text(last: PageState, prompt: str) -> PageState:
    """Another text; what was asked about heads on the last one is asked no more."""
    return replace(last, prompt=prompt, out=last.out if prompt == last.prompt else None, tab="explore")


def beside_text(last: PageState, boxes: Inputs, data: Mapping) -> PageState:
    """The typed sentence beside another one."""
    return replace(explore(last, boxes, data), other_prompt=as_text(boxes.other_prompt), tab="prompts")


def beside_model(last: PageState, boxes: Inputs, data: Mapping) -> PageState:
    """The picked model beside another one, on the typed sentence."""
    return replace(explore(last, boxes, data), other_model=as_text(boxes.other_model), tab="models")


def accept_analysis(_: PageState, boxes: Inputs, __: Mapping) -> PageState:
    """What was refused for want of roles, which are now measured first."""
    return read_place(boxes.refused)


def follow_link(_: PageState, __: Inputs, data: Mapping) -> PageState:
    """Where the address of the page says."""
    return read_place(data.get("query"))


def read_place(query: object, **rest: str) -> PageState:
    """The place that an address's query, and the rest, says. Raises InvalidInputError when it says none."""
    return PageState.from_query({**dict(parse_qsl(as_text(query).lstrip("?"))), **rest})


def as_text(value: object) -> str:
    """What a client sent where a text belongs. Raises InvalidInputError for anything else; nothing at all is an empty text."""
    if value is not None and not isinstance(value, str):
        raise InvalidInputError(f"A text was expected, but {type(value).__name__} came.")
    return value or ""
