"""A place on the page -> the HTML of the page's parts. Knows nothing of gradio."""

from collections.abc import Mapping
from dataclasses import replace

from headroles.core.comparison import compare_models, compare_prompts
from headroles.core.readings import Analysis, HeadView
from headroles.errors import InvalidInputError
from headroles.explorer import Explorer
from headroles.render.cards import render_panel
from headroles.render.compare_models import render_model_comparison
from headroles.render.compare_texts import render_prompt_comparison
from headroles.render.exports import (
    DOWNLOADS,
    Download,
    analysis_json,
    heatmap_file,
    map_file,
    scores_csv,
    standalone_page,
)
from headroles.render.head_page import render_head, render_twin
from headroles.render.model_map import render_map
from headroles.render.text import render_text
from headroles.server.place import Place

Parts = Mapping[str, str]


def visit(explorer: Explorer, place: Place, last: Place | None = None) -> tuple[Place, Parts]:
    """The place with its head filled in, and the parts of the page that differ from those of `last`, by name.

    Raises as `Explorer.analyze` and `Explorer.view_head` do, and InvalidInputError for a comparison of something with itself.
    """
    parts: dict[str, str] = {}
    is_new_text = last is None or (place.model, place.prompt) != (last.model, last.prompt)
    if is_new_text or place.head is None:
        analysis = explorer.analyze(place.model, place.prompt)
        place = open_telling_head(place, analysis) if place.head is None else place
        parts = {"text": render_text(analysis), "map": render_map(analysis), "panel": render_panel(analysis)}
    if last is None or parts or (place.head, place.role) != (last.head, last.role):
        parts |= {"view": render_view(explorer, place), "twin": ""}
    if last is None or is_new_text or last.other_prompt != place.other_prompt:
        parts["by_prompt"] = _compare_prompts(explorer, place)
    if last is None or is_new_text or last.other_model != place.other_model:
        parts["by_model"] = _compare_models(explorer, place)
    return place, parts


def render_view(explorer: Explorer, place: Place) -> str:
    """The page of the head that is open: what a click on a head costs."""
    return render_head(_view(explorer, place))


def draw_twin(explorer: Explorer, place: Place) -> str:
    """The open head on its role's suggested prompt, which may take a forward of its own; empty for a role without one."""
    view = _view(explorer, place)
    prompt = view.role.suggested_prompt
    if not prompt:
        return ""
    return render_twin(explorer.view_head(place.model, prompt, view.head, view.role), view.prompt == prompt)


def open_telling_head(place: Place, analysis: Analysis) -> Place:
    """The place with the strongest head of its role, or else of the first active role, content roles first."""
    readings = [reading for reading in analysis.roles if reading.heads and (place.role or reading.role) == reading.role]
    telling = min(readings, key=lambda reading: (not reading.is_active, not reading.role.requires_repetition), default=None)
    if telling is None or telling.strongest is None:
        return replace(place, head=analysis.heads.heads()[0])
    return replace(place, head=telling.strongest.head, role=telling.role)


def download(explorer: Explorer, place: Place, name: str) -> Download:
    """One of DOWNLOADS for what the page shows. Raises InvalidInputError for any other name, and as `visit`."""
    analysis = explorer.analyze(place.model, place.prompt)
    place = open_telling_head(place, analysis) if place.head is None else place
    match name:
        case "heatmap.png":
            return heatmap_file(_view(explorer, place), "png")
        case "heatmap.svg":
            return heatmap_file(_view(explorer, place), "svg")
        case "map.png":
            return map_file(analysis, "png", place.head)
        case "map.svg":
            return map_file(analysis, "svg", place.head)
        case "scores.csv":
            return scores_csv(analysis)
        case "analysis.json":
            return analysis_json(analysis)
        case "page.html":
            return _page_file(explorer, place)
    raise InvalidInputError(f"There is no download {name[:50]!r}; there are {', '.join(DOWNLOADS)}.")


def _page_file(explorer: Explorer, place: Place) -> Download:
    _, parts = visit(explorer, place)
    order = ("text", "map", "view", "panel", "by_prompt", "by_model")
    body = "".join(f'<div data-part="{name}">{parts[name]}</div>' for name in order if parts[name])
    date = explorer.categories(place.model).analysis_date
    return standalone_page(f"{place.model}: {place.prompt}", body, date)


def _view(explorer: Explorer, place: Place) -> HeadView:
    assert place.head is not None
    return explorer.view_head(place.model, place.prompt, place.head, place.role)


def _compare_prompts(explorer: Explorer, place: Place) -> str:
    if not place.other_prompt:
        return ""
    first, other = (explorer.analyze(place.model, prompt) for prompt in (place.prompt, place.other_prompt))
    return render_prompt_comparison(compare_prompts(first, other))


def _compare_models(explorer: Explorer, place: Place) -> str:
    if not place.other_model:
        return ""
    first, other = (explorer.analyze(model, place.prompt) for model in (place.model, place.other_model))
    return render_model_comparison(compare_models(first, other))
