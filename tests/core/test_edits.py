"""Changes of a visitor's own sentence: what is tried, in which order, and that what is offered works."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headroles.core.edits import MAX_EDITS, MAX_WORDS, edits_of
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles import get_measured_role
from headroles.errors import PromptError
from headroles.models.sentences import FOR_TRIALS
from headroles.render.edits import render_edits

HOSTILE = "<img src=x onerror=alert(1)> ${alert(1)} \"'></script>"


@given(st.text(max_size=200))
def test_every_edit_says_more_of_what_is_there_and_the_smallest_comes_first(text):
    edits = edits_of(text)
    assert len(edits) <= MAX_EDITS
    assert [edit.added for edit in edits] == sorted(edit.added for edit in edits)
    assert len({edit.text for edit in edits}) == len(edits)
    words = text.split()
    for edit in edits:
        assert edit.text.startswith(text.rstrip() + " ")
        assert len(edit.text.split()) == len(words) + edit.added
        assert edit.added <= MAX_WORDS or edit.added == len(words)


def test_words_of_their_own_come_before_the_first_word_and_the_whole_text_last():
    told = [edit.told for edit in edits_of("The old baker opens at five.")]
    assert told[:3] == ["say “baker” again at the end", "say “opens” again at the end", "say “The” again at the end"]
    assert told[-1] == "say all of it again"


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_nothing_is_tried_on_nothing(text):
    assert edits_of(text) == ()


def test_a_single_word_is_tried_twice():
    assert [edit.text for edit in edits_of("once")] == ["once once"]


def test_what_is_offered_turns_the_verdict_when_it_is_run_again(explorer):
    found = 0
    for text in FOR_TRIALS[:8]:
        before = explorer.analyze(EMBEDDED_MODEL, text)
        for role, edit in explorer.find_edits(EMBEDDED_MODEL, text).items():
            assert before.role(role).state in ("not seen", "not applicable")
            if edit is not None:
                assert explorer.analyze(EMBEDDED_MODEL, edit[0].text).role(role).state == "seen"
                found += 1
    assert found >= 8


def test_nothing_is_offered_where_everything_is_seen_and_a_wrong_prompt_is_refused(explorer):
    prompt = get_measured_role("duplicate_token").suggested_prompt
    seen = [role.role.name for role in explorer.analyze(EMBEDDED_MODEL, prompt).roles if role.state == "seen"]
    assert not {role.name for role in explorer.find_edits(EMBEDDED_MODEL, prompt)} & set(seen)
    assert render_edits({}) == ""
    with pytest.raises(PromptError):
        explorer.find_edits(EMBEDDED_MODEL, " ")


def test_a_text_that_has_no_room_left_is_offered_no_edit_but_the_roles_own_prompt(explorer):
    long = "once " * 250
    found = explorer.find_edits(EMBEDDED_MODEL, long)
    assert set(found.values()) <= {None}
    drawn = render_edits(dict.fromkeys([get_measured_role("induction")]))
    assert 'data-try="induction"' in drawn
    assert "nor when one of its words" in drawn


def test_an_edit_is_a_button_and_never_markup(explorer):
    role = get_measured_role("induction")
    analysis = explorer.analyze(EMBEDDED_MODEL, known_text := f"{HOSTILE} {HOSTILE}")
    drawn = render_edits({role: (edits_of(known_text)[0], analysis)})
    assert "<img" not in drawn
    assert re.search(r'<button type="button" class="hr-try" data-prompt="[^"<>]*">', drawn)
