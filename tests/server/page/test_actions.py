"""Where each thing that a visitor does leads, and that whatever a client sends instead is refused in a sentence."""

from dataclasses import replace

import pytest

from headroles.core.heads import Head
from headroles.core.roles.roles import ROLES
from headroles.errors import HeadRolesError
from headroles.server.page.actions import Inputs, accept_analysis, beside_model, beside_text, explore, follow_link, press
from headroles.server.page.page_state import AblationTarget, PageState

LAST = PageState("a", "shown", Head(1, 2), ROLES["induction"], other_prompt="old", tab="learn")
BOXES = Inputs(model="a", prompt="typed", other_prompt="other", other_model="b", refused="model=c&tab=models")


def test_the_typed_sentence_is_explored_and_compared_though_nobody_pressed_explore():
    assert explore(LAST, BOXES, {}) == PageState("a", "typed", Head(1, 2), ROLES["induction"], "old")
    both = beside_text(LAST, BOXES, {})
    assert (both.prompt, both.other_prompt, both.tab) == ("typed", "other", "prompts")
    both = beside_model(LAST, BOXES, {})
    assert (both.model, both.other_model, both.prompt, both.tab) == ("a", "b", "typed", "models")


def test_another_model_opens_a_head_of_its_own():
    there = explore(LAST, BOXES._replace(model="b"), {})
    assert (there.model, there.head, there.role) == ("b", None, None)


def test_a_head_opens_on_the_text_that_the_page_shows():
    there = press(LAST, BOXES, {"layer": 3, "head": 4, "role": "diffuse"})
    assert (there.prompt, there.head, there.role, there.tab) == ("shown", Head(3, 4), ROLES["diffuse"], "explore")


def test_a_head_of_side_b_swaps_the_sides():
    data = {"layer": 3, "head": 4, "side": "b"}
    there = press(beside_text(LAST, BOXES, {}), BOXES, data)
    assert (there.prompt, there.other_prompt) == ("other", "typed")
    there = press(beside_model(LAST, BOXES, {}), BOXES, data)
    assert (there.model, there.other_model) == ("b", "a")
    assert press(LAST, BOXES, data).prompt == "shown"  # no comparison is in sight


def test_an_offer_leads_to_what_was_refused_and_a_link_to_what_it_says():
    assert accept_analysis(LAST, BOXES, {}) == PageState("c", tab="models")
    assert follow_link(LAST, BOXES, {"query": "?prompt=x&tab=learn"}) == PageState(prompt="x", tab="learn")


def test_heads_are_taken_out_of_the_text_that_the_page_shows_and_of_no_other():
    there = press(LAST, BOXES, {"out": "induction", "method": "mean"})
    assert there == replace(LAST, out=AblationTarget(ROLES["induction"]), method="mean", tab="explore")  # type: ignore[arg-type]
    assert press(there, BOXES, {"layer": 3, "head": 4, "role": "diffuse"}).out == there.out
    again = explore(there, BOXES, {})
    assert (again.prompt, again.out, again.method) == ("typed", None, "mean")
    assert explore(there, BOXES._replace(prompt="shown"), {}).out == there.out
    assert press(there, BOXES, {"prompt": "another"}).out is None
    assert press(there, BOXES, {"try": "induction"}).out is None
    assert press(LAST, BOXES, {"try": "induction", "prompt": "of the record"}) == replace(
        LAST, prompt="of the record", head=None, role=ROLES["induction"], tab="explore"
    )
    assert press(LAST, BOXES, {"try": "induction"}).prompt == ROLES["induction"].suggested_prompt
    assert explore(there, BOXES._replace(model="b", prompt="shown"), {}).out is None
    assert press(LAST, BOXES, {"out": "L1H2,L3H4"}).out == AblationTarget(heads=(Head(1, 2), Head(3, 4)))


@pytest.mark.parametrize("move", [explore, beside_text, beside_model, accept_analysis])
@pytest.mark.parametrize("value", [7, ["x"], {"x": 1}, True])
def test_what_is_no_text_is_refused(move, value):
    with pytest.raises(HeadRolesError, match="A text was expected"):
        move(LAST, Inputs(value, value, value, value, value), {})


@pytest.mark.parametrize(
    "data",
    [
        {"prompt": 7},
        {"out": 7},
        {"out": "boss"},
        {"out": "L1H2", "method": "drop"},
        {"try": "boss"},
        {"role": "boss"},
        {"try": ["x"]},
    ],
)
def test_a_button_that_there_is_not_is_refused(data):
    with pytest.raises(HeadRolesError):
        press(LAST, BOXES, data)
