"""The lessons: every role has all its parts, the pictures are the definitions, and the experiments work on the embedded model."""

import dataclasses
import re
import xml.etree.ElementTree as ET

import pytest

from headroles.core.records.record_builder import with_prompts
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.roles import ROLES, Role, get_measured_role, measured_roles
from headroles.core.roles.scoring import pattern_roles
from headroles.hub.record_store import EMBEDDED_RECORDS, load_head_categories
from headroles.render.html import render_template
from headroles.render.page.lessons import CELL, MARGIN, make_lesson, render_lessons, render_lessons_here
from tests.conftest import uniform_attention

DRAWN = {"b", "button", "details", "div", "em", "figcaption", "figure", "h3", "h4", "li", "p", "section", "summary", "ul"} | {
    *("svg", "path", "circle", "rect", "polygon", "text")
}
EXAMPLES = {role.name: role.example for role in measured_roles() if role.example}
EXPECTING = [
    name
    for name, example in EXAMPLES.items()
    if ROLES[name].expected_keys(example.token_ids(), delimiters=example.delimiters()).any()
]
PREVIOUS, INDUCTION, DUPLICATE, CURRENT, FIRST, DELIMITER, DIFFUSE = (role.suggested_prompt for role in pattern_roles())


def parse(drawn: str) -> ET.Element:
    """The elements of a piece of HTML, under one of their own; fails where a tag is not closed or a text not escaped."""
    return ET.fromstring(f"<root>{drawn}</root>")


def tags(root: ET.Element) -> set[str]:
    return {element.tag for element in root.iter()} - {"root"}


def text(root: ET.Element) -> str:
    return "".join(root.itertext())


def picture(name: str) -> ET.Element:
    found = parse(render_template("lesson", lesson=make_lesson(ROLES[name]))).find(".//svg[@role='img']")
    assert found is not None
    return found


def cells(drawn: ET.Element, kind: str) -> dict[tuple[int, int], float]:
    """The opacity of every cell of a kind by (query, key), read off its place in the picture."""
    found = [cell.attrib for cell in drawn.findall(f"rect[@class='{kind}']")]
    return {(int(cell["y"]) // CELL, (int(cell["x"]) - MARGIN) // CELL): float(cell.get("opacity", 1)) for cell in found}


@pytest.mark.parametrize("role", ROLES.values(), ids=lambda role: role.name)
def test_a_lesson_has_all_its_parts(role: Role):
    root, measured, drawn = (
        parse(render_template("lesson", lesson=make_lesson(role))),
        role in measured_roles(),
        role in pattern_roles(),
    )
    for part in (role.display_name, role.explanation, role.try_this, role.look_for, role.source):
        assert part in text(root)
    assert [heading.text for heading in root.iter("h4")] == ["What it does", "Try this", "What to look for"]
    assert [mark.attrib["class"] for mark in root.findall(".//h3/svg")] == ["hr-icon", "hr-mark"]
    assert len(root.findall(".//figure/svg[@role='img']")) == len(root.findall(".//figcaption")) == drawn
    buttons = [(button.attrib["data-try"], button.text) for button in root.iter("button")]
    assert buttons == ([(role.name, f"Try “{role.suggested_prompt}”")] if measured else [])


def test_every_role_that_a_pattern_shows_has_an_example_of_few_words_in_which_it_does():
    assert list(EXAMPLES) == [role.name for role in pattern_roles()]
    for name, example in EXAMPLES.items():
        assert 8 <= len(example.words) <= 9
        assert get_measured_role(name).measure.picture(example.token_ids(), example.delimiters()) is not None


@pytest.mark.parametrize("name", EXPECTING)
def test_the_filled_cells_of_a_picture_are_exactly_the_expected_keys(name):
    drawn, example = picture(name), EXAMPLES[name]
    expected = ROLES[name].expected_keys(example.token_ids(), delimiters=example.delimiters())
    assert cells(drawn, "hr-strong") == dict.fromkeys(map(tuple, expected.nonzero().tolist()), 1.0)


def test_the_picture_of_diffuse_is_uniform_attention():
    count = len(EXAMPLES["diffuse"].words)
    drawn = cells(picture("diffuse"), "hr-strong")
    uniform = uniform_attention(count)
    assert drawn == {(q, k): pytest.approx(float(uniform[q, k]), abs=5e-4) for q in range(count) for k in range(q + 1)}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_picture_shows_what_a_token_can_see_and_names_its_rows_and_columns(name):
    drawn, words = picture(name), EXAMPLES[name].words
    assert set(cells(drawn, "hr-seen")) == {(q, k) for q in range(len(words)) for k in range(q + 1)}
    assert [label.text for label in drawn.iter("text")] == [word for word in words for _ in ("row", "column")]


def test_a_picture_is_told_in_words_with_every_filled_cell():
    told = picture("duplicate_token").attrib["aria-label"]
    assert told.startswith("Attention of a perfect Duplicate Token head. A word that has been there before")
    assert told.endswith("Filled: the (4) at the (1); the (7) at the (1) and the (4); dog (8) at dog (5).")
    assert "fade downwards" in picture("diffuse").attrib["aria-label"]


def test_the_lessons_are_all_roles_in_order_and_the_question_of_the_first_token():
    root = parse(render_lessons())
    assert [lesson.attrib.get("data-lesson") for lesson in root.iter("section")] == [None, *ROLES]
    assert tags(root) <= DRAWN
    assert [summary.text for summary in root.iter("summary")] == ["Why does every token look at the first one?"]
    assert text(parse(render_template("first_token"))) in text(root)


@pytest.mark.parametrize("model", EMBEDDED_RECORDS)
def test_a_models_lessons_name_its_heads_offer_its_own_texts_and_say_which_other_model_has_what_it_lacks(model):
    record, others = load_head_categories(model), [load_head_categories(other) for other in EMBEDDED_RECORDS if other != model]
    root = parse(render_lessons_here(record, others))
    with_heads = [role for role in measured_roles() if record.top_heads(role)]
    assert [button.attrib["data-try"] for button in root.iter("button")] == [role.name for role in with_heads]
    assert [button.attrib["data-prompt"] for button in root.iter("button")] == list(map(record.suggested_prompt, with_heads))
    said = text(root)
    for role in measured_roles():
        head = next(iter(record.top_heads(role)), None)
        assert f"{role.display_name}: {head.label} " in said if head else f"No head of {model} stands for" in said
        elsewhere = [other.model_name for other in others if not head and other.top_heads(role)]
        assert all(re.search(f"{other} has heads for [^.]*{role.display_name}", said) for other in elsewhere)


def test_a_models_lessons_say_where_the_lessons_own_sentence_does_not_show_it():
    record = load_head_categories(EMBEDDED_MODEL)
    induction = ROLES["induction"]
    for found, said in (("a b a b", "this one does"), ("", "None of the texts"), (induction.suggested_prompt, None)):
        drawn = render_lessons_here(with_prompts(record, {"induction": found}))
        assert (said in drawn) if said else "show" not in drawn
        assert (f'data-try="induction" data-prompt="{found}"' in drawn) == bool(found)


def test_a_roles_text_is_never_markup():
    hostile = '<script>alert(1)</script> & "quoted"'
    texts = dict.fromkeys(("display_name", "explanation", "try_this", "look_for", "source", "suggested_prompt", "color"), hostile)
    root = parse(render_template("lesson", lesson=make_lesson(dataclasses.replace(ROLES["induction"], **texts))))
    assert tags(root) <= DRAWN
    assert text(root).count(hostile) == 6  # all but the colour
    assert root[0].attrib["style"] == f"--role:{hostile}"
