"""The parts of the page: a table of what each is drawn from and when; page, updates and downloads are made by it."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from headroles.core.surveys.atlas import Atlas
from headroles.core.surveys.training_run import TrainingRun
from headroles.errors import InvalidInputError, NoTrainingRunError
from headroles.explorer import Explorer
from headroles.render.files.exports import (
    DOWNLOADS,
    Download,
    Kind,
    analysis_json,
    atlas_csv,
    atlas_sheet_file,
    heatmap_file,
    map_file,
    model_sheet_file,
    scores_csv,
    standalone_page,
    text_sheet_file,
    training_csv,
    training_json,
)
from headroles.render.page.answer import render_answer
from headroles.render.page.cards import render_edits, render_panel
from headroles.render.page.causes import render_effects
from headroles.render.page.compare_models import render_model_comparison
from headroles.render.page.compare_texts import render_prompt_comparison
from headroles.render.page.head_page import render_head, render_twin
from headroles.render.page.lessons import render_lessons_here
from headroles.render.page.model_map import render_map
from headroles.render.page.next_token import render_next
from headroles.render.surveys.atlas import render_atlas
from headroles.render.surveys.training import render_training
from headroles.server.page.page_data import PageData, load_page_data, load_training
from headroles.server.page.page_state import PageState


@dataclass(frozen=True)
class Part:
    """One part of the page.

    Attributes:
        name: The name of its element on the page and in the saved page.
        subject: The attribute of PageData that it is drawn from; where that is None, the part is empty.
        depends_on: The attributes of PageState that it is drawn anew for when they change.
        draw: Makes its HTML from the subject.
        comes_later: Whether it is loaded and drawn on its own after the page has answered, because it may take a forward.
        is_saved: Whether the saved page holds it.
        is_answer: Whether it goes to the page before all others.
    """

    name: str
    subject: str
    depends_on: frozenset[str]
    draw: Callable[[Any], str]
    comes_later: bool = False
    is_saved: bool = True
    is_answer: bool = False


TEXT = frozenset({"model", "prompt"})
HEAD = TEXT | {"head", "role"}
# in the order of the saved page
PARTS: Mapping[str, Part] = MappingProxyType(
    {
        part.name: part
        for part in (
            Part("text", "analysis", TEXT, render_answer, is_answer=True),
            Part("next", "next", TEXT, render_next, comes_later=True),
            Part("panel", "analysis", TEXT, render_panel, is_answer=True),
            Part("causes", "effects", TEXT | {"out", "method"}, render_effects, comes_later=True),
            Part("map", "analysis", TEXT, render_map),
            Part("view", "view", HEAD, render_head),
            Part("twin", "twin", HEAD, lambda twin: render_twin(*twin), comes_later=True, is_saved=False),
            Part("edits", "edits", TEXT, lambda edits: render_edits(*edits), comes_later=True, is_saved=False),
            Part("lessons_here", "lessons", frozenset({"model"}), lambda known: render_lessons_here(*known), is_saved=False),
            Part("by_prompt", "prompts", TEXT | {"other_prompt"}, render_prompt_comparison),
            Part("by_model", "models", TEXT | {"other_model"}, render_model_comparison),
        )
    }
)


def first_visit(explorer: Explorer) -> tuple[PageState, Mapping[str, str]]:
    """Draws the page that a visitor sees first. Returns its state, and the HTML of all parts by name."""
    data = load_page_data(explorer, PageState())
    return data.state, draw(data, PARTS.values())


def visit(explorer: Explorer, state: PageState, last: PageState | None = None) -> tuple[PageData, Mapping[str, str]]:
    """Loads and draws what a page shows at once when it goes from one state to another.

    Args:
        explorer: Answers the questions.
        state: The new state.
        last: What the page shows; None where that is not known.

    Returns:
        The data, with the open head filled in, and the HTML of the parts that differ from those of `last`, by name. Parts that
        come later are still empty.

    Raises:
        HeadRolesError: As in `load_page_data`.
    """
    parts = changed_parts(state, last)
    data = load_page_data(explorer, state, {part.subject for part in parts if not part.comes_later})
    parts = changed_parts(data.state, last)  # without the view, where the head that was filled in is open already
    return data, draw(data, parts)


def draw_later(explorer: Explorer, data: PageData, names: Collection[str] = PARTS) -> Mapping[str, str]:
    """Loads and draws those of the named parts that come later, by name. Raises as `load_page_data` does."""
    parts = [part for part in PARTS.values() if part.comes_later and part.name in names]
    return draw(load_page_data(explorer, data.state, {part.subject for part in parts}, data), parts)


def draw_training(explorer: Explorer, state: PageState) -> str:
    """Draws the training tab, which the page asks for when it is opened. Raises as `load_training` does."""
    return render_training(load_training(explorer, state))


def draw_atlas(explorer: Explorer) -> str:
    """Draws the atlas tab, which the page asks for when it is opened."""
    return render_atlas(explorer.atlas())


def changed_parts(state: PageState, last: PageState | None) -> list[Part]:
    """Lists the parts that differ between two states; without a last one, all."""
    if last is None:
        return list(PARTS.values())
    changed = {name for name in vars(state) if getattr(state, name) != getattr(last, name)}
    return [part for part in PARTS.values() if part.depends_on & changed]


def draw(data: PageData, parts: Iterable[Part]) -> Mapping[str, str]:
    """Makes the HTML of these parts, by name."""
    subjects = {part: getattr(data, part.subject) for part in parts}
    return {part.name: "" if subject is None else part.draw(subject) for part, subject in subjects.items()}


def download(explorer: Explorer, state: PageState, name: str) -> Download:
    """Makes a file of what the page shows.

    Args:
        explorer: Answers the questions.
        state: What the page shows.
        name: One of DOWNLOADS.

    Returns:
        The file.

    Raises:
        InvalidInputError: There is no download of that name.
        HeadRolesError: All else as in `load_page_data`.
    """
    if name not in FILES:
        raise InvalidInputError(f"There is no download {name[:50]!r}; there are {', '.join(DOWNLOADS)}.")
    wanted, make = FILES[name]
    return make(load_page_data(explorer, state, wanted))


def _page_file(data: PageData) -> Download:
    drawn = draw(data, [part for part in PARTS.values() if part.is_saved])
    body = "".join(f'<div data-part="{name}">{html}</div>' for name, html in drawn.items() if html)
    return standalone_page(f"{data.state.model}: {data.state.prompt}", body, data.known_analysis.source.analysis_date)


def _run(data: PageData) -> TrainingRun:
    """Raises NoTrainingRunError where its model has none."""
    assert data.training is not None
    if data.training.run is None:
        raise NoTrainingRunError(data.training.missing)
    return data.training.run


def _text_sheet(kind: Kind, data: PageData) -> Download:
    assert data.sheet_heads is not None
    return text_sheet_file(data.known_analysis, data.sheet_heads, kind)


def _model_sheet(kind: Kind, data: PageData) -> Download:
    assert data.record is not None
    return model_sheet_file(data.record, kind)


def _atlas(data: PageData) -> Atlas:
    assert data.atlas is not None
    return data.atlas


def _atlas_sheet(kind: Kind, data: PageData) -> Download:
    return atlas_sheet_file(_atlas(data), kind)


SHEET_KINDS: tuple[Kind, ...] = ("pdf", "png", "svg")
# the attributes of PageData that each of DOWNLOADS needs, and what makes it
FILES: Mapping[str, tuple[frozenset[str], Callable[[PageData], Download]]] = MappingProxyType(
    {
        "heatmap.png": (frozenset({"view"}), lambda data: heatmap_file(data.known_view, "png")),
        "heatmap.svg": (frozenset({"view"}), lambda data: heatmap_file(data.known_view, "svg")),
        "map.png": (frozenset({"analysis"}), lambda data: map_file(data.known_analysis, "png", data.state.head)),
        "map.svg": (frozenset({"analysis"}), lambda data: map_file(data.known_analysis, "svg", data.state.head)),
        **{f"sheet.{kind}": (frozenset({"analysis", "sheet_heads"}), partial(_text_sheet, kind)) for kind in SHEET_KINDS},
        **{f"model.{kind}": (frozenset({"record"}), partial(_model_sheet, kind)) for kind in SHEET_KINDS},
        "scores.csv": (frozenset({"analysis"}), lambda data: scores_csv(data.known_analysis)),
        "analysis.json": (
            frozenset({"analysis", "effects"}),
            lambda data: analysis_json(data.known_analysis, data.effects),
        ),
        "training.csv": (frozenset({"training"}), lambda data: training_csv(_run(data))),
        "training.json": (frozenset({"training"}), lambda data: training_json(_run(data))),
        **{f"atlas.{kind}": (frozenset({"atlas"}), partial(_atlas_sheet, kind)) for kind in SHEET_KINDS},
        "atlas.csv": (frozenset({"atlas"}), lambda data: atlas_csv(_atlas(data))),
        "page.html": (frozenset(part.subject for part in PARTS.values() if part.is_saved), _page_file),
    }
)
