"""Where a head looks instead: what a place says of the rest of its attention is what the pattern says."""

import pytest

from headroles.core.heads import Attention
from headroles.core.readings.analysis import RecordSource
from headroles.core.readings.analyze import analyze_attention
from headroles.core.readings.head_readings import MARKED, TokenEvidence
from headroles.core.readings.verdicts import read_heads
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.roles import ROLES
from headroles.core.text.tokens import visible_text
from headroles.render.wording.evidence import describe_most_attended
from headroles.render.wording.phrases import percent
from headroles.render.wording.role_states import describe_role
from tests.conftest import PLAIN
from tests.core.readings.test_other_layers import mixed_attention, mixed_record, recipe
from tests.core.readings.test_sinks import with_sink

TOKENS = ("She", " saw", " that", " cat", " and", " that")
NOT_SEEN = "It was so that it was not"


@pytest.mark.parametrize("prompt", [NOT_SEEN, "one two one two one two three"])
def test_every_place_says_which_key_has_most_of_all_attention(explorer, prompt):
    heads = explorer.analyze(EMBEDDED_MODEL, prompt).heads
    count = 0
    for head in heads.heads():
        pattern = explorer.view_head(EMBEDDED_MODEL, prompt, head).pattern
        for role in ("induction", "duplicate_token"):
            for place in heads.reading(role, head).evidence:
                assert place.most_key == int(pattern[place.query].argmax())
                assert place.most_attention == float(pattern[place.query].max())
                count += 1
    assert count


def test_a_card_that_is_not_seen_though_a_token_calls_for_it_says_where_the_closest_head_looks(explorer):
    analysis = explorer.analyze(EMBEDDED_MODEL, NOT_SEEN)
    reading = analysis.role("duplicate_token")
    assert (reading.state, reading.tokens) == ("not seen", 1)
    place = max(reading.heads, key=lambda head: head.excess).evidence[0]
    assert place.most_key == place.query
    at, share = visible_text(analysis.tokens[place.query]), percent(place.most_attention)
    assert describe_role(reading, analysis).endswith(f"; at {at} it looks most at that token itself, {share}.")


@pytest.mark.parametrize(
    ("most", "said"),
    [
        (0, "at ·that it looks most at She, the first token, 91%"),
        (1, "at ·that it looks most at ·saw, 91%"),
        (5, "at ·that it looks most at that token itself, 91%"),
        (None, "at ·that it looks most at the learned sink, 91%"),
        (3, ""),
    ],
)
def test_where_it_looks_instead_is_told_unless_that_is_what_the_role_expects(most, said):
    assert describe_most_attended(TokenEvidence(5, 3, 0.05, 0.02, most, 0.91), TOKENS) == said


def test_a_learned_sink_is_told_where_it_takes_more_than_any_token():
    record = mixed_record()
    record = record.model_copy(update={"recipe": recipe(learned_sink=True)})
    patterns, sinks = with_sink(3, 2, length=7, seed=1)
    patterns[0], sinks[0] = patterns[0] / 10, 1 - patterns[0].sum(-1) / 10
    kinds = {0: "a", 2: "a", 3: "a"}
    attention = Attention("mixed", (5, 6, 7, 5, 6, 7, 5), tuple("abcabca"), patterns.float(), (), kinds, True)
    heads = analyze_attention("abcabca", attention, record, RecordSource("embedded", "2026-01-01", "r")).heads
    found = set()
    for head in heads.heads():
        row = heads.layers.index(head.layer)
        for place in heads.reading("duplicate_token", head).evidence:
            pattern, sink = patterns[row, head.index, place.query], float(sinks[row, head.index, place.query])
            assert (place.most_key is None) == (sink > float(pattern.max()))
            assert place.most_attention == pytest.approx(max(sink, float(pattern.max())), abs=1e-6)
            found.add(place.most_key is None)
    assert found == {True, False}


def test_each_token_that_a_role_is_seen_at_is_marked_with_the_heads_that_do_it_there(explorer):
    """Counted the other way round: head by head, from their strongest tokens."""
    marked = 0
    for role in ("induction", "duplicate_token"):
        analysis = explorer.analyze(EMBEDDED_MODEL, ROLES[role].suggested_prompt)
        reading = analysis.role(role)
        heads = [analysis.heads.reading(role, head) for head in analysis.heads.heads()]
        assert sum(mark.count for mark in reading.marks) == sum(head.detections for head in heads) > 0
        assert [mark.query for mark in reading.marks] == sorted({mark.query for mark in reading.marks})
        places = {(head.head, place.query): place for head in heads if head.is_active for place in head.evidence}
        for mark in reading.marks:
            assert len(mark.heads) == min(mark.count, MARKED)
            strengths = [place.excess for _, place in mark.heads]
            assert strengths == sorted(strengths, reverse=True)
            for head, place in mark.heads:
                assert place.query == mark.query
                assert analysis.heads.reading(role, head).is_active
                assert places.get((head, mark.query), place) == place
                marked += 1
    assert marked > 10


def test_a_role_that_is_not_seen_marks_no_token(explorer):
    analysis = explorer.analyze(EMBEDDED_MODEL, PLAIN)
    assert all(not reading.marks for reading in analysis.roles)


def test_a_mark_in_a_model_with_layers_that_have_no_pattern_names_the_layer_by_its_number():
    attention, record = mixed_attention(), mixed_record()
    table = read_heads(attention, record)
    for name, marks in table.marks.items():
        for mark in marks:
            for head, place in mark.heads:
                row = attention.pattern(head)[mark.query]
                assert place.most_attention == pytest.approx(float(row.max())), name
                assert place in table.reading(name, head).evidence or table.reading(name, head).detections > 3
