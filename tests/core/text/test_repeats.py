"""Words that come again as other tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.text.repeats import find_respelled_repeat
from headroles.render.wording.role_states import describe_role
from headroles.render.wording.texts import describe_respelled_repeat


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (["Bar", "ack", " met", " Barack"], "“Barack” comes again, but as other tokens (Bar|ack, then ·Barack)"),
        (["The", " cat", " saw", " the", " dog"], "“The” comes again as “the”, but as other tokens (The, then ·the)"),
        (["king", " and", " king"], "“king” comes again, but as other tokens (king, then ·king)"),
        ([" a", " king", " and", " a", " king"], ""),
        (["I", " am", " i"], ""),
        ([" cats", " cat"], ""),
        ([], ""),
    ],
)
def test_a_word_that_comes_again_as_other_tokens_is_told(tokens, said):
    assert describe_respelled_repeat(tokens).startswith(said)
    assert (find_respelled_repeat(tokens) is not None) == bool(said)


@given(st.lists(st.text(max_size=6), max_size=20))
def test_any_tokens_can_be_looked_at(tokens):
    found = find_respelled_repeat(tokens)
    assert found is None or found.word.casefold() == found.again.casefold()


def test_a_card_says_so_where_the_role_is_not_seen(explorer):
    analysis = explorer.analyze(EMBEDDED_MODEL, "The cat slept while the dog ran.")
    reading = analysis.role("induction")
    assert reading.state == "not applicable"
    assert "“The” comes again as “the”, but as other tokens (The, then ·the)" in describe_role(reading, analysis)


def test_a_card_does_not_say_so_where_a_token_does_repeat(explorer):
    analysis = explorer.analyze(EMBEDDED_MODEL, "the the the the the")
    reading = analysis.role("duplicate_token")
    assert (reading.state, reading.missing) == ("not applicable", "no control")
    said = describe_role(reading, analysis)
    assert said.endswith("no token that calls for it has others to be compared with; write a little more around it.")
