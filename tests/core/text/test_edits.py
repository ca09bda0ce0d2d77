"""Changes of a visitor's own sentence: what is tried, in which order, and that what is offered works."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.roles import get_measured_role
from headroles.core.text.edits import BEGINNINGS, MAX_EDITS, Edit, propose_edits
from headroles.errors import PromptError
from headroles.models.probes.sentences import FOR_TRIALS
from headroles.render.page.cards import render_edits
from headroles.render.wording.texts import describe_edit
from tests.conftest import PLAIN
from tests.fixtures.known import known

HOSTILE = "<img src=x onerror=alert(1)> ${alert(1)} \"'></script>"


WORDS = st.lists(st.sampled_from(["the", "king", "of", "“king”,", "a", "window", "Zorbat", "The", "garden.", "is", "…", "\n"]))


@given(st.text(max_size=200) | WORDS.map(" ".join))
def test_every_edit_adds_words_or_changes_one_and_the_smallest_comes_first(text):
    edits = propose_edits(text)
    assert len(edits) <= MAX_EDITS
    assert [edit.words for edit in edits] == sorted(edit.words for edit in edits)
    assert len({edit.text.casefold() for edit in edits}) == len(edits)
    before = text.split()
    for edit in edits:
        after = edit.text.split()
        assert after != before, "the sentence itself"
        if len(after) == len(before):
            assert edit.words == sum(one != other for one, other in zip(before, after)) == 1
        else:
            assert edit.text.startswith(text.rstrip() + " ")
            assert len(after) == len(before) + edit.words
            assert edit.words <= max(BEGINNINGS) or edit.words == len(before)


def told(text: str) -> list[str]:
    return [describe_edit(edit) for edit in propose_edits(text)]


def test_words_of_their_own_come_before_the_first_word_and_the_longest_edit_last():
    text = "The old baker in the market opens at five every day."
    assert told(text)[:3] == [f"say “{word}” again at the end" for word in ("opens", "every", "market")]
    assert told(text)[-1] == "say all of it again"


def test_a_phrase_from_the_end_is_said_again_without_the_sign_that_ended_it():
    texts = {describe_edit(edit): edit.text for edit in propose_edits("She saw the old (grey) cat.")}
    assert texts["say “(grey) cat” again at the end"] == "She saw the old (grey) cat. (grey) cat"
    assert "say “the old (grey) cat” again at the end" in texts


def test_the_word_after_an_earlier_copy_is_changed_where_it_says_little_and_its_signs_stay():
    first = propose_edits("The king, “of” the north, met a king in the garden.")[0]
    assert first == Edit(
        "The king, “window” the north, met a king in the garden.", 1, "replace", "window", replaced="of", after="king"
    )
    met = "The king met the queen, and the king laughed; the boy sang."
    assert not any("instead" in said for said in told(met)), "a verb is no small word, nor is “the” another “The”"
    assert any("write “river”" in said for said in told("One king of the window met a king."))


def test_made_up_words_come_twice_and_are_not_those_that_are_there():
    assert "add the made-up words “zorbat melkin”, twice" in told("Hello there")
    assert "add the made-up words “frayd ustole”, twice" in told("Zorbat, hello")


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_nothing_is_tried_on_nothing(text):
    assert propose_edits(text) == ()


def test_a_single_word_is_tried_twice_and_with_words_that_nobody_knows():
    assert [edit.text for edit in propose_edits("once")] == ["once once", "once zorbat melkin zorbat melkin"]


@pytest.mark.slow
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


@pytest.mark.parametrize(("text", "does_it"), [("He said that he saw that it was late", "instead of"), ("hi", "made-up")])
def test_where_little_is_said_another_word_or_made_up_ones_let_induction_show(explorer, text, does_it):
    edit, after = known(explorer.find_edits(EMBEDDED_MODEL, text)[get_measured_role("induction")])
    assert does_it in describe_edit(edit)
    assert (after.prompt, after.role("induction").state) == (edit.text, "seen")


def test_nothing_is_offered_where_everything_is_seen_and_a_wrong_prompt_is_refused(explorer):
    prompt = get_measured_role("duplicate_token").suggested_prompt
    seen = [role.role.name for role in explorer.analyze(EMBEDDED_MODEL, prompt).roles if role.state == "seen"]
    assert not {role.name for role in explorer.find_edits(EMBEDDED_MODEL, prompt)} & set(seen)
    assert render_edits({}, explorer.analyze(EMBEDDED_MODEL, prompt)) == ""
    with pytest.raises(PromptError):
        explorer.find_edits(EMBEDDED_MODEL, " ")


def test_a_text_that_has_no_room_left_is_offered_no_edit_but_the_roles_own_prompt(explorer):
    long = "once " * 250
    found = explorer.find_edits(EMBEDDED_MODEL, long)
    assert set(found.values()) <= {None}
    silent = explorer.analyze(EMBEDDED_MODEL, PLAIN)
    drawn = render_edits(dict.fromkeys([get_measured_role("induction")]), silent)
    assert 'data-try="induction"' in drawn
    assert "nor on any change of it that was tried" in drawn


def test_an_edit_is_a_button_and_never_markup(explorer):
    role = get_measured_role("induction")
    analysis = explorer.analyze(EMBEDDED_MODEL, hostile := f"{HOSTILE} {HOSTILE}")
    drawn = render_edits({role: (propose_edits(hostile)[0], analysis)}, analysis)
    assert "<img" not in drawn
    assert re.search(r'<button type="button" class="hr-try" data-prompt="[^"<>]*">', drawn)
