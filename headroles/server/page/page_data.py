"""Page data: all that a state of the page needs, each asked of the explorer once. Knows nothing of gradio and draws nothing."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import NamedTuple

from headroles.core.readings.analysis import Analysis, HeadView
from headroles.core.readings.comparison import ModelComparison, PromptComparison, compare_models, compare_prompts
from headroles.core.records.head_categories import HeadCategories
from headroles.core.surveys.atlas import Atlas
from headroles.errors import InvalidRecordError, NoTrainingRunError, PromptError, UnsupportedModelError
from headroles.explorer import Explorer
from headroles.hub.record_store import embedded_records
from headroles.interventions import HeadSelection, select_heads
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
    """Small changes of a text that bring out roles which are not detected on it, and the analysis of the text itself."""

    found: Found
    analysis: Analysis


@dataclass(frozen=True)
class PageData:
    """The data of one state of the page; None for what was not asked for, and for what the state does not have.

    Attributes:
        state: With its head filled in.
        analysis: The analysis of its prompt.
        view: The head that is open.
        twin: That head on a prompt that shows its role; None for a role without such a prompt.
        next: The next tokens that the model predicts.
        edits: For each role that is not detected, the smallest change of the prompt that brings it out.
        effects: The direct effects of the heads that it ablates, and what is lost without them.
        sheet_heads: The heads that a sheet of its prompt shows, each for a role that is detected.
        record: The record of its model.
        lessons: That record, and those of the models that ship with headroles beside it.
        prompts, models: Its comparisons.
        training: The recorded training run of its model, or why there is none.
        atlas: The atlas of all models, whatever the state.
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

    @property
    def known_analysis(self) -> Analysis:
        """The analysis, by those who asked for it."""
        assert self.analysis is not None
        return self.analysis

    @property
    def known_view(self) -> HeadView:
        """The view, by those who asked for it."""
        assert self.view is not None
        return self.view


EVERYTHING = frozenset(field.name for field in fields(PageData)) - {"state"}
WITHOUT_ANALYSIS = frozenset({"next", "record", "lessons", "training", "atlas"})


def load_page_data(
    explorer: Explorer, state: PageState, wanted: Collection[str] = EVERYTHING, known: PageData | None = None
) -> PageData:
    """Loads the data of a state; the head that is open is always filled in.

    Args:
        explorer: Answers the questions.
        state: The state of the page.
        wanted: The names of the attributes of PageData that are needed.
        known: What was loaded for this very state before; it is not asked for again.

    Returns:
        What is wanted, what it is made from, and what was known.

    Raises:
        InvalidInputError: A text or a model is compared with itself.
        HeadRolesError: All else as in `Explorer.analyze` and `Explorer.view_head`.
    """
    data = known or PageData(state)
    wanted = set(wanted) | ({"view"} if "twin" in wanted else set())
    if data.analysis is None and (state.head is None or wanted - WITHOUT_ANALYSIS):
        analysis = explorer.analyze(state.model, state.prompt)
        data = replace(data, analysis=analysis, state=state if state.head else open_telling_head(state, analysis))
    for name, load in LOADERS.items():
        if name in wanted and getattr(data, name) is None:
            data = replace(data, **{name: load(explorer, data)})
    return data


def open_telling_head(state: PageState, analysis: Analysis) -> PageState:
    """Opens the strongest head of the state's role, or of the first active role, content roles first."""
    readings = [reading for reading in analysis.roles if reading.heads and (state.role or reading.role) == reading.role]
    telling = min(readings, key=lambda reading: (not reading.is_active, not reading.role.requires_repetition), default=None)
    if telling is None or telling.strongest is None:
        return replace(state, head=analysis.heads.heads()[0])
    return replace(state, head=telling.strongest.head, role=telling.role)


def load_head_effects(
    explorer: Explorer, data: PageData, on_progress: Callable[[float], None] = lambda _: None
) -> HeadEffects | None:
    """Runs the interventions on the heads that a state ablates.

    Args:
        explorer: Answers the questions.
        data: A state and the analysis of its prompt.
        on_progress: As in `Explorer.ablate`.

    Returns:
        Their direct effects, and what is lost without them; None where the state ablates none.

    Raises:
        HeadRolesError: As in `Explorer.ablate`.
    """
    state, target = data.state, data.state.out
    if target is None:
        return None
    role, heads = target.role, target.heads
    selection = select_heads(data.known_analysis, role, heads) if role else HeadSelection(heads)
    return HeadEffects(
        target.text,
        data.known_analysis.role(role) if role else None,
        explorer.interventions.effects(state.model, state.prompt, selection),
        explorer.interventions.ablate(state.model, state.prompt, selection, state.method, on_progress=on_progress),
    )


def load_training(explorer: Explorer, state: PageState) -> RecordedRun:
    """Gives the recorded training run of a state's model, or why there is none. Raises UnknownModelError for no model."""
    try:
        return RecordedRun(state.model, explorer.training(state.model))
    except (NoTrainingRunError, InvalidRecordError) as error:
        return RecordedRun(state.model, None, str(error))


def view_sheet_heads(explorer: Explorer, analysis: Analysis) -> tuple[HeadView, ...]:
    """Views the heads that a sheet of a text shows, each for a role that is detected. Raises as `Explorer.view_head` does."""
    return tuple(explorer.view_analyzed_head(analysis, head, role) for head, role in sheet_heads(analysis))


def _view(explorer: Explorer, data: PageData) -> HeadView:
    assert data.state.head is not None
    return explorer.view_analyzed_head(data.known_analysis, data.state.head, data.state.role)


def _twin(explorer: Explorer, data: PageData) -> Twin | None:
    view = data.known_view
    if not view.suggested_prompt:
        return None
    if view.suggested_prompt == view.prompt:
        return Twin(view, is_same=True)
    try:
        return Twin(explorer.view_head(view.model, view.suggested_prompt, view.head, view.role), is_same=False)
    except PromptError:  # a record's text may be longer than the model reads, and that is no fault of the visitor's
        return None


def _next(explorer: Explorer, data: PageData) -> NextTokenView:
    try:
        return NextTokenView(explorer.next_tokens(data.state.model, data.state.prompt, GUESSES))
    except UnsupportedModelError as error:  # its patterns can be read all the same
        return NextTokenView(None, str(error))


def _edits(explorer: Explorer, data: PageData) -> SuggestedEdits:
    return SuggestedEdits(explorer.find_analyzed_edits(data.known_analysis), data.known_analysis)


def _lessons(explorer: Explorer, data: PageData) -> tuple[HeadCategories, tuple[HeadCategories, ...]]:
    record = data.record or explorer.categories(data.state.model)
    return record, tuple(other for other in embedded_records() if other.model_name != record.model_name)


def _compare_prompts(explorer: Explorer, data: PageData) -> PromptComparison | None:
    state = data.state
    if not state.other_prompt:
        return None
    return compare_prompts(data.known_analysis, explorer.analyze(state.model, state.other_prompt))


def _compare_models(explorer: Explorer, data: PageData) -> ModelComparison | None:
    state = data.state
    if not state.other_model:
        return None
    return compare_models(data.known_analysis, explorer.analyze(state.other_model, state.prompt))


# how each attribute of PageData is loaded, after those that it is made from; the analysis comes before all
LOADERS: Mapping[str, Callable[[Explorer, PageData], object]] = MappingProxyType(
    {
        "view": _view,
        "twin": _twin,
        "next": _next,
        "edits": _edits,
        "effects": load_head_effects,
        "sheet_heads": lambda explorer, data: view_sheet_heads(explorer, data.known_analysis),
        "record": lambda explorer, data: explorer.categories(data.state.model),
        "lessons": _lessons,
        "prompts": _compare_prompts,
        "models": _compare_models,
        "training": lambda explorer, data: load_training(explorer, data.state),
        "atlas": lambda explorer, _: explorer.atlas(),
    }
)
