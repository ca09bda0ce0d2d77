"""The answer: what it says of a sentence is what the readings say, and its tokens carry the roles that are seen at them."""

import dataclasses
import json
import re
from collections.abc import Callable

import pytest

from headroles.core.heads import Head
from headroles.core.outputs.next_tokens import Guess, Predictions
from headroles.core.readings.analysis import Analysis
from headroles.core.readings.head_readings import Mark, TokenEvidence
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.roles import ROLES
from headroles.render.page.answer import answer_text, render_answer
from headroles.render.page.next_token import NextTokenView, render_next
from headroles.render.wording.evidence import describe_evidence
from tests.conftest import PLAIN, REPEATING
from tests.fixtures.outline import Outline
from tests.fixtures.real import REAL_MODEL

TEXTS = [
    REPEATING,
    PLAIN,
    "Hi",
    "one two one two one two three",
    "This is it and this is so",
    ROLES["duplicate_token"].suggested_prompt,
]


@pytest.fixture(params=[EMBEDDED_MODEL, REAL_MODEL])
def analyze(request) -> Callable[[str], Analysis]:
    explorer = request.getfixturevalue("real_explorer" if request.param == REAL_MODEL else "explorer")
    return lambda text: explorer.analyze(request.param, text)


@pytest.mark.parametrize("text", TEXTS)
def test_the_answer_names_the_roles_that_are_seen_and_no_other(analyze, text):
    analysis = analyze(text)
    said = answer_text(analysis)
    for reading in analysis.roles:
        if reading.role.requires_repetition:
            named = f"({reading.role.display_name.lower()})" in said or f"{reading.role.display_name.lower()} is seen too" in said
            assert named == (reading.state == "seen"), reading.role.name
    assert not re.search(r"\s\s|\.\.|None", said)
    assert said.endswith(".")


def test_the_answer_tells_the_clearest_head_where_it_looks_and_what_it_gives_otherwise(explorer):
    analysis = explorer.analyze(EMBEDDED_MODEL, REPEATING)
    reading = analysis.role("induction")
    best = max((head for head in reading.heads if head.is_active), key=lambda head: head.excess)
    told = describe_evidence(best.evidence[0], analysis.tokens)
    assert f"(induction), most clearly {best.head.label}: {told}." in answer_text(analysis)
    assert re.fullmatch(r"·\w+ → ·\w+, >?\d+% \(<?\d+% otherwise\)", told)


def with_marks(analysis: Analysis, *marks: Mark) -> Analysis:
    roles = [dataclasses.replace(reading, marks=marks if reading.role.name == "induction" else ()) for reading in analysis.roles]
    return dataclasses.replace(analysis, roles=tuple(roles))


def test_every_token_is_there_once_and_those_with_a_mark_are_buttons_that_know_who_looks_where(explorer):
    analysis = explorer.analyze(EMBEDDED_MODEL, PLAIN)
    place = TokenEvidence(3, 1, 0.654, 0.021, 1, 0.654)
    drawn = render_answer(with_marks(analysis, Mark(3, ((Head(2, 2), place), (Head(3, 1), place)), 5)))
    outline = Outline(drawn)
    assert [attributes for tag, attributes in outline.elements if tag == "li"] == [{}] * len(analysis.tokens)
    (button,) = [attributes for tag, attributes in outline.elements if tag == "button"]
    (role,) = json.loads(button["data-looks"])
    assert (role["role"], role["name"], role["count"]) == ("induction", "Induction", 5)
    assert role["heads"] == [[2, 2, 1, 0.65, "65%", "2%"], [3, 1, 1, 0.65, "65%", "2%"]]
    assert "Point at one" in drawn


def test_a_sentence_without_marks_offers_nothing_to_point_at(explorer):
    drawn = render_answer(explorer.analyze(EMBEDDED_MODEL, PLAIN))
    assert "<button" not in drawn
    assert "Point at one" not in drawn


def test_every_mark_of_the_readings_is_drawn(analyze):
    analysis = analyze(REPEATING)
    marked = {(reading.role.name, mark.query) for reading in analysis.roles for mark in reading.marks}
    items = re.findall(r"<li>(.*?)</li>", render_answer(analysis))
    shown = {(name, query) for query, item in enumerate(items) for name in ROLES if f"{ROLES[name].display_name}</span>" in item}
    assert shown == marked
    assert marked


def test_the_next_word_is_told_with_its_chance_and_escaped():
    guesses = (Guess(1, " <b>", 0.976), Guess(2, " x", 0.0002))
    drawn = render_next(NextTokenView(Predictions("m", "a", ("a",), (guesses,), (None,))))
    assert Outline(drawn).text == "Next, the model expects “·<b>” 97.6%, “·x” <0.1%."
    assert "<b>”" not in drawn.replace("&lt;b&gt;", "")


def test_where_the_next_word_cannot_be_read_the_reason_stands_there():
    assert (
        Outline(render_next(NextTokenView(None, "What <it> writes cannot be read."))).text == "What <it> writes cannot be read."
    )
