"""The page's parts: one table that says what each is drawn from and when, and the page, its updates and its files by it."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from headroles.core.readings.analysis import Analysis, HeadView
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
from headroles.server.page.page_data import PageData, find_training, load_page_data
from headroles.server.page.page_state import PageState


@dataclass(frozen=True)
class Part:
    """One part of the page.

    Attributes:
        name: of its element, and of its place in the saved page.
        subject: the attribute of a scene that it is drawn from; where that is None, the part is empty.
        follows: the attributes of a place whose change draws it anew.
        draw: its HTML from the subject.
        comes_later: whether it is asked for and drawn on its own, after the page has answered: it may take a forward.
        is_saved: whether the saved page holds it.
        is_answer: whether it goes to the page before all others.
    """

    name: str
    subject: str
    follows: frozenset[str]
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
    """The place that the page starts with, and all its parts by name."""
    scene = load_page_data(explorer, PageState())
    return scene.state, draw(scene, PARTS.values())


def visit(explorer: Explorer, place: PageState, last: PageState | None = None) -> tuple[PageState, Mapping[str, str]]:
    """The place with its head filled in, and the parts that differ from those of `last`, by name; what comes later is empty yet.

    Raises as `ask` does.
    """
    parts = changed_parts(place, last)
    scene = load_page_data(explorer, place, {part.subject for part in parts if not part.comes_later})
    parts = changed_parts(scene.state, last)  # no longer the head, where the one that was filled in is open already
    return scene.state, draw(scene, parts)


def draw_later(explorer: Explorer, place: PageState, names: Collection[str] = PARTS) -> Mapping[str, str]:
    """Those of the named parts that come later, by name. Raises as `ask` does."""
    parts = [part for part in PARTS.values() if part.comes_later and part.name in names]
    return draw(load_page_data(explorer, place, {part.subject for part in parts}), parts)


def draw_training(explorer: Explorer, place: PageState) -> str:
    """The HTML of the training tab, which the page asks for when it is opened. Raises as `find_training` does."""
    return render_training(find_training(explorer, place))


def draw_atlas(explorer: Explorer) -> str:
    """The HTML of the atlas tab, which the page asks for when it is opened."""
    return render_atlas(explorer.atlas())


def changed_parts(place: PageState, last: PageState | None) -> list[Part]:
    """The parts that another place than the last one draws anew; without a last one, all."""
    if last is None:
        return list(PARTS.values())
    changed = {name for name in vars(place) if getattr(place, name) != getattr(last, name)}
    return [part for part in PARTS.values() if part.follows & changed]


def draw(scene: PageData, parts: Iterable[Part]) -> Mapping[str, str]:
    """The HTML of these parts, by name."""
    subjects = {part: getattr(scene, part.subject) for part in parts}
    return {part.name: "" if subject is None else part.draw(subject) for part, subject in subjects.items()}


def download(explorer: Explorer, place: PageState, name: str) -> Download:
    """One of DOWNLOADS for what the page shows. Raises InvalidInputError for any other name, and as `ask`."""
    if name not in FILES:
        raise InvalidInputError(f"There is no download {name[:50]!r}; there are {', '.join(DOWNLOADS)}.")
    wanted, make = FILES[name]
    return make(load_page_data(explorer, place, wanted))


def _page_file(scene: PageData) -> Download:
    drawn = draw(scene, [part for part in PARTS.values() if part.is_saved])
    body = "".join(f'<div data-part="{name}">{html}</div>' for name, html in drawn.items() if html)
    return standalone_page(f"{scene.state.model}: {scene.state.prompt}", body, _analysis(scene).source.analysis_date)


def _analysis(scene: PageData) -> Analysis:
    assert scene.analysis is not None
    return scene.analysis


def _view(scene: PageData) -> HeadView:
    assert scene.view is not None
    return scene.view


def _run(scene: PageData) -> TrainingRun:
    """Raises NoTrainingRunError where its model has none."""
    assert scene.training is not None
    if scene.training.run is None:
        raise NoTrainingRunError(scene.training.missing)
    return scene.training.run


def _text_sheet(kind: Kind, scene: PageData) -> Download:
    assert scene.sheet_heads is not None
    return text_sheet_file(_analysis(scene), scene.sheet_heads, kind)


def _model_sheet(kind: Kind, scene: PageData) -> Download:
    assert scene.record is not None
    return model_sheet_file(scene.record, kind)


def _atlas(scene: PageData) -> Atlas:
    assert scene.atlas is not None
    return scene.atlas


def _atlas_sheet(kind: Kind, scene: PageData) -> Download:
    return atlas_sheet_file(_atlas(scene), kind)


SHEET_KINDS: tuple[Kind, ...] = ("pdf", "png", "svg")
# the attributes of a scene that each of DOWNLOADS needs, and who makes it
FILES: Mapping[str, tuple[frozenset[str], Callable[[PageData], Download]]] = MappingProxyType(
    {
        "heatmap.png": (frozenset({"view"}), lambda scene: heatmap_file(_view(scene), "png")),
        "heatmap.svg": (frozenset({"view"}), lambda scene: heatmap_file(_view(scene), "svg")),
        "map.png": (frozenset({"analysis"}), lambda scene: map_file(_analysis(scene), "png", scene.state.head)),
        "map.svg": (frozenset({"analysis"}), lambda scene: map_file(_analysis(scene), "svg", scene.state.head)),
        **{f"sheet.{kind}": (frozenset({"analysis", "sheet_heads"}), partial(_text_sheet, kind)) for kind in SHEET_KINDS},
        **{f"model.{kind}": (frozenset({"record"}), partial(_model_sheet, kind)) for kind in SHEET_KINDS},
        "scores.csv": (frozenset({"analysis"}), lambda scene: scores_csv(_analysis(scene))),
        "analysis.json": (
            frozenset({"analysis", "effects"}),
            lambda scene: analysis_json(_analysis(scene), scene.effects),
        ),
        "training.csv": (frozenset({"training"}), lambda scene: training_csv(_run(scene))),
        "training.json": (frozenset({"training"}), lambda scene: training_json(_run(scene))),
        **{f"atlas.{kind}": (frozenset({"atlas"}), partial(_atlas_sheet, kind)) for kind in SHEET_KINDS},
        "atlas.csv": (frozenset({"atlas"}), lambda scene: atlas_csv(_atlas(scene))),
        "page.html": (frozenset(part.subject for part in PARTS.values() if part.is_saved), _page_file),
    }
)
