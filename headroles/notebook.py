"""Results as notebooks show them: a page of their own in a frame that may run its script and reach nothing else."""

from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup, escape

from headroles.core.outputs.ablation import Ablation
from headroles.core.readings.analysis import Analysis, HeadView
from headroles.core.readings.comparison import ModelComparison, PromptComparison
from headroles.core.records.head_categories import HeadCategories
from headroles.render.files.exports import standalone_page
from headroles.render.page.answer import render_answer
from headroles.render.page.cards import render_panel, render_record
from headroles.render.page.causes import HeadEffects, render_effects
from headroles.render.page.compare_models import render_model_comparison
from headroles.render.page.compare_texts import render_prompt_comparison
from headroles.render.page.head_page import render_head
from headroles.render.page.model_map import render_map

HEIGHT = 640  # pixels of a frame; what is higher scrolls in it
Drawn = tuple[str, tuple[str, ...]]  # a title, and the parts of the page


def show(result: object) -> str | None:
    """A frame with the result, without a network; None for what nothing draws.

    The frame is sandboxed: of another origin than the notebook, so that nothing in it reaches the notebook's own page.
    """
    if type(result) not in DRAW:
        return None
    title, parts = DRAW[type(result)](result)
    body = "".join(f'<div data-part="{number}">{part}</div>' for number, part in enumerate(parts))
    page = standalone_page(title, body).content.decode()
    frame = '<iframe sandbox="allow-scripts" srcdoc="{}" title="{}" width="100%" height="{}" style="border:0"></iframe>'
    return str(Markup(frame).format(escape(page), title, HEIGHT))


def _analysis(analysis: Analysis) -> Drawn:
    return f"{analysis.model}: {analysis.prompt}", (render_answer(analysis), render_panel(analysis), render_map(analysis))


def _head(view: HeadView) -> Drawn:
    return f"{view.head.label} of {view.model}: {view.prompt}", (render_head(view),)


def _ablation(found: Ablation) -> Drawn:
    labels = ", ".join(head.label for head in found.heads[:8])
    return f"{found.model} without {labels}: {found.prompt}", (render_effects(HeadEffects("", None, None, found)),)


def _record(record: HeadCategories) -> Drawn:
    return f"Attention heads of {record.model_name}", (render_record(record),)


def _prompts(comparison: PromptComparison) -> Drawn:
    return f"{comparison.a.model}: two texts", (render_prompt_comparison(comparison),)


def _models(comparison: ModelComparison) -> Drawn:
    return f"{comparison.a.model} and {comparison.b.model}", (render_model_comparison(comparison),)


DRAW: Mapping[type, Callable[[Any], Drawn]] = {
    Analysis: _analysis,
    HeadView: _head,
    Ablation: _ablation,
    HeadCategories: _record,
    PromptComparison: _prompts,
    ModelComparison: _models,
}
