"""The glossary: every word that a template explains is in it, and none is there for nothing."""

import re

import pytest

from headroles.render.html import ASSETS
from headroles.render.wording.glossary import GLOSSARY, term

USED = {
    word
    for template in (ASSETS / "templates").glob("*.html")
    for word in re.findall(r'term\("([^"]+)"', template.read_text("utf-8"))
}


def test_what_the_templates_explain_is_what_the_glossary_holds():
    assert set(GLOSSARY) == USED


def test_a_term_is_reached_by_the_keyboard_and_says_what_it_means():
    drawn = term("nat", "nats")
    assert drawn.startswith('<dfn class="hr-term" tabindex="0" title="How surprised')
    assert drawn.endswith(">nats</dfn>")


def test_what_is_shown_is_escaped_and_a_word_that_nobody_explains_is_an_error():
    assert "<b>" not in term("score", "<b>")
    with pytest.raises(KeyError):
        term("nothing")
