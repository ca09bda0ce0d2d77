"""Tokens as people see them: nothing invisible, nothing empty, every script as it is."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headroles.core.text.tokens import inline_text, is_delimiter, visible_text

JOINERS = {"\u200d"}
# `text()` alone hardly ever puts the odd characters beside the ones they act on
ODD = st.sampled_from(
    "a é क中👩🚀❤🏽☠\u0301\u0903\u200b\u200c\u200d\u200e\u202e\u2066\ufe0f\ufe0e\U000e0100\U000e0067\ud800\ufffd\u00a0\n"
)
TEXTS = st.text(st.one_of(ODD, st.characters(exclude_categories=(), exclude_characters="·↵⇥⍽>")), max_size=12)


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (" king", "·king"),
        ("king", "king"),
        ("\n\t", "↵⇥"),
        ("", "∅"),
        ("\x00\r", "<U+0000><U+000D>"),
        ("\u00a0a\u3000", "⍽a<U+3000>"),
        ("a\u200bb\ufeff", "a<U+200B>b<U+FEFF>"),
        ("\u202eabc\u2066\u200f", "<U+202E>abc<U+2066><U+200F>"),
        ("\u2028\u2029", "<U+2028><U+2029>"),
        ("\u0301", "◌\u0301"),
        (" \u0301\u0302", "·◌\u0301\u0302"),
        ("e\u0301", "e\u0301"),
        ("कि", "कि"),
        ("\u093f", "◌\u093f"),
        ("❤\ufe0f", "❤\ufe0f"),
        ("❤\ufe0f\ufe0f", "❤\ufe0f<U+FE0F>"),
        ("\ufe0f", "<U+FE0F>"),
        (" \ufe0f", "·<U+FE0F>"),
        ("👩🏽\u200d🚀", "👩🏽\u200d🚀"),
        ("❤\ufe0f\u200d🔥", "❤\ufe0f\u200d🔥"),
        ("👩\u200d", "👩<U+200D>"),
        ("\u200d🚀", "<U+200D>🚀"),
        ("a\u200db", "a<U+200D>b"),
        ("\u200c", "<U+200C>"),
        ("🏴\U000e0067\U000e007f", "🏴<U+E0067><U+E007F>"),
        ("🇩🇪", "🇩🇪"),
        ("\ufffd", "\ufffd"),
        ("\ud83d", "<U+D83D>"),
        ("\u3164\u2800", "<U+3164><U+2800>"),
        ("\ue000\uffff", "<U+E000><U+FFFF>"),
        ("中文 العربية Ελληνικά 😀", "中文·العربية·Ελληνικά·😀"),
    ],
)
def test_what_cannot_be_seen_is_named_and_what_can_stays(token, shown):
    assert visible_text(token) == shown


@given(TEXTS)
def test_nothing_invisible_is_left_and_nothing_is_empty(token):
    shown = visible_text(token)
    assert shown
    hidden = {character for character in shown if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp")}
    assert hidden <= JOINERS


@given(TEXTS)
def test_no_mark_selector_or_joiner_stands_without_what_it_acts_on(token):
    shown = visible_text(token)
    before = ""
    for position, character in enumerate(shown):
        if unicodedata.category(character).startswith("M"):
            assert before
            assert before not in "·↵⇥⍽>"
        if character in JOINERS:
            assert before
            assert 0 < position < len(shown) - 1
        before = character


@given(st.text(st.characters(categories=("L", "N", "P", "S"), exclude_characters="\u115f\u1160\u2800\u3164\uffa0"), min_size=1))
def test_letters_digits_punctuation_and_symbols_stay_as_they_are(token):
    assert visible_text(token) == token


@pytest.mark.parametrize("token", [".", " ,", ";", ":", "!", "?", "?!", "...", "\n", "\n\n", ".\n", "。", " ،"])
def test_punctuation_that_ends_or_parts_a_sentence_and_line_breaks_are_delimiters(token):
    assert is_delimiter(token)


@pytest.mark.parametrize("token", ["", " ", "a", "a.", "-", "'", '"', "(", ".5", "\t", "·"])
def test_nothing_else_is(token):
    assert not is_delimiter(token)


@pytest.mark.parametrize("token", [" שלום", "مرحبا", "a ה"])
def test_a_token_from_right_to_left_is_held_apart_in_a_sentence(token):
    assert inline_text(token) == f"\u2068{visible_text(token)}\u2069"


@pytest.mark.parametrize("token", ["king", " 42", "日本", "é", "\u202e", "🙂"])
def test_any_other_token_stands_in_a_sentence_as_it_is_shown(token):
    assert inline_text(token) == visible_text(token)
