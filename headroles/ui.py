"""The page and the typed API. The only file that imports gradio."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import NoReturn, ParamSpec, TypedDict, TypeVar

import gradio as gr
from gradio.components import Component

from headroles.attention import Head
from headroles.errors import HeadRolesError
from headroles.explorer import Explorer
from headroles.heatmaps import attention_figure, to_png
from headroles.models import EMBEDDED_MODEL
from headroles.panel import render_head, render_map, render_message, render_panel
from headroles.readings import Analysis, HeadReading, HeadView
from headroles.roles import MEASURED_ROLES, ROLES, Role, get_role
from headroles.wording import describe_head

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

P = ParamSpec("P")
R = TypeVar("R")


class HeadResult(TypedDict):
    """One head in one role; all numbers 0 to 1."""

    layer: int
    head: int
    score: float
    activation_score: float
    chance: float
    is_active: bool


class RoleResult(TypedDict):
    """One role on the prompt; `heads` are the model's top heads of this role, best first."""

    key: str
    display_name: str
    description: str
    applicable: bool
    active: bool
    reason: str
    heads: list[HeadResult]


class AnalysisResult(TypedDict):
    """What every role's top heads do on the prompt."""

    model: str
    prompt: str
    tokens: list[str]
    num_layers: int
    num_heads: int
    source: str
    analysis_date: str
    revision: str
    roles: list[RoleResult]


class ModelResult(TypedDict):
    """A model that can be analysed."""

    name: str
    description: str


class PatternResult(TypedDict):
    """One head's attention; `pattern` [query][key]; `roles` by role key."""

    model: str
    tokens: list[str]
    layer: int
    head: int
    pattern: list[list[float]]
    primary_role: str
    description: str
    roles: dict[str, HeadResult]


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
            names = [info.name for info in explorer.models()]
            model = gr.Dropdown(names, value=EMBEDDED_MODEL, label="Model", scale=1, min_width=180)
            prompt = gr.Textbox(EXAMPLES[0], label="Your sentence", max_lines=4, scale=4, min_width=240, elem_id="prompt")
            button = gr.Button("Explore", variant="primary", scale=0, min_width=110)
        examples = gr.Examples([[text] for text in EXAMPLES], inputs=[prompt], label="Or take one of these")
        message = gr.HTML(elem_id="message")
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

        def page(shown: Shown) -> dict[Component, object]:
            """Every output of the page in step, as a dict, so that an error can leave them all as they are."""
            drawn = render(explorer, shown)
            parts = {panel: drawn.panel, view: drawn.view, which: drawn.which, scores: drawn.scores}
            return {message: "", state: shown, **parts}

        def run(model_name: str, text: str, shown: Shown) -> dict[Component, object]:
            analysis = explorer.analyze(model_name, text)
            same_model = shown.analysis.model == model_name
            return page(Shown(analysis, shown.head, shown.role) if same_model else first_look(explorer, model_name, text))

        def try_role(shown: Shown, event: gr.EventData) -> dict[Component, object]:
            role = get_role(str(event.role))
            analysis = explorer.analyze(shown.analysis.model, role.suggested_prompt)
            heads = [reading.head for reading in analysis.role(role.name).heads]
            return {prompt: role.suggested_prompt, **page(Shown(analysis, heads[0] if heads else shown.head, role))}

        def open_head(shown: Shown, event: gr.SelectData) -> dict[Component, object]:
            layer, index = event.index
            return page(Shown(shown.analysis, Head(layer, index), get_role(str(event.value))))

        def change_map(role_name: str, shown: Shown) -> dict[Component, object]:
            return page(Shown(shown.analysis, shown.head, get_role(role_name)))

        def say(text: str) -> dict[Component, object]:
            return {message: render_message(text)}

        outputs = [message, prompt, panel, view, which, scores, state]
        for event in (button.click, prompt.submit, examples.load_input_event.then):
            event(guarded(run, say), [model, prompt, state], outputs, api_visibility="private")
        panel.submit(guarded(try_role, say), state, outputs, api_visibility="private")
        for part in (panel, scores):
            part.select(guarded(open_head, say), state, outputs, api_visibility="private")
        which.input(guarded(change_map, say), [which, state], outputs, api_visibility="private")
    return app.queue(default_concurrency_limit=8)


def add_api(explorer: Explorer) -> None:
    """The public endpoints; every input is checked inside, since hints are not enforced."""

    def models() -> list[ModelResult]:
        """The models that can be analysed."""
        return [{"name": info.name, "description": info.title} for info in explorer.models()]

    def analyze(model: str, prompt: str) -> AnalysisResult:
        """Which heads of `model` do which job on `prompt`: every role with its top heads, applicable or not and why."""
        return analysis_result(explorer.analyze(model, prompt))

    def pattern(model: str, prompt: str, layer: int, head: int) -> PatternResult:
        """The attention of one head on `prompt`, [query][key], with what it does there in every role."""
        return pattern_result(explorer.view_head(model, prompt, Head(layer, head)))

    def refuse(text: str) -> NoReturn:
        raise gr.Error(text, print_exception=False)

    def publish(name: str, function: Callable[..., object]) -> None:
        checked = guarded(function, refuse)
        gr.api(checked, api_name=name, api_description=function.__doc__)  # pyright: ignore[reportPrivateImportUsage]

    publish("models", models)
    publish("analyze", analyze)
    publish("pattern", pattern)


def guarded(function: Callable[P, R], answer: Callable[[str], R]) -> Callable[P, R]:
    """The one place where a user's error becomes an answer; anything else is a bug and stays one."""

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except HeadRolesError as error:
            return answer(str(error))

    return checked


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


def head_result(reading: HeadReading) -> HeadResult:
    return {
        "layer": reading.head.layer,
        "head": reading.head.index,
        "score": reading.score,
        "activation_score": reading.activation,
        "chance": reading.chance,
        "is_active": reading.is_active,
    }


def analysis_result(analysis: Analysis) -> AnalysisResult:
    return {
        "model": analysis.model,
        "prompt": analysis.prompt,
        "tokens": list(analysis.tokens),
        "num_layers": analysis.num_layers,
        "num_heads": analysis.num_heads,
        "source": analysis.source.kind,
        "analysis_date": analysis.source.analysis_date,
        "revision": analysis.source.revision,
        "roles": [
            {
                "key": reading.role.name,
                "display_name": reading.role.display_name,
                "description": reading.role.description,
                "applicable": reading.applicable,
                "active": reading.is_active,
                "reason": reading.reason,
                "heads": [head_result(head) for head in reading.heads],
            }
            for reading in analysis.roles
        ],
    }


def pattern_result(view: HeadView) -> PatternResult:
    return {
        "model": view.model,
        "tokens": list(view.tokens),
        "layer": view.head.layer,
        "head": view.head.index,
        "pattern": view.pattern.tolist(),
        "primary_role": view.primary.name,
        "description": describe_head(view),
        "roles": {name: head_result(reading) for name, reading in view.readings.items()},
    }
