"""What happens when a visitor does something on the page: each event's outputs, by the name of their element.

The server keeps nothing of a visitor: the page itself carries its place, as the query of its address, and every event brings it.
"""

import itertools
import random
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import gradio as gr

from headroles.core.records.head_categories import MAX_TOP_HEADS
from headroles.errors import HeadRolesError, NoHeadCategoriesError
from headroles.explorer import Explorer
from headroles.jobs import Job
from headroles.models.interventions.ablation_runs import count_texts
from headroles.render.files.exports import DOWNLOADS
from headroles.render.page.causes import HeadEffects
from headroles.render.page.messages import render_message, render_model
from headroles.render.page.toolbar import render_download, render_tools
from headroles.server.gate.progress import follow_job, work_with_progress
from headroles.server.gate.request_queue import RequestQueue
from headroles.server.page.actions import Action, Inputs, as_text, read_place
from headroles.server.page.ordering import EventOrder, PageEvent
from headroles.server.page.page_data import PageData, find_head_effects
from headroles.server.page.page_state import PageState
from headroles.server.page.parts import PARTS, download, draw, draw_atlas, draw_later, draw_training, visit

INPUTS = ("model", "prompt", "other_prompt", "other_model")  # the boxes that hold an attribute of a place
SAYING = ("message", "offer", "stop")
# all that an event may change; named after the elements
OUTPUTS = (*SAYING, "tabs", "place", "tools", "refused", *INPUTS, "tab", "about", *PARTS)
HALF = "half of one place and half of another"  # what a page shows between an answer and the rest
Outputs = Mapping[str, object]  # what is left out stays as it is


@dataclass(frozen=True)
class Event:
    """What a page sends; a client may send anything.

    Attributes:
        query, tab: the place that the page shows.
        boxes: what stands in its inputs.
        details: what the script tells of the event.
        session, visitor: which page it is, and who looks at it as far as the limits must know.
    """

    query: object
    tab: object
    boxes: Inputs
    details: Mapping[str, object]
    session: str | None
    visitor: str


class Handlers:
    """Answers the events of all pages of one server."""

    def __init__(self, explorer: Explorer, desk: RequestQueue) -> None:
        self._explorer, self._desk = explorer, desk
        self._turns = EventOrder()
        self._numbers = itertools.count(random.randrange(2**31))  # of downloads, another one on each server

    async def follow_move(self, event: Event, move: Action, analyses: bool = False) -> AsyncIterator[Outputs]:
        """Leads from one place to another; with `analyses`, a model without roles is scored on this machine before."""
        turn, here = self._turns.begin(event.session, analyses, moment_of(event.query)), PageState()
        try:
            last = read_place(event.query, tab=as_text(event.tab))
            here = move(last, event.boxes, event.details)
            async for outputs in self._lead(last, here, turn, event.visitor):
                yield outputs
        except NoHeadCategoriesError as error:
            if self._turns.is_newest(turn):
                yield {**show_message(render_message(str(error)), offered=True), "refused": here.query()}
        except HeadRolesError as error:
            if self._turns.is_newest(turn):
                yield show_message(render_message(str(error)), offered=analyses)
        # gradio sends the last answer once more, and empties every output of a handler without one
        yield {"message": gr.skip()}

    async def save(self, query: object, name: object, visitor: str) -> Outputs:
        """One of the downloads for the place that the page shows."""
        try:
            here = read_place(query)
            made = await self._desk.run(visitor, download, self._explorer, here, as_text(name))
        except HeadRolesError as error:
            return show_message(render_message(str(error)))
        return {"file": render_download(made.name, made.media_type, made.content, next(self._numbers)), "message": ""}

    async def show_training(self, query: object, visitor: str) -> Outputs:
        """The training tab of the model that the page shows."""
        try:
            drawn = await self._desk.run(visitor, draw_training, self._explorer, read_place(query), cost=0)
        except HeadRolesError as error:
            return show_message(render_message(str(error)))
        return {"training": drawn}

    async def show_atlas(self, visitor: str) -> Outputs:
        """The atlas tab, the same on every place."""
        try:
            drawn = await self._desk.run(visitor, draw_atlas, self._explorer, cost=0)
        except HeadRolesError as error:
            return show_message(render_message(str(error)))
        return {"atlas": drawn}

    def stop(self, session: str | None) -> Outputs:
        """Ends the turn under way; gradio's own `cancels` shows errors all over the page."""
        running = self._turns.newest(session)
        self._turns.begin(session)
        return show_message(render_message("Stopped; nothing of it is kept."), offered=bool(running and running.analyses))

    def describe_model(self, name: str) -> Outputs:
        """What there is to say of the model that was picked."""
        return {"about": self._about(name), **show_message("")}

    def _about(self, model: str, is_loaded: bool = False) -> str:
        return render_model(model, self._explorer.settings.any_model, is_loaded)

    async def _lead(self, last: PageState, here: PageState, turn: PageEvent, visitor: str) -> AsyncIterator[Outputs]:
        """The page on its way from one place to another."""
        for name in here.models:
            async for outputs in self._bring(name, turn, visitor):
                yield outputs
            if not self._turns.is_newest(turn):
                return
        known = last if self._turns.still_shows(turn, last.contents) else None
        here, parts = await self._desk.run(visitor, visit, self._explorer, here, known)
        if self._turns.is_newest(turn):
            answer = {name: html for name, html in parts.items() if PARTS[name].is_answer}
            rest = {name: html for name, html in parts.items() if name not in answer}
            self._turns.shows(turn, HALF)  # who comes in between finds two texts on the page, and draws it whole
            yield {**arrive(here, answer, last, turn), "about": self._about(here.model, is_loaded=True)}
            if not self._turns.is_newest(turn):
                return
            self._turns.shows(turn, here.contents)
            if rest:
                yield rest
        late = tuple(name for name in parts if PARTS[name].comes_later and (name != "causes" or here.out is None))
        for name in late:
            if not self._turns.is_newest(turn):
                return
            drawn = await self._desk.run(visitor, draw_later, self._explorer, here, (name,), cost=0)
            if self._turns.is_newest(turn):
                yield drawn
        if "causes" in parts and here.out is not None and self._turns.is_newest(turn):
            async for outputs in self._take_out(here, turn, visitor):
                yield outputs

    async def _take_out(self, here: PageState, turn: PageEvent, visitor: str) -> AsyncIterator[Outputs]:
        """What the heads that a place takes out write, and what is lost without them, which takes many forwards."""
        assert here.out is not None
        cost = count_texts(len(here.out.heads) or MAX_TOP_HEADS)
        found: list[HeadEffects | None] = []

        def ask(on_progress: Callable[[float], None]) -> None:
            found.append(find_head_effects(self._explorer, here, on_progress))

        async with aclosing(work_with_progress(ask, self._desk, visitor, "taking heads out", cost)) as steps:
            async for progress in steps:
                if not self._turns.is_newest(turn):
                    return
                yield show_message(progress, stoppable=True)
        if self._turns.is_newest(turn):
            yield {**show_message(""), **draw(PageData(here, effects=found[0]), [PARTS["causes"]])}

    async def _bring(self, model: str, turn: PageEvent, visitor: str) -> AsyncIterator[Outputs]:
        """A model into memory, and its roles to this machine where the turn measures them."""
        if not self._explorer.has_loaded(model):
            async for outputs in self._wait_for(partial(self._explorer.prepare, model), model, turn, visitor):
                yield outputs
        if not turn.analyses or not self._turns.is_newest(turn):
            return
        if not await self._desk.run(visitor, self._explorer.has_roles, model, cost=0):
            analyze = partial(self._explorer.analyze_here, model)
            async for outputs in self._wait_for(analyze, f"the analysis of {model}", turn, visitor):
                yield outputs

    async def _wait_for(self, start: Callable[[], Job], what: str, turn: PageEvent, visitor: str) -> AsyncIterator[Outputs]:
        """A job's progress with a button to stop it, for as long as the turn lasts."""
        async with aclosing(follow_job(start, self._desk, visitor, what)) as steps:
            async for progress in steps:
                if not self._turns.is_newest(turn):
                    return
                yield show_message(progress, stoppable=True)


def moment_of(query: object) -> float | None:
    """When an event happened, by the clock of its page, which adds it to its place; None where it says no time."""
    found = re.search(r"&_at=(\d{1,15}(?:\.\d{1,15})?)$", query) if isinstance(query, str) else None
    return float(found[1]) if found else None


def arrive(here: PageState, parts: Mapping[str, str], last: PageState, turn: PageEvent) -> Outputs:
    """The outputs of a page that comes from `last`: only what differs there."""
    changed = {name: getattr(here, name) for name in (*INPUTS, "tab") if getattr(here, name) != getattr(last, name)}
    turned = "" if here.tab == last.tab else here.tab
    return {
        **show_message(""),
        **changed,
        **({"tabs": gr.update(selected=turned)} if turned else {}),
        "place": here.contents,
        "tools": render_tools(here.contents, DOWNLOADS, turned, turn.number),
        **parts,
    }


def show_message(html: str, offered: bool = False, stoppable: bool = False) -> Outputs:
    """A message, with the offer to analyse the model here, or to stop what is under way."""
    return {"message": html, "offer": gr.update(visible=offered), "stop": gr.update(visible=stoppable)}
