"""The HTML: what is active is filled, what is grey says why, and no text of a user is ever markup."""

import dataclasses
import re

import pytest

from headroles.core.heads import Head
from headroles.core.readings import visible
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles import ROLES
from headroles.jobs import Progress
from headroles.render.panel import (
    render_download,
    render_examples,
    render_message,
    render_model,
    render_panel,
    render_progress,
    render_text,
    render_tools,
)
from tests.conftest import REPEATING
from tests.fixtures.known import known
from tests.fixtures.outline import Outline

HOSTILE = "<img src=x onerror=alert(1)> ${alert(1)} \\x {{7*7}} \"'></li><script>alert(2)</script> &lt;b&gt;"
TAGS = {"b", "bdi", "button", "details", "div", "em", "h3", "li", "ol", "p", "path", "polygon", "section", "small", "span"} | {
    "summary", "svg", "circle", "ul"
}  # fmt: skip


def card(panel: str, role: str) -> str:
    return known(re.search(rf'<section class="[^"]*" data-role="{role}".*?</section>', panel, re.S)).group()


def test_a_card_is_filled_on_a_repeat_and_grey_with_a_reason_and_an_offer_without(explorer):
    active = card(render_panel(explorer.analyze(EMBEDDED_MODEL, REPEATING)), "induction")
    grey = card(render_panel(explorer.analyze(EMBEDDED_MODEL, "She opened a door and saw my small garden.")), "induction")
    assert "is-active" in active
    assert "● active" in active
    assert "data-try" not in active
    assert "is-grey" in grey
    assert "○ not active" in grey
    assert "Not visible here: no word of your text comes back" in grey
    assert 'data-try="induction"' in grey


def test_every_role_has_a_card_and_every_top_head_a_button_with_its_numbers(explorer, record):
    analysis = explorer.analyze(EMBEDDED_MODEL, REPEATING)
    panel = render_panel(analysis)
    for role in ROLES.values():
        shown = card(panel, role.name)
        assert shown.count("<button") - shown.count("data-try") == len(record.top_heads(role))
        for reading in analysis.role(role.name).heads:
            assert f'data-layer="{reading.head.layer}" data-head="{reading.head.index}"' in shown
            assert f">{reading.activation:.2f}</span>" in shown
    assert "is-neutral" in card(panel, "other")
    assert "Why are some greyed out?" in panel


@pytest.mark.parametrize("text", [HOSTILE, "\x00 \u202e abc", "😀 e\u0301", "日本語"])
def test_a_users_text_is_never_markup(explorer, text):
    analysis = explorer.analyze(EMBEDDED_MODEL, text)
    for drawn in (render_text(analysis), render_panel(analysis), render_message(text), render_examples([text])):
        outline = Outline(drawn)
        assert outline.tags <= TAGS
        assert not any(name.startswith("on") for name in outline.attributes)
    shown = Outline(render_text(analysis)).text
    assert all(visible(token) in shown for token in analysis.tokens)


def test_a_token_shows_its_white_space():
    assert visible(" king") == "·king"
    assert visible("\n\t") == "↵⇥"
    assert visible("\x00") == "<U+0000>"
    assert visible("") == "∅"


def test_a_head_that_the_literature_names_says_so_in_its_card(explorer):
    """The embedded model's own readings, shown under the name of a model that something is published of."""
    head = Head(5, 5)
    analysis = explorer.analyze(EMBEDDED_MODEL, REPEATING)
    induction = analysis.role("induction")
    readings = dataclasses.replace(induction, heads=(dataclasses.replace(induction.heads[0], head=head), *induction.heads[1:]))
    roles = tuple(readings if reading.role.name == "induction" else reading for reading in analysis.roles)
    known = "known from Wang et al. 2022 (IOI) and ARENA: induction head"
    as_gpt2 = render_panel(dataclasses.replace(analysis, model="gpt2", roles=roles))
    assert as_gpt2.count(known) == card(as_gpt2, "induction").count(known) == 1
    assert "hr-known" not in render_panel(dataclasses.replace(analysis, roles=roles))


def test_a_progress_bar_says_what_is_done_how_far_it_is_and_how_long_it_takes_still():
    bar = render_progress(Progress(0.25, "scoring all heads of <b>x</b>"), 30.0)
    assert 'role="progressbar"' in bar
    assert 'aria-valuenow="25"' in bar
    assert "Scoring all heads of &lt;b&gt;x&lt;/b&gt;: 25%, about 2 minutes left." in bar
    Outline(bar)


def test_what_is_said_of_a_model_is_why_how_large_and_under_which_terms():
    assert "12 layers of 12 heads, 124 million parameters, licence mit." in render_model("gpt2")
    assert "gated, it needs an account on the Hub" in render_model("google/gemma-3-270m")
    assert "You can also type" in render_model("gpt2", any_model=True)
    assert "You can also type" not in render_model("gpt2")
    assert "<img" not in render_model("<img src=x>", any_model=True)


def test_the_links_and_downloads_carry_the_place_and_nothing_unescaped():
    outline = Outline(render_tools("model=a&prompt=%3Cb%3E", {"scores.csv": "Scores <CSV>"}))
    assert outline.find(data_query="model=a&prompt=%3Cb%3E")
    assert outline.find(class_="hr-back")[0]["href"] == "?model=a&prompt=%3Cb%3E"
    assert outline.find(data_download="scores.csv")
    assert "Scores <CSV>" in outline.text


def test_a_file_that_is_asked_for_again_is_another_one_for_the_script():
    first, second = (render_download("a.csv", "text/csv", b"1,2", number) for number in (1, 2))
    assert first != second
    assert Outline(first).find(download="a.csv")[0]["href"] == "data:text/csv;base64,MSwy"
