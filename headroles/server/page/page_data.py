"""A scene: all that a place on the page needs to know, asked of the explorer once. Knows nothing of gradio and draws nothing."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

from headroles.core.readings.analysis import Analysis, HeadView
from headroles.core.readings.comparison import ModelComparison, PromptComparison, compare_models, compare_prompts
from headroles.core.records.head_categories import HeadCategories
from headroles.core.surveys.atlas import Atlas
from headroles.errors import InvalidRecordError, NoTrainingRunError, PromptError, UnsupportedModelError
from headroles.explorer import Explorer
from headroles.hub.record_store import embedded_records
from headroles.render.files.sheets import sheet_heads
from headroles.render.page.cards import Found
from headroles.render.page.causes import HeadEffects
from headroles.render.page.next_token import GUESSES, NextTokenView
from headroles.render.surveys.training import RecordedRun
from headroles.server.page.page_state import PageState


class Twin(NamedTuple):
    """The open head on its role's suggested prompt, and whether that is the visitor's own text."""

    view: HeadView
    is_same: bool


class SuggestedEdits(NamedTuple):
    """For the roles that are not seen on a text, the smallest change of it that turns that; and the analysis of the text."""

    found: Found
    analysis: Analysis


@dataclass(frozen=True)
class PageData:
    """What was asked for a place; None for what was not asked, or what the place does not have.

    Attributes:
        place: with its head filled in.
        analysis: of its text.
        view: of the head that is open.
        twin: that head where its role can show; None for a role without a prompt on which it shows on the model.
        next: what the model expects after the text.
        edits: for the roles that are not seen, the smallest change of the text that turns that.
        causes: what the heads that it takes out write, and what is lost without them.
        told: the heads that a sheet of its text shows, each looked at for a role that is seen.
        record: of its model.
        lessons: its record, and those of the models that ship with headroles beside it.
        prompts, models: its comparisons.
        training: the recorded training run of its model, or why there is none.
        atlas: of all models, whatever the place.
    """

    state: PageState
    analysis: Analysis | None = None
    view: HeadView | None = None
    twin: Twin | None = None
    next: NextTokenView | None = None
    edits: SuggestedEdits | None = None
    effects: HeadEffects | None = None
    sheet_heads: tuple[HeadView, ...] | None = None
    record: HeadCategories | None = None
    lessons: tuple[HeadCategories, tuple[HeadCategories, ...]] | None = None
    prompts: PromptComparison | None = None
    models: ModelComparison | None = None
    training: RecordedRun | None = None
    atlas: Atlas | None = None


EVERYTHING = frozenset(field.name for field in fields(PageData)) - {"place"}


def load_page_data(explorer: Explorer, place: PageState, wanted: Collection[str] = EVERYTHING) -> PageData:
    """The scene of a place, with those of its attributes that are `wanted`; the head that is open is always known.

    Raises as `Explorer.analyze` and `Explorer.view_head` do, and InvalidInputError for a comparison of something with itself.
    """
    wanted = set(wanted)
    analysis = None
    if place.head is None or wanted & {"analysis", "sheet_heads", "prompts", "models"}:
        analysis = explorer.analyze(place.model, place.prompt)
        place = place if place.head else open_telling_head(place, analysis)
    view = _view(explorer, place) if wanted & {"view", "twin"} else None
    return PageData(
        place,
        analysis,
        view,
        _twin(explorer, view) if view and "twin" in wanted else None,
        _next(explorer, place) if "next" in wanted else None,
        _edits(explorer, place, analysis) if "edits" in wanted else None,
        find_head_effects(explorer, place) if "effects" in wanted else None,
        view_sheet_heads(explorer, analysis) if analysis and "sheet_heads" in wanted else None,
        explorer.categories(place.model) if "record" in wanted else None,
        _lessons(explorer, place) if "lessons" in wanted else None,
        _compare_prompts(explorer, place, analysis) if analysis and "prompts" in wanted else None,
        _compare_models(explorer, place, analysis) if analysis and "models" in wanted else None,
        find_training(explorer, place) if "training" in wanted else None,
        explorer.atlas() if "atlas" in wanted else None,
    )


def open_telling_head(place: PageState, analysis: Analysis) -> PageState:
    """The place with the strongest head of its role, or else of the first active role, content roles first."""
    readings = [reading for reading in analysis.roles if reading.heads and (place.role or reading.role) == reading.role]
    telling = min(readings, key=lambda reading: (not reading.is_active, not reading.role.requires_repetition), default=None)
    if telling is None or telling.strongest is None:
        return replace(place, head=analysis.heads.heads()[0])
    return replace(place, head=telling.strongest.head, role=telling.role)


def find_head_effects(
    explorer: Explorer, place: PageState, on_progress: Callable[[float], None] = lambda _: None
) -> HeadEffects | None:
    """What the heads that a place takes out write and what is lost without them; None where it takes none out.

    Raises as `Explorer.ablate` does.
    """
    if place.out is None:
        return None
    asked = place.model, place.prompt, place.out.heads, place.out.role
    return HeadEffects(
        place.out.text,
        explorer.analyze(place.model, place.prompt).role(place.out.role) if place.out.role else None,
        explorer.effects(*asked),
        explorer.ablate(*asked, method=place.method, on_progress=on_progress),
    )


def find_training(explorer: Explorer, place: PageState) -> RecordedRun:
    """The recorded training run of a place's model, or why there is none. Raises UnknownModelError for no model."""
    try:
        return RecordedRun(place.model, explorer.training(place.model))
    except (NoTrainingRunError, InvalidRecordError) as error:
        return RecordedRun(place.model, None, str(error))


def _view(explorer: Explorer, place: PageState) -> HeadView:
    assert place.head is not None
    return explorer.view_head(place.model, place.prompt, place.head, place.role)


def _twin(explorer: Explorer, view: HeadView) -> Twin | None:
    prompt = view.suggested_prompt
    if not prompt:
        return None
    if prompt == view.prompt:
        return Twin(view, is_same=True)
    try:
        return Twin(explorer.view_head(view.model, prompt, view.head, view.role), is_same=False)
    except PromptError:  # a record's text may be longer than the model reads, and that is no fault of the visitor's
        return None


def _next(explorer: Explorer, place: PageState) -> NextTokenView:
    try:
        return NextTokenView(explorer.next_tokens(place.model, place.prompt, GUESSES))
    except UnsupportedModelError as error:  # its patterns can be read all the same
        return NextTokenView(None, str(error))


def _edits(explorer: Explorer, place: PageState, analysis: Analysis | None) -> SuggestedEdits:
    found = explorer.find_edits(place.model, place.prompt)
    return SuggestedEdits(found, analysis or explorer.analyze(place.model, place.prompt))  # kept from when they were looked for


def view_sheet_heads(explorer: Explorer, analysis: Analysis) -> tuple[HeadView, ...]:
    """The heads that a sheet of a text shows, each looked at for a role that is seen. Raises as `Explorer.view_head` does."""
    return tuple(explorer.view_head(analysis.model, analysis.prompt, head, role) for head, role in sheet_heads(analysis))


def _lessons(explorer: Explorer, place: PageState) -> tuple[HeadCategories, tuple[HeadCategories, ...]]:
    record = explorer.categories(place.model)
    return record, tuple(other for other in embedded_records() if other.model_name != record.model_name)


def _compare_prompts(explorer: Explorer, place: PageState, analysis: Analysis) -> PromptComparison | None:
    if not place.other_prompt:
        return None
    return compare_prompts(analysis, explorer.analyze(place.model, place.other_prompt))


def _compare_models(explorer: Explorer, place: PageState, analysis: Analysis) -> ModelComparison | None:
    if not place.other_model:
        return None
    return compare_models(analysis, explorer.analyze(place.other_model, place.prompt))
