"""What a place needs is asked for once, and nothing that it does not need."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from headroles.core.heads import Head
from headroles.core.outputs.next_tokens import Predictions
from headroles.core.readings.analysis import Analysis, HeadView
from headroles.core.readings.comparison import compare_prompts
from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_builder import with_prompts
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.roles import ROLES, Role
from headroles.core.surveys.atlas import Atlas
from headroles.core.surveys.training_run import TrainingRun
from headroles.errors import InvalidInputError
from headroles.explorer import Explorer
from headroles.server.page.page_data import EVERYTHING, load_page_data
from headroles.server.page.page_state import PageState
from tests.fixtures.known import known


class Counting(Explorer):
    """Passes on to an explorer what it is asked, and notes it."""

    def __init__(self, explorer: Explorer) -> None:
        self._explorer = explorer
        self.asked: list[tuple] = []

    def analyze(self, model: str, prompt: str) -> Analysis:
        self.asked.append(("analyze", model, prompt))
        return self._explorer.analyze(model, prompt)

    def view_head(self, model: str, prompt: str, head: Head | str | tuple[int, int], role: Role | str | None = None) -> HeadView:
        self.asked.append(("view_head", prompt, head))
        return self._explorer.view_head(model, prompt, head, role)

    def training(self, model: str) -> TrainingRun:
        self.asked.append(("training", model))
        return self._explorer.training(model)

    def atlas(self) -> Atlas:
        self.asked.append(("atlas",))
        return self._explorer.atlas()

    def next_tokens(self, model: str, prompt: str, count: int = 5) -> Predictions:
        self.asked.append(("next_tokens", prompt))
        return self._explorer.next_tokens(model, prompt, count)

    def categories(self, model: str) -> HeadCategories:
        return self._explorer.categories(model)

    def find_edits(self, model: str, prompt: str) -> dict:
        self.asked.append(("find_edits", prompt))
        return self._explorer.find_edits(model, prompt)


def test_a_scene_holds_what_the_explorer_says_of_its_place(explorer):
    place = PageState(prompt="one two one two", other_prompt="Once upon a time")
    scene = load_page_data(explorer, place)
    analysis, view, twin = known(scene.analysis), known(scene.view), known(scene.twin)
    assert analysis == explorer.analyze(EMBEDDED_MODEL, place.prompt)
    assert view.head == scene.state.head
    assert view.role == scene.state.role
    assert scene.prompts == compare_prompts(analysis, explorer.analyze(EMBEDDED_MODEL, place.other_prompt))
    assert (twin.view.prompt, twin.is_same) == (view.role.suggested_prompt, False)
    assert scene.models is None


def test_every_question_is_asked_once(explorer):
    counting = Counting(explorer)
    wanted = EVERYTHING - {"sheet_heads"}  # a sheet's own heads
    place = load_page_data(counting, PageState(prompt="one two one two", other_prompt="Once upon a time"), wanted).state
    suggested = known(place.role).suggested_prompt
    assert counting.asked == [
        ("analyze", EMBEDDED_MODEL, "one two one two"),
        ("view_head", "one two one two", place.head),
        ("view_head", suggested, place.head),
        ("next_tokens", "one two one two"),
        ("find_edits", "one two one two"),
        ("analyze", EMBEDDED_MODEL, "Once upon a time"),
        ("training", EMBEDDED_MODEL),
        ("atlas",),
    ]


def test_only_what_is_wanted_is_asked_for(explorer):
    counting, place = Counting(explorer), PageState(head=Head(1, 2), other_prompt="Once upon a time")
    assert load_page_data(counting, place, {"view"}).analysis is None
    assert load_page_data(counting, place, {"analysis"}).view is None
    assert load_page_data(counting, place, ()).state == place
    assert [question for question, *_ in counting.asked] == ["view_head", "analyze"]


def test_the_open_head_on_the_suggested_text_itself_is_its_own_twin(explorer):
    role = ROLES["induction"]
    counting = Counting(explorer)
    scene = load_page_data(counting, PageState(prompt=role.suggested_prompt, head=Head(2, 2), role=role), {"twin"})
    twin = known(scene.twin)
    assert twin.is_same
    assert twin.view is scene.view
    assert len(counting.asked) == 1


def test_a_role_without_a_suggested_text_has_no_twin(explorer):
    assert load_page_data(explorer, PageState(head=Head(2, 7), role=ROLES["other"]), EVERYTHING).twin is None


@pytest.fixture
def suggesting(monkeypatch, record) -> Callable[[str], Explorer]:
    """An explorer whose record suggests another prompt for induction."""

    def make(prompt: str) -> Explorer:
        fresh = Explorer()
        find, other = fresh._store.find, with_prompts(record, {"induction": prompt})
        monkeypatch.setattr(fresh._store, "find", lambda identity: (other, find(identity)[1]))
        return fresh

    return make


def test_the_twin_is_read_on_the_text_that_the_record_suggests(suggesting):
    place = PageState(prompt="one two", head=Head(2, 2), role=ROLES["induction"])
    text = "seven lamps, seven lamps"
    assert known(load_page_data(suggesting(text), place, {"twin"}).twin).view.prompt == text
    same = known(load_page_data(suggesting(text), replace(place, prompt=text), {"twin"}).twin)
    assert same.is_same


@pytest.mark.parametrize("text", ["", "水" * 300])
def test_a_record_that_suggests_nothing_or_what_no_model_reads_has_no_twin(suggesting, text):
    place = PageState(prompt="one two", head=Head(2, 2), role=ROLES["induction"])
    assert load_page_data(suggesting(text), place, {"twin"}).twin is None


def test_a_model_beside_itself_is_refused(explorer):
    with pytest.raises(InvalidInputError, match="choose two different models"):
        load_page_data(explorer, replace(PageState(), other_model=EMBEDDED_MODEL))
