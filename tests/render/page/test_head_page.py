"""A head's page: its sentence, its heatmap as data and picture, its neighbours, and what is known of it."""

import base64
import dataclasses
import html
import json
import re

import pytest

from headroles import __version__
from headroles.core.heads import Head
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.roles import ROLES, measured_roles
from headroles.core.text.tokens import visible_text
from headroles.render.figures.figure_text import PAGE_LABELS
from headroles.render.figures.pixels import outline_path
from headroles.render.page.head_page import bibtex, cite, render_head, render_twin
from headroles.render.wording.bars import figures
from headroles.render.wording.evidence import describe_evidence
from headroles.render.wording.head_sentences import describe_head_view
from tests.conftest import PLAIN, REPEATING
from tests.fixtures.known import known
from tests.fixtures.outline import Outline

HOSTILE = "<img src=x onerror=alert(1)> ${alert(1)} \\x {{7*7}} \"'></li><script>alert(2)</script> &lt;b&gt;"
TAGS = {
    "a",
    "b",
    "bdi",
    "blockquote",
    "button",
    "details",
    "div",
    "em",
    "figcaption",
    "figure",
    "h2",
    "h3",
    "img",
    "li",
    "nav",
} | {
    *(
        "br",
        "dfn",
        "p",
        "path",
        "pre",
        "section",
        "small",
        "span",
        "strong",
        "summary",
        "svg",
        "circle",
        "rect",
        "table",
        "tbody",
        "td",
        "th",
    ),
    *("thead", "tr", "ul"),
}


@pytest.fixture(scope="module")
def induction(explorer):
    head = explorer.analyze(EMBEDDED_MODEL, REPEATING).role("induction").heads[0].head
    return explorer.view_head(EMBEDDED_MODEL, REPEATING, head, ROLES["induction"])


def test_it_says_in_words_what_the_head_does_and_describes_its_picture(induction):
    drawn = render_head(induction)
    assert f"{induction.head.label} is mainly an induction head" in drawn
    (image,) = Outline(drawn).find(class_="hr-heatmap")
    assert image["alt"].startswith(f"Attention of {induction.head.label} over {len(induction.tokens)} tokens.")
    assert "Outlined: the cells that" in drawn


def test_the_script_gets_the_pattern_and_the_tokens_whole(induction):
    (figure,) = [attributes for _, attributes in Outline(render_head(induction)).elements if "data-pattern" in attributes]
    cells, count = base64.b64decode(figure["data-pattern"]), len(induction.tokens)
    assert json.loads(figure["data-tokens"]) == [visible_text(token) for token in induction.tokens]
    assert len(cells) == count * (count + 1) // 2
    for query in range(count):
        for key in range(query + 1):
            assert cells[query * (query + 1) // 2 + key] / 255 == pytest.approx(induction.pattern[query, key].item(), abs=1 / 255)


def test_every_role_has_a_row_that_looks_at_the_head_for_it(induction):
    drawn = render_head(induction)
    assert [button["data-role"] for button in Outline(drawn).find(class_="hr-open") if button["data-role"]] == [
        role.name for role in measured_roles()
    ]
    assert drawn.count('class="is-looked-at"') == 1


@pytest.mark.parametrize(("head", "neighbours"), [(Head(0, 0), ["L0H1"]), (Head(1, 7), ["L1H6", "L2H0"]), (Head(3, 7), ["L3H6"])])
def test_previous_and_next_head_go_layer_by_layer_and_end_at_the_models_ends(explorer, head, neighbours):
    outline = Outline(render_head(explorer.view_head(EMBEDDED_MODEL, REPEATING, head)))
    buttons = [button for button in outline.find(class_="hr-open") if button["data-role"] == ""]
    assert [f"L{button['data-layer']}H{button['data-head']}" for button in buttons] == neighbours


@pytest.mark.parametrize("words", [3, 60, 200])
def test_a_long_text_names_every_nth_token_on_both_axes(explorer, words):
    view = explorer.view_head(EMBEDDED_MODEL, "the king " * (words // 2), Head(0, 0))
    labels = [attributes for tag, attributes in Outline(render_head(view)).elements if tag == "bdi" and "style" in attributes]
    assert len(labels) <= 2 * PAGE_LABELS
    assert len(labels) >= min(2 * len(view.tokens), PAGE_LABELS)


def test_a_resting_head_answers_why_everything_looks_at_the_first_token(explorer):
    analysis = explorer.analyze(EMBEDDED_MODEL, REPEATING)
    shares = analysis.heads.activations["positional"]
    ranked = sorted(analysis.heads.heads(), key=lambda head: shares[head.layer][head.index])
    for head, answered in ((ranked[0], False), (ranked[-1], True)):
        drawn = render_head(explorer.view_head(EMBEDDED_MODEL, REPEATING, head))
        assert ("Why does every token look at the first one?" in drawn) is answered


def test_the_twin_shows_the_suggested_text_unless_it_is_the_visitors_own(explorer, induction):
    role = ROLES["induction"]
    other = explorer.view_head(EMBEDDED_MODEL, role.suggested_prompt, induction.head, role)
    assert role.suggested_prompt in render_twin(other, False)
    assert "data-pattern" in render_twin(other, False)
    assert "data-pattern" not in render_twin(other, True)


@pytest.mark.parametrize("text", [HOSTILE, "\x00 \u202e abc", "😀 e\u0301", "日本語"])
def test_a_users_text_is_never_markup(explorer, text):
    view = explorer.view_head(EMBEDDED_MODEL, text, Head(0, 0))
    for drawn in (render_head(view), render_twin(view, False)):
        outline = Outline(drawn)
        assert outline.tags <= TAGS
        assert not any(name.startswith("on") for name in outline.attributes)
        (figure,) = [attributes for _, attributes in outline.elements if "data-tokens" in attributes]
        assert json.loads(figure["data-tokens"]) == [visible_text(token) for token in view.tokens]


def test_a_head_that_the_literature_names_says_so(explorer):
    """The embedded model's own readings, shown under the name of a model that something is published of."""
    view = explorer.view_head(EMBEDDED_MODEL, REPEATING, Head(0, 0))
    assert "Known from Wang et al." in render_head(dataclasses.replace(view, model="gpt2", num_heads=12, head=Head(5, 5)))
    assert "nown from" not in render_head(view)


def test_the_lowest_rung_says_its_number_and_what_it_is_held_against(explorer):
    for prompt, role in ((REPEATING, "induction"), (PLAIN, "previous_token")):
        view = explorer.view_head(EMBEDDED_MODEL, prompt, explorer.analyze(EMBEDDED_MODEL, prompt).role(role).heads[0].head, role)
        reading = view.readings[role]
        shown = html.unescape(re.sub("<[^>]*>", "", render_head(view)))
        held = describe_evidence(reading.evidence[0], view.tokens) if reading.evidence else f"{figures(reading)}, usually"
        assert f"{view.role.display_name}: {held}" in shown


def test_the_cells_of_the_control_are_dashed_and_those_of_a_role_without_one_are_not(explorer, induction):
    shown = render_head(induction)
    assert f'class="hr-controls" d="{outline_path(known(induction.controls))}"' in shown
    query = induction.readings["induction"].evidence[0].query
    assert f"“{visible_text(induction.tokens[query])}” ({query + 1})" in shown
    assert "Dashed" not in render_head(explorer.view_head(EMBEDDED_MODEL, REPEATING, "L1H6", "previous_token"))


def test_a_usual_range_is_drawn_where_the_text_lies_in_it(explorer):
    view = explorer.view_head(EMBEDDED_MODEL, PLAIN, "L1H6", "previous_token")
    low, high = known(view.readings["previous_token"].usual)
    here = known(view.readings["previous_token"].activation)
    wanted = f'style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></span><b style="left:{100 * here:.1f}%">'
    assert wanted in render_head(view)


def test_a_head_is_cited_with_all_that_made_its_numbers(explorer, induction):
    source = known(induction.source)
    said = cite(induction)
    assert said.startswith(f"headroles: {induction.head.label} of {EMBEDDED_MODEL} on “{REPEATING}”. ")
    assert source.revision in said
    assert source.analysis_date in said
    assert "record that ships with headroles" in said
    published = dataclasses.replace(
        induction, prompt="x" * 500, source=dataclasses.replace(source, kind="published", dataset="o/d", commit="abc")
    )
    assert "dataset o/d at commit abc" in cite(published)
    assert len(cite(published)) < 400
    assert cite(dataclasses.replace(induction, source=None)).endswith("”.")


def test_the_bibtex_entry_names_version_model_and_revision_and_stays_one_entry_whatever_the_name(induction):
    entry = bibtex(induction)
    assert entry.startswith("@misc{headroles,\n")
    assert f"{{Software, version {__version__}}}" in entry
    assert f"{{Model {EMBEDDED_MODEL}, revision {known(induction.source).revision}}}" in entry
    assert html.escape(entry) in render_head(induction)
    odd = bibtex(dataclasses.replace(induction, model=r"a_b}\x~50%", source=None))
    assert r"  note = {Model a\_b\}\textbackslash{}x\textasciitilde{}50\%}" in odd.splitlines()
    assert odd.endswith("\n}")


def test_a_role_that_nothing_here_can_show_has_no_number(explorer):
    """Also one that is always on, as looking at punctuation where there is none."""
    view = explorer.view_head(EMBEDDED_MODEL, "no marks in this text at all", "L0H0", "delimiter")
    assert not view.readings["delimiter"].can_show
    row = known(re.search(r'<tr class="is-looked-at">.*?</tr>', render_head(view), re.S)).group()
    assert "%" not in row.partition("usual")[0]
    assert "not applicable" in row
    assert "Nothing on this text calls for delimiter" in describe_head_view(view)
