"""The page. With `endpoints`, one of two files that import gradio.

The server keeps nothing of a visitor: the page itself carries its place, as the query of its address, and every event brings it.
"""

import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import nullcontext

import gradio as gr
from gradio.blocks import Block
from gradio.themes import Soft

from headroles.core.registry import EMBEDDED_MODEL, MODELS
from headroles.errors import HeadRolesError, NoHeadCategoriesError
from headroles.explorer import Explorer
from headroles.jobs import Job
from headroles.render.exports import DOWNLOADS
from headroles.render.html import ASSETS
from headroles.render.lessons import render_lessons
from headroles.render.messages import render_message, render_model
from headroles.render.tools import render_download, render_examples, render_tools
from headroles.server.drawing import download, draw_twin, visit
from headroles.server.endpoints import API_HELP, Blocks, add_api, follow, visitor_of
from headroles.server.limits import Desk
from headroles.server.moves import (
    Boxes,
    Move,
    as_text,
    beside_model,
    beside_text,
    explore,
    follow_link,
    press,
    read_place,
    take_offer,
)
from headroles.server.place import FIRST_PROMPT, Place
from headroles.server.turns import Turn, Turns

# darker than the theme's own where that has too little contrast
THEME = Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]).set(
    block_title_text_color="*primary_700",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
)
EXAMPLES = (
    FIRST_PROMPT,
    "The old man told the boy a story, and the boy told the old man another story.",
    "Once upon a time there was a little girl who lived near a great forest.",
    "red green blue black white red green blue black white",
    "The sun rose over the hills, and the village was still asleep when the first boats came home.",
)
INTRODUCTION = (
    '<div class="hr-top"><h1>headroles</h1><p>A language model reads your sentence with many <b>attention heads</b>. '
    "See which head does which job, and which of them are doing it right now.</p></div>"
)
Page = dict[Block, object]


def build_app(explorer: Explorer) -> gr.Blocks:
    """The page, showing a full result for the first example at once, and the API. Does not launch."""
    first, start = visit(explorer, Place())
    start = {**start, "twin": draw_twin(explorer, first)}
    scripts = {name: (ASSETS / f"{name}.js").read_text("utf-8") for name in ("panel", "page", "file", "help")}
    any_model, desk = explorer.settings.any_model, Desk(explorer.settings)
    numbers = itertools.count()  # of downloads

    def part(name: str, value: str | None = None, script: str = "panel") -> gr.HTML:
        html = start.get(name, "") if value is None else value
        return gr.HTML(html, elem_id=name, js_on_load=scripts[script], apply_default_css=False)

    def models(value: str | None, label: str, elem_id: str) -> gr.Dropdown:
        choices = [(model_label(name), name) for name in MODELS]
        return gr.Dropdown(
            choices, value=value, label=label, allow_custom_value=any_model, scale=2, min_width=260, elem_id=elem_id
        )

    def sentence(value: str, label: str, elem_id: str) -> gr.Textbox:
        return gr.Textbox(value, label=label, max_lines=4, scale=5, min_width=240, elem_id=elem_id)

    with Blocks(title="headroles", analytics_enabled=False) as app:
        place = gr.Textbox(first.contents, visible="hidden", elem_id="place")
        tab = gr.Textbox(first.tab, visible="hidden", elem_id="tab")
        refused = gr.Textbox(visible="hidden", elem_id="refused")  # the place that the offer below leads to
        gr.HTML(INTRODUCTION, elem_id="top")
        with gr.Row(equal_height=True, elem_id="ask"):
            model = models(EMBEDDED_MODEL, "Model", "model")
            prompt = sentence(first.prompt, "Your sentence", "prompt")
            button = gr.Button("Explore", variant="primary", scale=0, min_width=110, elem_id="explore")
        about = gr.HTML(render_model(EMBEDDED_MODEL, any_model), elem_id="about")
        examples = part("examples", render_examples(EXAMPLES))
        message = gr.HTML(elem_id="message")
        with gr.Row(elem_id="work"):
            offer = gr.Button("Analyse this model here", visible=False, scale=0, min_width=240, elem_id="offer")
            stop = gr.Button("Stop", visible=False, scale=0, min_width=110, elem_id="stop")
        tools = part("tools", render_tools(first.contents, DOWNLOADS), script="page")
        file = part("file", script="file")
        with gr.Tabs(selected=first.tab, elem_id="tabs") as tabs:
            with gr.Tab("Explore", id="explore") as explore_tab:
                text = part("text")
                with gr.Row(elem_id="glance"):
                    with gr.Column(scale=4, min_width=320):
                        model_map = part("map")
                        twin = part("twin")
                    with gr.Column(scale=6, min_width=320):
                        view = part("view")
                panel = part("panel")
            with gr.Tab("Two texts", id="prompts") as prompts_tab:
                with gr.Row(equal_height=True):
                    other_prompt = sentence(EXAMPLES[2], "Compare your sentence (A) with this one (B)", "other-prompt")
                    both_texts = gr.Button("Compare texts", scale=0, min_width=160, elem_id="compare-texts")
                by_prompt = part("by_prompt")
            with gr.Tab("Two models", id="models") as models_tab:
                with gr.Row(equal_height=True):
                    other_model = models(None, "Compare the model (A) with this one (B) on your sentence", "other-model")
                    both_models = gr.Button("Compare models", scale=0, min_width=160, elem_id="compare-models")
                by_model = part("by_model")
            with gr.Tab("Lessons", id="learn") as learn_tab:
                lessons = part("lessons", render_lessons())
            with gr.Tab("API", id="api") as api_tab:
                part("api-help", API_HELP, script="help")
        add_api(explorer, desk)

        boxes = {"model": model, "prompt": prompt, "other_prompt": other_prompt, "other_model": other_model, "tab": tab}
        drawn = {"text": text, "map": model_map, "panel": panel, "view": view, "twin": twin}
        drawn |= {"by_prompt": by_prompt, "by_model": by_model}

        def page(here: Place, parts: Mapping[str, str], last: Place, turn: Turn) -> Page:
            """The outputs of the page in step, as a dict, so that an error can leave them all as they are."""
            changed: Page = {
                box: getattr(here, name) for name, box in boxes.items() if getattr(here, name) != getattr(last, name)
            }
            turned = "" if here.tab == last.tab else here.tab
            if turned:
                changed[tabs] = gr.Tabs(selected=turned)
            changed |= {place: here.contents, tools: render_tools(here.contents, DOWNLOADS, turned, turn.number)}
            return {**say(""), **changed, **{drawn[name]: html for name, html in parts.items()}}

        def say(html: str, offered: bool = False, stoppable: bool = False) -> Page:
            """A message, with the offer to analyse the model here, or to stop what is under way."""
            return {message: html, offer: gr.update(visible=offered), stop: gr.update(visible=stoppable)}

        saying = [message, offer, stop]
        quiet = {
            "api_visibility": "private",
            "concurrency_limit": None,
            "trigger_mode": "multiple",  # by itself gradio drops an event while the one before still draws
            "show_progress": "hidden",
            "show_progress_on": message,  # else the browser copies every output's contents at every step of an event
        }
        turns = Turns()

        async def wait_for(job: Job, turn: Turn) -> AsyncIterator[Page]:
            """A job's progress with a button to stop it, for as long as the turn lasts."""
            try:
                with desk.loading() if not job.is_done else nullcontext():
                    async for progress in follow(job):
                        if not turns.is_newest(turn):
                            return
                        yield say(progress, stoppable=True)
            finally:
                job.leave()  # others may still wait for it

        async def lead(last: Place, here: Place, turn: Turn, visitor: str) -> AsyncIterator[Page]:
            """The page on its way from one place to another."""
            for name in here.models:
                async for said in wait_for(explorer.prepare(name), turn):
                    yield said
                if turn.analyses and turns.is_newest(turn) and not await desk.run(visitor, explorer.has_roles, name, cost=0):
                    async for said in wait_for(explorer.analyze_here(name), turn):
                        yield said
                if not turns.is_newest(turn):
                    return
            known = last if turns.still_shows(turn, last.contents) else None
            here, parts = await desk.run(visitor, visit, explorer, here, known)
            if turns.is_newest(turn):
                turns.shows(turn, here.contents)
                yield page(here, parts, last, turn)
            if "view" in parts:
                beside = await desk.run(visitor, draw_twin, explorer, here, cost=0)
                if turns.is_newest(turn):
                    yield {twin: beside}

        def on(event: Callable, move: Move, analyses: bool = False) -> None:
            """Lets an event lead from one place to another; with `analyses`, the model is scored on this machine before."""

            async def handler(
                query: str,
                model_name: object,
                words: object,
                other_words: object,
                other_name: object,
                tab_name: object,
                refused_query: object,
                data: gr.EventData,
                request: gr.Request,
            ) -> AsyncIterator[Page]:
                turn, here, last = turns.begin(request.session_hash, analyses), Place(), Place()
                try:
                    last = read_place(query, tab=as_text(tab_name))
                    details = vars(data)["_data"]  # what the script passed to `trigger`
                    typed = Boxes(model_name, words, other_words, other_name, refused_query)
                    here = move(last, typed, details if isinstance(details, dict) else {})
                    async for said in lead(last, here, turn, visitor_of(request)):
                        yield said
                except NoHeadCategoriesError as error:
                    if turns.is_newest(turn):
                        yield {**say(render_message(str(error)), offered=True), refused: here.query()}
                except HeadRolesError as error:
                    if turns.is_newest(turn):
                        yield say(render_message(str(error)), offered=analyses)
                # gradio sends the last answer once more, and empties every output of a handler without one
                yield {message: gr.skip()}

            changes = [*saying, tabs, place, tools, refused, *boxes.values(), *drawn.values()]
            event(handler, [place, *boxes.values(), refused], changes, **quiet)

        on(button.click, explore)
        on(prompt.submit, explore)
        on(offer.click, take_offer, analyses=True)
        for pressed in (examples, model_map, view, panel, by_prompt, by_model, lessons):
            on(pressed.submit, press)
        on(both_texts.click, beside_text)
        on(other_prompt.submit, beside_text)
        on(both_models.click, beside_model)
        on(tools.submit, follow_link)

        for each in (explore_tab, prompts_tab, models_tab, learn_tab, api_tab):
            # all in the browser: no answer that is under way can come in between
            tell = f"document.dispatchEvent(new CustomEvent('turn', {{ detail: '{each.id}' }}))"
            each.select(None, None, tab, js=f"() => {{ {tell}; return '{each.id}'; }}", api_visibility="private")

        async def save(query: str, event: gr.EventData, request: gr.Request) -> Page:
            try:
                here = read_place(query)
                made = await desk.run(visitor_of(request), download, explorer, here, as_text(event.download))
            except HeadRolesError as error:
                return say(render_message(str(error)))
            return {file: render_download(made.name, made.media_type, made.content, next(numbers)), message: ""}

        tools.select(save, place, [file, *saying], **quiet)

        def give_up(request: gr.Request) -> Page:
            """Ends the turn under way; gradio's own `cancels` shows errors all over the page."""
            running = turns.newest(request.session_hash)
            turns.begin(request.session_hash)
            return say(render_message("Stopped; nothing of it is kept."), offered=bool(running and running.analyses))

        stop.click(give_up, None, saying, **quiet)
        model.change(lambda name: {about: render_model(name, any_model), **say("")}, model, [about, *saying], **quiet)
    return app.queue(default_concurrency_limit=None)  # the desk refuses in words, gradio's queue would only hold back


def model_label(name: str) -> str:
    """How the list of models calls one: its name, and layers by heads."""
    info = MODELS[name]
    return f"{name} ({info.num_layers} × {info.num_heads}{', gated' if info.gated else ''})"
