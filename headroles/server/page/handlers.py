"""Answers what a visitor does on the page: the outputs of each event, by the name of their element.

The server keeps nothing of a visitor: the page keeps its state as the query of its address, and sends it with every event.
"""

import itertools
import random
import re
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

import gradio as gr

from headroles.core.records.head_categories import MAX_TOP_HEADS
from headroles.errors import HeadRolesError, NoHeadCategoriesError
from headroles.explorer import Explorer
from headroles.jobs import Job
from headroles.models.interventions.ablation_runs import count_texts
from headroles.render.files.exports import DOWNLOADS
from headroles.render.page.messages import render_message, render_model
from headroles.render.page.toolbar import render_download, render_tools
from headroles.server.gate.progress import follow_job, work_with_progress
from headroles.server.gate.request_queue import RequestQueue
from headroles.server.page.actions import Action, Inputs, as_text, read_state
from headroles.server.page.ordering import EventOrder, PageEvent
from headroles.server.page.page_data import PageData, load_head_effects, load_page_data
from headroles.server.page.page_state import PageState
from headroles.server.page.parts import PARTS, download, draw, draw_atlas, draw_later, draw_training, visit

INPUTS = ("model", "prompt", "other_prompt", "other_model")  # the boxes that hold an attribute of a state
MESSAGE_OUTPUTS = ("message", "offer", "stop")
# all that an event may change; named after the elements
OUTPUTS = (*MESSAGE_OUTPUTS, "tabs", "place", "tools", "refused", *INPUTS, "tab", "about", *PARTS)
HALF_DRAWN = "half of one state and half of another"  # what a page shows between the answer and the rest
Outputs = Mapping[str, object]  # what is left out stays as it is


@dataclass(frozen=True)
class PageRequest:
    """What a page sends with an event; a client may send anything.

    Attributes:
        query, tab: The state that the page shows.
        boxes: What is in its inputs.
        details: What the script says about the event.
        session: The page that sends it; None where the client gives no session.
        visitor: Who looks at the page, as far as the limits must know.
    """

    query: object
    tab: object
    boxes: Inputs
    details: Mapping[str, object]
    session: str | None
    visitor: str


class Handlers:
    """Answers the events of all pages of one server.

    Args:
        explorer: Answers the questions.
        queue: Decides who may work when.
    """

    def __init__(self, explorer: Explorer, queue: RequestQueue) -> None:
        self._explorer, self._queue = explorer, queue
        self._order = EventOrder()
        self._numbers = itertools.count(random.randrange(2**31))  # of downloads, another one on each server

    async def follow_action(self, request: PageRequest, action: Action, analyzes: bool = False) -> AsyncIterator[Outputs]:
        """Takes a page from one state to the next.

        Args:
            request: What the page sent.
            action: Gives the next state.
            analyzes: Whether a model without roles is scored on this machine first.

        Yields:
            The outputs that change, as they become known.
        """
        event, state = self._order.begin(request.session, analyzes, event_time(request.query)), PageState()
        try:
            last = read_state(request.query, tab=as_text(request.tab))
            state = action(last, request.boxes, request.details)
            async for outputs in self._update_page(last, state, event, request.visitor):
                yield outputs
        except NoHeadCategoriesError as error:
            if self._order.is_newest(event):
                yield {**show_message(render_message(str(error)), offered=True), "refused": state.query()}
        except HeadRolesError as error:
            if self._order.is_newest(event):
                yield show_message(render_message(str(error)), offered=analyzes)
        # gradio sends the last answer once more, and empties every output of a handler without one
        yield {"message": gr.skip()}

    async def save(self, query: object, name: object, visitor: str) -> Outputs:
        """Makes one of the downloads.

        Args:
            query: The state that the page shows.
            name: The name of the download.
            visitor: Who asks.

        Returns:
            The file, or a message.
        """
        try:
            file = await self._queue.run(visitor, download, self._explorer, read_state(query), as_text(name))
        except HeadRolesError as error:
            return show_message(render_message(str(error)))
        return {"file": render_download(file.name, file.media_type, file.content, next(self._numbers)), "message": ""}

    async def show_training(self, query: object, visitor: str) -> Outputs:
        """Draws the training tab of the model that the page shows."""
        try:
            html = await self._queue.run(visitor, draw_training, self._explorer, read_state(query), cost=0)
        except HeadRolesError as error:
            return show_message(render_message(str(error)))
        return {"training": html}

    async def show_atlas(self, visitor: str) -> Outputs:
        """Draws the atlas tab, which is the same in every state."""
        try:
            html = await self._queue.run(visitor, draw_atlas, self._explorer, cost=0)
        except HeadRolesError as error:
            return show_message(render_message(str(error)))
        return {"atlas": html}

    def stop(self, session: str | None) -> Outputs:
        """Ends the event under way; gradio's own `cancels` shows errors all over the page."""
        running = self._order.newest(session)
        self._order.begin(session)
        return show_message(render_message("Stopped; nothing of it is kept."), offered=bool(running and running.analyzes))

    def describe_model(self, name: str) -> Outputs:
        """Describes the model that was picked."""
        return {"about": self._about(name), **show_message("")}

    def _about(self, model: str, is_loaded: bool = False) -> str:
        return render_model(model, self._explorer.settings.any_model, is_loaded)

    async def _update_page(self, last: PageState, state: PageState, event: PageEvent, visitor: str) -> AsyncIterator[Outputs]:
        """Loads the models, then draws the parts that differ from the last state: the answer first, what takes a forward last."""
        for name in state.models:
            async for outputs in self._load_model(name, event, visitor):
                yield outputs
            if not self._order.is_newest(event):
                return
        known = last if self._order.still_shows(event, last.contents) else None
        data, parts = await self._queue.run(visitor, visit, self._explorer, state, known)
        if self._order.is_newest(event):
            contents = data.state.contents
            answer = {name: html for name, html in parts.items() if PARTS[name].is_answer}
            rest = {name: html for name, html in parts.items() if name not in answer}
            self._order.set_shown(event, HALF_DRAWN)  # an event that comes in between finds two texts, and draws the whole page
            yield {
                **changed_outputs(data.state, contents, last, event),
                **answer,
                "about": self._about(data.state.model, is_loaded=True),
            }
            if not self._order.is_newest(event):
                return
            self._order.set_shown(event, contents)
            if rest:
                yield rest
        async for outputs in self._draw_later(data, parts, event, visitor):
            yield outputs

    async def _draw_later(self, data: PageData, parts: Collection[str], event: PageEvent, visitor: str) -> AsyncIterator[Outputs]:
        """Draws each part that takes a forward as soon as it is there; an ablation, which takes many, comes last."""
        ablates = "causes" in parts and data.state.out is not None
        for name in (name for name in parts if PARTS[name].comes_later and not (ablates and name == "causes")):
            if not self._order.is_newest(event):
                return
            drawn = await self._queue.run(visitor, draw_later, self._explorer, data, (name,), cost=0)
            if self._order.is_newest(event):
                yield drawn
        if ablates and self._order.is_newest(event):
            async for outputs in self._ablate(data, event, visitor):
                yield outputs

    async def _ablate(self, data: PageData, event: PageEvent, visitor: str) -> AsyncIterator[Outputs]:
        """Runs the interventions on the heads that a state ablates, with progress: they take many forwards."""
        assert data.state.out is not None
        cost = count_texts(len(data.state.out.heads) or MAX_TOP_HEADS)
        results: list[PageData] = []

        def work(on_progress: Callable[[float], None]) -> None:
            known = load_page_data(self._explorer, data.state, {"analysis"}, data)
            results.append(replace(known, effects=load_head_effects(self._explorer, known, on_progress)))

        async with aclosing(work_with_progress(work, self._queue, visitor, "taking heads out", cost)) as steps:
            async for progress in steps:
                if not self._order.is_newest(event):
                    return
                yield show_message(progress, stoppable=True)
        if self._order.is_newest(event):
            yield {**show_message(""), **draw(results[0], [PARTS["causes"]])}

    async def _load_model(self, model: str, event: PageEvent, visitor: str) -> AsyncIterator[Outputs]:
        """Loads a model into memory, and scores its heads on this machine where the event asks for that."""
        if not self._explorer.has_loaded(model):
            async for outputs in self._wait_for(partial(self._explorer.prepare, model), model, event, visitor):
                yield outputs
        if not event.analyzes or not self._order.is_newest(event):
            return
        if not await self._queue.run(visitor, self._explorer.has_roles, model, cost=0):
            analyze = partial(self._explorer.analyze_here, model)
            async for outputs in self._wait_for(analyze, f"the analysis of {model}", event, visitor):
                yield outputs

    async def _wait_for(self, start: Callable[[], Job], what: str, event: PageEvent, visitor: str) -> AsyncIterator[Outputs]:
        """Shows a job's progress with a button to stop it, for as long as the event lasts."""
        async with aclosing(follow_job(start, self._queue, visitor, what)) as steps:
            async for progress in steps:
                if not self._order.is_newest(event):
                    return
                yield show_message(progress, stoppable=True)


def event_time(query: object) -> float | None:
    """When an event happened, by the clock of its page, which adds it to its query; None where it gives no time."""
    match = re.search(r"&_at=(\d{1,15}(?:\.\d{1,15})?)$", query) if isinstance(query, str) else None
    return float(match[1]) if match else None


def changed_outputs(state: PageState, contents: str, last: PageState, event: PageEvent) -> Outputs:
    """Lists the inputs and the tab that differ from the last state, and the links and the address of the new one.

    Args:
        state: The new state.
        contents: Its `contents`.
        last: What the page showed before.
        event: The event that led there.
    """
    changed = {name: getattr(state, name) for name in (*INPUTS, "tab") if getattr(state, name) != getattr(last, name)}
    turned = "" if state.tab == last.tab else state.tab
    return {
        **show_message(""),
        **changed,
        **({"tabs": gr.update(selected=turned)} if turned else {}),
        "place": contents,
        "tools": render_tools(contents, DOWNLOADS, turned, event.number),
    }


def show_message(html: str, offered: bool = False, stoppable: bool = False) -> Outputs:
    """Shows a message, with the offer to analyse the model here, or to stop what is under way."""
    return {"message": html, "offer": gr.update(visible=offered), "stop": gr.update(visible=stoppable)}
