"""Templates: what they are given is escaped, what is missing is an error, and how they are laid out reaches nobody."""

import re

import jinja2
import pytest

from headroles.core.registry import EMBEDDED_MODEL
from headroles.render import html
from headroles.render.html import ASSETS, STYLES, render_template
from headroles.render.page.cards import render_panel
from headroles.render.page.lessons import render_lessons
from headroles.render.page.model_map import render_map
from tests.conftest import REPEATING

TEMPLATES = sorted((ASSETS / "templates").glob("*.html"))


@pytest.fixture
def laid_out(monkeypatch):
    """Draws a template of this text."""

    def made(text: str, **values: object) -> str:
        monkeypatch.setattr(html, "_TEMPLATES", html._TEMPLATES.overlay(loader=jinja2.DictLoader({"t.html": text})))
        return render_template("t", **values)

    return made


def test_a_line_break_goes_beside_a_tag_and_is_a_blank_between_words(laid_out):
    assert laid_out("<p>\n  one\n  two {{ a }}\n  <b>three</b>\n</p>\n", a="x") == "<p>one two x<b>three</b></p>"
    assert laid_out("<p>\n  one\n  {{ a }}\n  two\n  <b>three</b>, {{ a }}{% if True %},\n  four{% endif %}\n</p>", a="x") == (
        "<p>one x two <b>three</b>, x, four</p>"
    )
    assert laid_out('<p id="a"\n   class="b">\n\n  {% if True %}\n    c <i>d</i>\n  {% endif %}\n</p>') == (
        '<p id="a" class="b">c <i>d</i></p>'
    )


def test_a_line_break_in_a_value_stays(laid_out):
    assert laid_out("<pre>\n{{ a }}\n</pre>", a="1 \n <2>") == "<pre>1 \n &lt;2&gt;</pre>"


def test_a_value_that_is_missing_is_an_error(laid_out):
    with pytest.raises(jinja2.UndefinedError):
        laid_out("{{ a }}")


def test_no_layout_reaches_a_visitor(explorer):
    analysis = explorer.analyze(EMBEDDED_MODEL, REPEATING)
    for drawn in (render_panel(analysis), render_map(analysis), render_lessons()):
        assert "\n" not in drawn
        assert "  " not in drawn


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_trusts_nothing_and_names_no_role(path):
    text = re.sub(r"\{#.*?#\}", "", path.read_text("utf-8"), flags=re.S)
    assert not re.search(r"\|\s*safe|autoescape|Markup", text)
    assert not re.search(r"\b(previous_token|induction|duplicate_token|positional|diffuse)\b", text)


def test_every_sheet_is_one_that_the_page_takes_or_the_saved_one():
    assert {*ASSETS.glob("*.css")} == {*STYLES, ASSETS / "saved.css"}
