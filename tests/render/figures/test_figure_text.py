"""No text of a user is ever markup, and all of it is to be seen."""

import pytest

from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.text.tokens import visible_text
from headroles.render.page.answer import render_answer
from headroles.render.page.cards import render_panel
from headroles.render.page.messages import render_message
from headroles.render.page.toolbar import render_examples
from tests.fixtures.outline import Outline

HOSTILE = "<img src=x onerror=alert(1)> ${alert(1)} \\x {{7*7}} \"'></li><script>alert(2)</script> &lt;b&gt;"
TAGS = {"b", "bdi", "button", "details", "dfn", "div", "em", "h3", "li", "ol", "p", "path", "polygon", "section", "small"} | {
    "span", "summary", "svg", "circle", "ul"
}  # fmt: skip


@pytest.mark.parametrize("text", [HOSTILE, "\x00 \u202e abc", "😀 e\u0301", "日本語"])
def test_a_users_text_is_never_markup(explorer, text):
    analysis = explorer.analyze(EMBEDDED_MODEL, text)
    for drawn in (render_answer(analysis), render_panel(analysis), render_message(text), render_examples([text])):
        outline = Outline(drawn)
        assert outline.tags <= TAGS
        assert not any(name.startswith("on") for name in outline.attributes)
    shown = Outline(render_answer(analysis)).text
    assert all(visible_text(token) in shown for token in analysis.tokens)


def test_a_token_shows_its_white_space():
    assert visible_text(" king") == "·king"
    assert visible_text("\n\t") == "↵⇥"
    assert visible_text("\x00") == "<U+0000>"
    assert visible_text("") == "∅"
