"""The lessons: every role has all its parts, the pictures are the definitions, and the experiments work on the embedded model."""

import dataclasses
import xml.etree.ElementTree as ET

import pytest
import torch

from headroles.core.heads import Head
from headroles.core.readings import HeadReading
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles import ROLES, Role, get_measured_role, measured_roles
from headroles.explorer import Explorer
from headroles.render.html import draw
from headroles.render.lessons import CELL, MARGIN, lesson_of, render_lessons
from tests.conftest import uniform_attention
from tests.fixtures.known import known

DRAWN = {"b", "button", "details", "div", "em", "figcaption", "figure", "h3", "h4", "li", "p", "section", "summary", "ul"} | {
    *("svg", "path", "circle", "rect", "polygon", "text")
}
EXAMPLES = {role.name: role.example for role in measured_roles() if role.example}
EXPECTING = [name for name, example in EXAMPLES.items() if ROLES[name].expected_keys(example.token_ids()).any()]
PREVIOUS, INDUCTION, DUPLICATE, FIRST, DIFFUSE = (role.suggested_prompt for role in measured_roles())


def parse(drawn: str) -> ET.Element:
    """The elements of a piece of HTML, under one of their own; fails where a tag is not closed or a text not escaped."""
    return ET.fromstring(f"<root>{drawn}</root>")


def tags(root: ET.Element) -> set[str]:
    return {element.tag for element in root.iter()} - {"root"}


def text(root: ET.Element) -> str:
    return "".join(root.itertext())


def picture(name: str) -> ET.Element:
    found = parse(draw("lesson", lesson=lesson_of(ROLES[name]))).find(".//svg[@role='img']")
    assert found is not None
    return found


def cells(drawn: ET.Element, kind: str) -> dict[tuple[int, int], float]:
    """The opacity of every cell of a kind by (query, key), read off its place in the picture."""
    found = [cell.attrib for cell in drawn.findall(f"rect[@class='{kind}']")]
    return {(int(cell["y"]) // CELL, (int(cell["x"]) - MARGIN) // CELL): float(cell.get("opacity", 1)) for cell in found}


def is_active(explorer: Explorer, text: str, role: str) -> bool:
    return explorer.analyze(EMBEDDED_MODEL, text).role(role).is_active


def longest_bar(explorer: Explorer, text: str, role: str) -> HeadReading:
    """The head with the longest bar in a role's card."""
    return max(explorer.analyze(EMBEDDED_MODEL, text).role(role).heads, key=lambda reading: known(reading.activation))


def pattern(explorer: Explorer, text: str, head: Head) -> torch.Tensor:
    return explorer.view_head(EMBEDDED_MODEL, text, head).pattern


def position(explorer: Explorer, text: str, word: str, nth: int) -> int:
    """The position of the nth token with that text, from 0."""
    tokens = explorer.analyze(EMBEDDED_MODEL, text).tokens
    return [place for place, token in enumerate(tokens) if token.strip() == word][nth]


def most_looked_at(explorer: Explorer, text: str, head: Head) -> str:
    """What the last token looks at most."""
    view = explorer.view_head(EMBEDDED_MODEL, text, head)
    return view.tokens[int(view.pattern[-1].argmax())].strip()


@pytest.mark.parametrize("role", ROLES.values(), ids=lambda role: role.name)
def test_a_lesson_has_all_its_parts(role: Role):
    root, measured = parse(draw("lesson", lesson=lesson_of(role))), role in measured_roles()
    for part in (role.display_name, role.explanation, role.try_this, role.look_for, role.source):
        assert part in text(root)
    assert [heading.text for heading in root.iter("h4")] == ["What it does", "Try this", "What to look for"]
    assert [mark.attrib["class"] for mark in root.findall(".//h3/svg")] == ["hr-icon", "hr-mark"]
    assert len(root.findall(".//figure/svg[@role='img']")) == len(root.findall(".//figcaption")) == measured
    buttons = [(button.attrib["data-try"], button.text) for button in root.iter("button")]
    assert buttons == ([(role.name, f"Try “{role.suggested_prompt}”")] if measured else [])


def test_every_measured_role_has_an_example_of_few_words_in_which_it_shows():
    assert list(EXAMPLES) == [role.name for role in measured_roles()]
    for name, example in EXAMPLES.items():
        assert 8 <= len(example.words) <= 9
        assert get_measured_role(name).measure.picture(example.token_ids()) is not None


@pytest.mark.parametrize("name", EXPECTING)
def test_the_filled_cells_of_a_picture_are_exactly_the_expected_keys(name):
    drawn, expected = picture(name), ROLES[name].expected_keys(EXAMPLES[name].token_ids())
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
    assert [lesson.attrib["data-lesson"] for lesson in root.iter("section")] == list(ROLES)
    assert tags(root) <= DRAWN
    assert [summary.text for summary in root.iter("summary")] == ["Why does every token look at the first one?"]
    assert text(parse(draw("first_token"))) in text(root)


def test_a_roles_text_is_never_markup():
    hostile = '<script>alert(1)</script> & "quoted"'
    texts = dict.fromkeys(("display_name", "explanation", "try_this", "look_for", "source", "suggested_prompt", "color"), hostile)
    root = parse(draw("lesson", lesson=lesson_of(dataclasses.replace(ROLES["induction"], **texts))))
    assert tags(root) <= DRAWN
    assert text(root).count(hostile) == 6  # all but the colour
    assert root[0].attrib["style"] == f"--role:{hostile}"


# The experiments, as the lessons tell them.


def test_previous_token_goes_by_position_and_not_by_meaning(explorer):
    head = longest_bar(explorer, PREVIOUS, "previous_token").head
    backwards = " ".join(reversed(PREVIOUS.split()))
    for text in (PREVIOUS, backwards, "blue seven run under happy paper sing tall", "xq zzv brrp wug flim"):
        assert explorer.analyze(EMBEDDED_MODEL, text).heads.reading(ROLES["previous_token"], head).activation > 0.95
        assert (pattern(explorer, text, head).diagonal(-1) > 0.9).all()


def test_induction_looks_up_the_word_that_followed_and_empties_when_nothing_repeats(explorer):
    assert is_active(explorer, INDUCTION, "induction")
    head = longest_bar(explorer, INDUCTION, "induction").head
    with_bird = INDUCTION.replace("queen", "bird")
    assert most_looked_at(explorer, INDUCTION, head) == "queen"
    assert most_looked_at(explorer, with_bird, head) == "bird"
    for text in (INDUCTION, with_bird):
        assert not is_active(explorer, text.removesuffix(" The king and the"), "induction")


def test_induction_draws_a_line_where_a_passage_comes_twice_and_rests_elsewhere(explorer):
    text = "red green blue black white red green blue black white"
    view = explorer.view_head(EMBEDDED_MODEL, text, longest_bar(explorer, text, "induction").head, ROLES["induction"])
    found = view.expected.any(-1)
    assert (view.pattern[view.expected] > 0.7).all()
    assert view.pattern[~found, 0].median() > 0.9


def test_duplicate_token_loses_its_cell_with_the_copy(explorer):
    assert is_active(explorer, DUPLICATE, "duplicate_token")
    head = longest_bar(explorer, DUPLICATE, "duplicate_token").head
    row, key = position(explorer, DUPLICATE, "boy", 1), position(explorer, DUPLICATE, "boy", 0)
    with_king = DUPLICATE.replace("and the boy", "and the king")
    assert position(explorer, with_king, "king", 0) == row
    assert pattern(explorer, DUPLICATE, head)[row, key] > 0.6
    assert pattern(explorer, with_king, head)[row, key] < 0.05
    for text in (DUPLICATE, with_king):
        assert not is_active(explorer, text[: text.index("a story") + len("a story")], "duplicate_token")


def test_the_first_column_of_induction_heads_fades_where_the_sentence_comes_again(explorer):
    assert is_active(explorer, FIRST, "positional")
    doing = {reading.head for reading in explorer.analyze(EMBEDDED_MODEL, FIRST).role("positional").heads if reading.is_active}
    both = doing & {reading.head for reading in explorer.analyze(EMBEDDED_MODEL, FIRST).role("induction").heads}
    assert both
    for head in both:
        once, twice = pattern(explorer, FIRST, head), pattern(explorer, f"{FIRST} {FIRST}", head)
        assert twice[len(once) :, 0].mean() < 0.5 * once[2:, 0].mean()


def test_diffuse_does_not_mind_a_word_and_empties_on_a_text_too_short(explorer):
    assert is_active(explorer, DIFFUSE, "diffuse")
    head = longest_bar(explorer, DIFFUSE, "diffuse").head
    before, after = (pattern(explorer, text, head) for text in (DIFFUSE, DIFFUSE.replace("village", "castle")))
    moved = (before - after).abs().sum(-1).mean() / 2  # the share of attention that lies elsewhere
    assert moved < 0.05
    assert before[-8:].max() < 0.5 * before[3:8].amax(-1).mean()
    assert not is_active(explorer, "The sun", "diffuse")


def test_the_head_to_open_for_other_has_no_role_and_looks_at_itself(explorer, record):
    head = Head(2, 7)
    assert head.label in ROLES["other"].try_this
    assert head in record.heads_without_role()
    for text in (FIRST, DUPLICATE, DIFFUSE):
        assert pattern(explorer, text, head).diagonal().mean() > 0.9


def test_resting_heads_take_little_from_the_first_token(explorer, tiny):
    """`first_token.html`: the first token's value, carried through the head's part of the output projection, is small."""
    modules = [layer.attention for layer in tiny.model.gpt_neox.layers]
    seen: list[torch.Tensor] = []
    hooks = [module.query_key_value.register_forward_hook(lambda _, __, out: seen.append(out[0])) for module in modules]
    with torch.no_grad():
        tiny.model(torch.tensor([tiny.encode(FIRST)]))
    for hook in hooks:
        hook.remove()
    resting = [head.head for head in explorer.analyze(EMBEDDED_MODEL, FIRST).role("positional").heads if head.activation > 0.5]
    assert resting
    for head in resting:
        width = tiny.model.config.hidden_size // tiny.model.config.num_attention_heads
        value = seen[head.layer].unflatten(-1, (-1, 3 * width))[:, head.index, 2 * width :]
        written = value @ modules[head.layer].dense.weight[:, head.index * width : (head.index + 1) * width].T
        sizes = written.norm(dim=-1)
        assert sizes[0] < 0.5 * sizes[1:].mean()
