"""The page. With `endpoints`, one of two files that import gradio."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

import gradio as gr
from gradio.components import Component

from headroles.attention import Head
from headroles.endpoints import add_api, follow, in_thread
from headroles.errors import HeadRolesError, NoHeadCategoriesError
from headroles.explorer import Explorer
from headroles.heatmaps import attention_figure, to_png
from headroles.panel import render_head, render_map, render_message, render_model, render_panel
from headroles.readings import Analysis
from headroles.registry import EMBEDDED_MODEL, MODELS
from headroles.roles import MEASURED_ROLES, ROLES, Role, get_role

ASSETS = Path(__file__).parent / "assets"
EXAMPLES = (
    "The king and the queen lived in a castle. The king and the",
    "The old man told the boy a story, and the boy told the old man another story.",
    "Once upon a time there was a little girl who lived near a great forest.",
    "red green blue black white red green blue black white",
    "The sun rose over the hills, and the village was still asleep when the first boats came home.",
)
INTRODUCTION = (
    '<div class="hr-top"><h1>headroles</h1><p>A language model reads your sentence with many <b>attention heads</b>. '
    "See which head does which job, and which of them are doing it right now.</p></div>"
)
Page = dict[Component, object]


@dataclass(frozen=True)
class Shown:
    """What a visitor's page shows: small, because the patterns live in the explorer's cache."""

    analysis: Analysis
    head: Head
    role: Role


@dataclass(frozen=True)
class Drawn:
    """The HTML of the page's parts, and the role that the map shows."""

    panel: str
    view: str
    which: str
    scores: str


def build_app(explorer: Explorer) -> gr.Blocks:
    """The page, showing a full result for the first example at once, and the API. Does not launch."""
    first = first_look(explorer, EMBEDDED_MODEL, EXAMPLES[0])
    start = render(explorer, first)
    listener = (ASSETS / "panel.js").read_text("utf-8")
    with gr.Blocks(title="headroles", analytics_enabled=False) as app:
        state = gr.State(first)
        gr.HTML(INTRODUCTION)
        with gr.Row(equal_height=True):
            model = gr.Dropdown(
                [(model_label(name), name) for name in MODELS],
                value=EMBEDDED_MODEL,
                label="Model",
                allow_custom_value=explorer.settings.any_model,
                scale=2,
                min_width=260,
                elem_id="model",
            )
            prompt = gr.Textbox(EXAMPLES[0], label="Your sentence", max_lines=4, scale=5, min_width=240, elem_id="prompt")
            button = gr.Button("Explore", variant="primary", scale=0, min_width=110)
        about = gr.HTML(render_model(EMBEDDED_MODEL, explorer.settings.any_model), elem_id="about")
        examples = gr.Examples([[text] for text in EXAMPLES], inputs=[prompt], label="Or take one of these")
        message = gr.HTML(elem_id="message")
        with gr.Row():
            offer = gr.Button("Analyse this model here", visible=False, scale=0, min_width=240, elem_id="offer")
            stop = gr.Button("Stop", visible=False, scale=0, min_width=110, elem_id="stop")
        with gr.Row():
            with gr.Column(scale=6, min_width=320):
                panel = gr.HTML(start.panel, elem_id="panel", js_on_load=listener)
            with gr.Column(scale=5, min_width=320):
                view = gr.HTML(start.view, elem_id="view")
                which = gr.Radio(
                    [(role.display_name, role.name) for role in MEASURED_ROLES],
                    value=start.which,
                    label="All heads of the model: scores for",
                    elem_id="which",
                )
                scores = gr.HTML(start.scores, elem_id="map", js_on_load=listener)
        add_api(explorer)

        def page(shown: Shown) -> Page:
            """Every output of the page in step, as a dict, so that an error can leave them all as they are."""
            drawn = render(explorer, shown)
            parts = {panel: drawn.panel, view: drawn.view, which: drawn.which, scores: drawn.scores}
            return {**say(""), state: shown, **parts}

        def say(html: str, offered: bool = False, stoppable: bool = False) -> Page:
            """A message, with the offer to analyse the model here, or to stop what is under way."""
            return {message: html, offer: gr.update(visible=offered), stop: gr.update(visible=stoppable)}

        def run(model_name: str, text: str, shown: Shown) -> Page:
            analysis = explorer.analyze(model_name, text)
            same_model = shown.analysis.model == model_name
            return page(Shown(analysis, shown.head, shown.role) if same_model else first_look(explorer, model_name, text))

        def try_role(shown: Shown, event: gr.EventData) -> Page:
            role = get_role(str(event.role))
            analysis = explorer.analyze(shown.analysis.model, role.suggested_prompt)
            heads = [reading.head for reading in analysis.role(role.name).heads]
            return {prompt: role.suggested_prompt, **page(Shown(analysis, heads[0] if heads else shown.head, role))}

        def open_head(shown: Shown, event: gr.SelectData) -> Page:
            layer, index = event.index
            return page(Shown(shown.analysis, Head(layer, index), get_role(str(event.value))))

        def change_map(role_name: str, shown: Shown) -> Page:
            return page(Shown(shown.analysis, shown.head, get_role(role_name)))

        def on_page(function: Callable[..., Page], picked: bool = False) -> Callable[..., AsyncIterator[Page]]:
            """An event handler that works in a thread of its own, on the model that is shown or, with `picked`, the one that is
            its first input; while that has to be loaded, the page says how far it is.
            """

            @wraps(function)
            async def handler(*inputs: object) -> AsyncIterator[Page]:
                shown = next(value for value in inputs if isinstance(value, Shown))
                name = str(inputs[0]) if picked else shown.analysis.model
                try:
                    async for progress in follow(explorer.prepare(name)):
                        yield say(progress)
                    yield await in_thread(function, *inputs)
                except NoHeadCategoriesError as error:
                    yield say(render_message(str(error)), offered=True)
                except HeadRolesError as error:
                    yield say(render_message(str(error)))

            return handler

        stopping: set[str | None] = set()  # sessions whose visitor pressed Stop; gradio's own `cancels` shows errors all over

        async def analyse(model_name: str, text: str, shown: Shown, request: gr.Request) -> AsyncIterator[Page]:
            """Scores the model here, then explores the prompt as a click on Explore would."""
            stopping.discard(request.session_hash)
            job = None
            try:
                job = explorer.analyse_here(model_name)
                async for progress in follow(job):
                    if request.session_hash in stopping:
                        yield say(render_message("Stopped; nothing of it is kept."), offered=True)
                        return
                    yield say(progress, stoppable=True)
                yield await in_thread(run, model_name, text, shown)
            except HeadRolesError as error:
                yield say(render_message(str(error)), offered=True)
            finally:
                stopping.discard(request.session_hash)
                if job is not None:
                    job.leave()  # others may still wait for it

        outputs = [message, offer, stop, prompt, panel, view, which, scores, state]
        options = {"outputs": outputs, "api_visibility": "private", "concurrency_limit": None}
        for event in (button.click, prompt.submit, examples.load_input_event.then):
            event(on_page(run, picked=True), [model, prompt, state], **options)
        panel.submit(on_page(try_role), state, **options)
        for part in (panel, scores):
            part.select(on_page(open_head), state, **options)
        which.input(on_page(change_map), [which, state], **options)
        offer.click(analyse, [model, prompt, state], **options)

        def stop_analysis(request: gr.Request) -> None:
            stopping.add(request.session_hash)

        stop.click(stop_analysis, api_visibility="private", concurrency_limit=None, show_progress="hidden")
        model.change(
            lambda name: {about: render_model(name, explorer.settings.any_model), **say("")},
            model,
            [about, message, offer, stop],
            api_visibility="private",
            show_progress="hidden",
        )
    return app.queue(default_concurrency_limit=8)


def model_label(name: str) -> str:
    """How the list of models calls one: its name, and layers by heads."""
    info = MODELS[name]
    return f"{name} ({info.num_layers} × {info.num_heads}{', gated' if info.gated else ''})"


def first_look(explorer: Explorer, model: str, prompt: str) -> Shown:
    """A prompt on a model, with the strongest head of its first active role opened, content roles first."""
    analysis = explorer.analyze(model, prompt)
    order = sorted(
        (reading for reading in analysis.roles if reading.heads),
        key=lambda reading: (not reading.is_active, not reading.role.requires_repetition),
    )
    if not order:
        return Shown(analysis, Head(0, 0), ROLES["other"])
    best = max(order[0].heads, key=lambda head: head.activation)
    return Shown(analysis, best.head, order[0].role)


def render(explorer: Explorer, shown: Shown) -> Drawn:
    """The page's parts for what a visitor looks at."""
    view = explorer.view_head(shown.analysis.model, shown.analysis.prompt, shown.head, shown.role)
    role = shown.role if shown.role.measure else MEASURED_ROLES[0]
    return Drawn(
        panel=render_panel(shown.analysis, shown.head),
        view=render_head(view, to_png(attention_figure(view))),
        which=role.name,
        scores=render_map(explorer.categories(shown.analysis.model), role, shown.head),
    )
