"""The page: its layout, and which handler answers which event."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress

import gradio as gr
from gradio.blocks import Block
from gradio.themes import Soft

from headroles.core.registry import EMBEDDED_MODEL, MODELS
from headroles.core.roles.roles import ROLES
from headroles.explorer import Explorer
from headroles.render.files.exports import DOWNLOADS
from headroles.render.html import ASSETS
from headroles.render.page.lessons import render_lessons
from headroles.render.page.messages import render_model
from headroles.render.page.toolbar import render_examples, render_tools
from headroles.server.api.api_help import render_help
from headroles.server.api.publish import GuardedBlocks, add_api
from headroles.server.gate.request_queue import RequestQueue
from headroles.server.gate.visitors import visitor_of
from headroles.server.page.actions import (
    EVENT_FIELDS,
    Action,
    Inputs,
    accept_analysis,
    beside_model,
    beside_text,
    explore,
    follow_link,
    press,
)
from headroles.server.page.handlers import INPUTS, OUTPUTS, SAYING, Event, Handlers, Outputs
from headroles.server.page.page_state import FIRST_PROMPT, TABS, PageState
from headroles.server.page.parts import first_visit

# darker than the theme's own where that has too little contrast
THEME = Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]).set(
    block_title_text_color="*primary_700",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
)
OTHER_PROMPT = ROLES["previous_token"].suggested_prompt  # stands in the box for a second text
EXAMPLES = (
    FIRST_PROMPT,
    ROLES["duplicate_token"].suggested_prompt,
    OTHER_PROMPT,
    "red green blue black white red green blue black white",
    ROLES["diffuse"].suggested_prompt,
)
INTRODUCTION = (
    '<div class="hr-top"><h1>headroles</h1><p>Which <b>attention heads</b> of a language model do which job on your sentence, '
    "and does it matter?</p></div>"
)
# where an event of an element leads
MOVES: tuple[tuple[str, str, Action], ...] = (
    ("explore", "click", explore),
    ("prompt", "submit", explore),
    ("offer", "click", accept_analysis),
    *((name, "submit", press) for name in ("examples", "map", "view", "causes", "panel", "edits", "by_prompt", "by_model")),
    *((name, "submit", press) for name in ("training", "lessons_here", "lessons")),
    ("compare-texts", "click", beside_text),
    ("other_prompt", "submit", beside_text),
    ("compare-models", "click", beside_model),
    ("tools", "submit", follow_link),
)
# what runs in an element, in assets: all others give themselves to the panel's script
SCRIPTS: Mapping[str, tuple[str, ...]] = {
    "tools": ("page",),
    "file": ("file",),
    "api-help": ("help",),
    "training": ("panel", "training"),
    "atlas": ("atlas",),
    "next": (),  # nothing in it answers
}
# The panel's script stands in the page once, in its first element, and runs for every part; whichever of them comes first.
GIVE = "(window.headrolesParts ??= []).push([element, trigger, watch]);"
TAKE = """const run = ([element, trigger, watch]) => {
%s
};
(window.headrolesParts ??= []).splice(0).forEach(run);
window.headrolesParts.push = run;"""
QUIET = {
    "api_visibility": "private",
    "concurrency_limit": None,
    "trigger_mode": "multiple",  # by itself gradio drops an event while the one before still draws
    "show_progress": "hidden",
}
# two events of a moment may overtake each other on their way: each says when it was; and what is typed after it is kept
TIMED = "(place, ...others) => [`${place}&_at=${window.headrolesAsked = performance.now()}`, ...others]"
Elements = Mapping[str, Block]  # by name
ByElement = dict[Block, object]  # what a handler gives, as gradio takes it


def build_app(explorer: Explorer) -> gr.Blocks:
    """The page, showing a full result for the first example at once, and the API. Does not launch."""
    here, parts = first_visit(explorer)
    desk = RequestQueue(explorer.settings)
    with GuardedBlocks(title="headroles", analytics_enabled=False) as app:
        elements = lay_out(here, parts, explorer.settings.any_model)
        add_api(explorer, desk, explorer.settings.mcp)
        connect(elements, Handlers(explorer, desk))
    return app.queue(default_concurrency_limit=None)  # the desk refuses in words, gradio's queue would only hold back


def lay_out(here: PageState, parts: Mapping[str, str], any_model: bool) -> Elements:
    """The page's elements, of which those that a handler names are given back."""
    made: dict[str, Block] = {
        "place": gr.Textbox(here.contents, visible="hidden", elem_id="place"),
        "tab": gr.Textbox(here.tab, visible="hidden", elem_id="tab"),
        "refused": gr.Textbox(visible="hidden", elem_id="refused"),  # the place that the offer below leads to
    }
    gr.HTML(INTRODUCTION, elem_id="top", js_on_load=TAKE % _script("panel"))
    with gr.Row(equal_height=True, elem_id="ask"):
        made["model"] = _models(EMBEDDED_MODEL, "Model", "model", any_model)
        made["prompt"] = _sentence(here.prompt, "Your sentence", "prompt")
        made["explore"] = gr.Button("Explore", variant="primary", scale=0, min_width=110, elem_id="explore")
    made["about"] = gr.HTML(render_model(EMBEDDED_MODEL, any_model), elem_id="about")
    made["examples"] = _html("examples", render_examples(EXAMPLES))
    made["message"] = gr.HTML(elem_id="message")
    with gr.Row(elem_id="work"):
        made["offer"] = gr.Button("Analyse this model here", visible=False, scale=0, min_width=240, elem_id="offer")
        made["stop"] = gr.Button("Stop", visible=False, scale=0, min_width=110, elem_id="stop")
    made["tools"] = _html("tools", render_tools(here.contents, DOWNLOADS))
    made["file"] = _html("file")
    with gr.Tabs(selected=here.tab, elem_id="tabs") as made["tabs"]:
        made |= _lay_out_tabs(parts, any_model)
    return made


def _lay_out_tabs(parts: Mapping[str, str], any_model: bool) -> Elements:
    made: dict[str, Block] = {}

    def tab(name: str) -> gr.Tab:
        made[f"{name}-tab"] = opened = gr.Tab(TABS[name], id=name)
        return opened

    def part(name: str) -> None:
        made[name] = _html(name, parts[name])

    with tab("explore"):
        part("text")
        part("next")
        part("panel")
        part("edits")
        part("causes")
        with gr.Row(elem_id="glance"):
            with gr.Column(scale=4, min_width=320):
                part("map")
                part("twin")
            with gr.Column(scale=6, min_width=320):
                part("view")
    with tab("prompts"):
        with gr.Row(equal_height=True):
            made["other_prompt"] = _sentence(OTHER_PROMPT, "Compare your sentence (A) with this one (B)", "other-prompt")
            made["compare-texts"] = gr.Button("Compare texts", scale=0, min_width=160, elem_id="compare-texts")
        part("by_prompt")
    with tab("models"):
        with gr.Row(equal_height=True):
            label = "Compare the model (A) with this one (B) on your sentence"
            made["other_model"] = _models(None, label, "other-model", any_model)
            made["compare-models"] = gr.Button("Compare models", scale=0, min_width=160, elem_id="compare-models")
        part("by_model")
    with tab("training"):
        made["training"] = _html("training")  # asks for itself when it is looked at
    with tab("atlas"):
        made["atlas"] = _html("atlas")  # likewise
    with tab("learn"):
        part("lessons_here")
        made["lessons"] = _html("lessons", render_lessons())
    with tab("api"):
        _html("api-help", render_help())
    return made


def connect(elements: Elements, handlers: Handlers) -> None:
    """Says for each event which handler answers it."""
    quiet = {**QUIET, "show_progress_on": elements["message"]}  # else the browser copies all outputs at every step of an event
    saying = [elements[name] for name in SAYING]
    place, model, tab = elements["place"], elements["model"], elements["tab"]

    async def save(query: object, data: gr.EventData, request: gr.Request) -> ByElement:
        return by_element(elements, await handlers.save(query, details_of(data).get("download"), visitor_of(request)))

    async def show_training(query: object, request: gr.Request) -> ByElement:
        return by_element(elements, await handlers.show_training(query, visitor_of(request)))

    async def show_atlas(request: gr.Request) -> ByElement:
        return by_element(elements, await handlers.show_atlas(visitor_of(request)))

    def stop(request: gr.Request) -> ByElement:
        return by_element(elements, handlers.stop(request.session_hash))

    def describe(name: str) -> ByElement:
        return by_element(elements, handlers.describe_model(name))

    for name, event, move in MOVES:
        handler = answer_move(elements, handlers, move, analyses=move is accept_analysis)
        shown, changed = ([elements[name] for name in names] for names in (("place", "tab", "refused", *INPUTS), OUTPUTS))
        listen(elements, name, event)(handler, shown, changed, js=TIMED, **quiet)
    listen(elements, "tools", "select")(save, place, [elements["file"], *saying], **quiet)
    listen(elements, "training", "select")(show_training, place, [elements["training"], *saying], **quiet)
    listen(elements, "atlas", "select")(show_atlas, None, [elements["atlas"], *saying], **quiet)
    listen(elements, "stop", "click")(stop, None, saying, **quiet)
    listen(elements, "model", "change")(describe, model, [elements["about"], *saying], **quiet)
    for name in TABS:
        # all in the browser: no answer that is under way can come in between
        turn = f"() => {{ document.dispatchEvent(new CustomEvent('turn', {{ detail: '{name}' }})); return '{name}'; }}"
        listen(elements, f"{name}-tab", "select")(None, None, tab, js=turn, api_visibility="private")


def answer_move(elements: Elements, handlers: Handlers, move: Action, analyses: bool) -> Callable[..., AsyncIterator[ByElement]]:
    """The handler of an event that leads from one place to another, as gradio calls it."""

    async def handler(
        query: object,
        tab: object,
        refused: object,
        model: object,
        prompt: object,
        other_prompt: object,
        other_model: object,
        data: gr.EventData,
        request: gr.Request,
    ) -> AsyncIterator[ByElement]:
        boxes = Inputs(model, prompt, other_prompt, other_model, refused)
        event = Event(query, tab, boxes, details_of(data), request.session_hash, visitor_of(request))
        async for outputs in handlers.follow_move(event, move, analyses):
            yield by_element(elements, outputs)

    return handler


def listen(elements: Elements, name: str, event: str) -> Callable:
    """What says which function answers an event of an element."""
    return getattr(elements[name], event)


def by_element(elements: Elements, outputs: Outputs) -> ByElement:
    return {elements[name]: value for name, value in outputs.items()}


def details_of(data: gr.EventData) -> Mapping[str, object]:
    """What the script passed to `trigger`, of the names that ours use; a client may send anything instead."""
    details = {}
    for name in EVENT_FIELDS:
        with suppress(AttributeError, TypeError):  # there is no such name, or what was sent has none
            details[name] = getattr(data, name)
    return details


def model_label(name: str) -> str:
    """How the list of models calls one: its name, and layers by heads."""
    info = MODELS[name]
    return f"{name} ({info.num_layers} × {info.num_heads}{', gated' if info.gated else ''})"


def _html(name: str, html: str = "") -> gr.HTML:
    code = "".join(map(_script, SCRIPTS[name])) if name in SCRIPTS else GIVE
    return gr.HTML(html, elem_id=name, js_on_load=code, apply_default_css=False)


def _script(name: str) -> str:
    return (ASSETS / f"{name}.js").read_text("utf-8")


def _models(value: str | None, label: str, elem_id: str, any_model: bool) -> gr.Dropdown:
    choices = [(model_label(name), name) for name in MODELS]
    return gr.Dropdown(choices, value=value, label=label, allow_custom_value=any_model, scale=2, min_width=260, elem_id=elem_id)


def _sentence(value: str, label: str, elem_id: str) -> gr.Textbox:
    return gr.Textbox(value, label=label, max_lines=4, scale=5, min_width=240, elem_id=elem_id)
