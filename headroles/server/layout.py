"""The page: its layout, and the handler of each event."""

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
from headroles.server.page.handlers import INPUTS, MESSAGE_OUTPUTS, OUTPUTS, Handlers, Outputs, PageRequest
from headroles.server.page.page_state import FIRST_PROMPT, TABS, PageState
from headroles.server.page.parts import first_visit

# darker than the theme's own where that has too little contrast
THEME = Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]).set(
    block_title_text_color="*primary_700",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
)
OTHER_PROMPT = ROLES["previous_token"].suggested_prompt  # what the box for a second text holds at first
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
# the action of each element's event
ACTIONS: tuple[tuple[str, str, Action], ...] = (
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
# the scripts in assets that run in an element; all other elements register with the panel's script
SCRIPTS: Mapping[str, tuple[str, ...]] = {
    "tools": ("page",),
    "file": ("file",),
    "api-help": ("help",),
    "training": ("panel", "training"),
    "atlas": ("atlas",),
    "next": (),  # nothing in it can be clicked
}
# The panel's script is in the page once, in its first element, and runs for every part, whichever of them comes first.
REGISTER_PART = "(window.headrolesParts ??= []).push([element, trigger, watch]);"
RUN_PARTS = """const run = ([element, trigger, watch]) => {
%s
};
(window.headrolesParts ??= []).splice(0).forEach(run);
window.headrolesParts.push = run;"""
EVENT_OPTIONS = {
    "api_visibility": "private",
    "concurrency_limit": None,
    "trigger_mode": "multiple",  # by itself gradio drops an event while the one before still draws
    "show_progress": "hidden",
}
# two events may overtake each other on their way, so each sends its time; and what is typed after it is kept
WITH_TIME = "(place, ...others) => [`${place}&_at=${window.headrolesAsked = performance.now()}`, ...others]"
Elements = Mapping[str, Block]  # by name
ByElement = dict[Block, object]  # a handler's outputs as gradio takes them


def build_app(explorer: Explorer) -> gr.Blocks:
    """Builds the page, with the full result of the first example, and the API. Does not launch."""
    state, parts = first_visit(explorer)
    queue = RequestQueue(explorer.settings)
    with GuardedBlocks(title="headroles", analytics_enabled=False) as app:
        elements = lay_out(state, parts, explorer.settings.any_model)
        add_api(explorer, queue, explorer.settings.mcp)
        connect(elements, Handlers(explorer, queue))
    return app.queue(default_concurrency_limit=None)  # our queue refuses with a reason, gradio's would only hold back


def lay_out(state: PageState, parts: Mapping[str, str], any_model: bool) -> Elements:
    """Lays the page out in the Blocks that are being built.

    Args:
        state: What the page shows first.
        parts: The HTML of its parts, by name.
        any_model: Whether visitors may type the name of a model.

    Returns:
        The elements that a handler reads or changes, by name.
    """
    elements: dict[str, Block] = {
        "place": gr.Textbox(state.contents, visible="hidden", elem_id="place"),
        "tab": gr.Textbox(state.tab, visible="hidden", elem_id="tab"),
        "refused": gr.Textbox(visible="hidden", elem_id="refused"),  # the state that the offer below leads to
    }
    gr.HTML(INTRODUCTION, elem_id="top", js_on_load=RUN_PARTS % _script("panel"))
    with gr.Row(equal_height=True, elem_id="ask"):
        elements["model"] = _models(EMBEDDED_MODEL, "Model", "model", any_model)
        elements["prompt"] = _sentence(state.prompt, "Your sentence", "prompt")
        elements["explore"] = gr.Button("Explore", variant="primary", scale=0, min_width=110, elem_id="explore")
    elements["about"] = gr.HTML(render_model(EMBEDDED_MODEL, any_model), elem_id="about")
    elements["examples"] = _html("examples", render_examples(EXAMPLES))
    elements["message"] = gr.HTML(elem_id="message")
    with gr.Row(elem_id="work"):
        elements["offer"] = gr.Button("Analyse this model here", visible=False, scale=0, min_width=240, elem_id="offer")
        elements["stop"] = gr.Button("Stop", visible=False, scale=0, min_width=110, elem_id="stop")
    elements["tools"] = _html("tools", render_tools(state.contents, DOWNLOADS))
    elements["file"] = _html("file")
    with gr.Tabs(selected=state.tab, elem_id="tabs") as elements["tabs"]:
        elements |= _lay_out_tabs(parts, any_model)
    return elements


def _lay_out_tabs(parts: Mapping[str, str], any_model: bool) -> Elements:
    elements: dict[str, Block] = {}

    def tab(name: str) -> gr.Tab:
        elements[f"{name}-tab"] = opened = gr.Tab(TABS[name], id=name)
        return opened

    def part(name: str) -> None:
        elements[name] = _html(name, parts[name])

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
            elements["other_prompt"] = _sentence(OTHER_PROMPT, "Compare your sentence (A) with this one (B)", "other-prompt")
            elements["compare-texts"] = gr.Button("Compare texts", scale=0, min_width=160, elem_id="compare-texts")
        part("by_prompt")
    with tab("models"):
        with gr.Row(equal_height=True):
            label = "Compare the model (A) with this one (B) on your sentence"
            elements["other_model"] = _models(None, label, "other-model", any_model)
            elements["compare-models"] = gr.Button("Compare models", scale=0, min_width=160, elem_id="compare-models")
        part("by_model")
    with tab("training"):
        elements["training"] = _html("training")  # is asked for when its tab is opened
    with tab("atlas"):
        elements["atlas"] = _html("atlas")  # likewise
    with tab("learn"):
        part("lessons_here")
        elements["lessons"] = _html("lessons", render_lessons())
    with tab("api"):
        _html("api-help", render_help())
    return elements


def connect(elements: Elements, handlers: Handlers) -> None:
    """Connects each event with its handler."""
    options = {**EVENT_OPTIONS, "show_progress_on": elements["message"]}  # else the browser copies all outputs at every step
    messages = [elements[name] for name in MESSAGE_OUTPUTS]
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

    for name, event, action in ACTIONS:
        handler = action_handler(elements, handlers, action, analyzes=action is accept_analysis)
        inputs, outputs = ([elements[name] for name in names] for names in (("place", "tab", "refused", *INPUTS), OUTPUTS))
        listen(elements, name, event)(handler, inputs, outputs, js=WITH_TIME, **options)
    listen(elements, "tools", "select")(save, place, [elements["file"], *messages], **options)
    listen(elements, "training", "select")(show_training, place, [elements["training"], *messages], **options)
    listen(elements, "atlas", "select")(show_atlas, None, [elements["atlas"], *messages], **options)
    listen(elements, "stop", "click")(stop, None, messages, **options)
    listen(elements, "model", "change")(describe, model, [elements["about"], *messages], **options)
    for name in TABS:
        # only in the browser: no answer that is under way can come in between
        turn = f"() => {{ document.dispatchEvent(new CustomEvent('turn', {{ detail: '{name}' }})); return '{name}'; }}"
        listen(elements, f"{name}-tab", "select")(None, None, tab, js=turn, api_visibility="private")


def action_handler(
    elements: Elements, handlers: Handlers, action: Action, analyzes: bool
) -> Callable[..., AsyncIterator[ByElement]]:
    """Makes the handler of an action as gradio calls it.

    Args:
        elements: The page's elements, by name.
        handlers: Answers the event.
        action: Gives the next state.
        analyzes: Whether a model without roles is scored first.

    Returns:
        A handler that yields the outputs that change.
    """

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
        sent = PageRequest(query, tab, boxes, details_of(data), request.session_hash, visitor_of(request))
        async for outputs in handlers.follow_action(sent, action, analyzes):
            yield by_element(elements, outputs)

    return handler


def listen(elements: Elements, name: str, event: str) -> Callable:
    """Gives the method that connects a function with an event of an element."""
    return getattr(elements[name], event)


def by_element(elements: Elements, outputs: Outputs) -> ByElement:
    """Gives outputs by element instead of by the element's name."""
    return {elements[name]: value for name, value in outputs.items()}


def details_of(data: gr.EventData) -> Mapping[str, object]:
    """Reads what the script passed to `trigger`, under the names in EVENT_FIELDS; a client may send anything instead."""
    details = {}
    for name in EVENT_FIELDS:
        with suppress(AttributeError, TypeError):  # what was sent has no such name, or no names at all
            details[name] = getattr(data, name)
    return details


def model_label(name: str) -> str:
    """A model's label in the list of models: its name, and layers by heads."""
    info = MODELS[name]
    return f"{name} ({info.num_layers} × {info.num_heads}{', gated' if info.gated else ''})"


def _html(name: str, html: str = "") -> gr.HTML:
    code = "".join(map(_script, SCRIPTS[name])) if name in SCRIPTS else REGISTER_PART
    return gr.HTML(html, elem_id=name, js_on_load=code, apply_default_css=False)


def _script(name: str) -> str:
    return (ASSETS / f"{name}.js").read_text("utf-8")


def _models(value: str | None, label: str, elem_id: str, any_model: bool) -> gr.Dropdown:
    choices = [(model_label(name), name) for name in MODELS]
    return gr.Dropdown(choices, value=value, label=label, allow_custom_value=any_model, scale=2, min_width=260, elem_id=elem_id)


def _sentence(value: str, label: str, elem_id: str) -> gr.Textbox:
    return gr.Textbox(value, label=label, max_lines=4, scale=5, min_width=240, elem_id=elem_id)
