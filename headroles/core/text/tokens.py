"""A token's text, and a prompt's, made fit to be shown."""

import unicodedata

ISOLATE, ISOLATED = "\u2068", "\u2069"  # what stands between them is laid out apart from what stands around


def clean_text(text: str) -> str:
    """The text as a tokenizer and an answer can hold it: a lone surrogate has no UTF-8 form, and becomes `?`."""
    return text.encode("utf-8", "replace").decode()


def is_delimiter(token: str) -> bool:
    """Whether a token is nothing but punctuation that ends or parts a sentence, or a new line: `,`, `·.`, `?!`, `↵`."""
    return bool(token.strip(" ")) and set(token) <= _DELIMITERS | {" "}


def visible_text(token: str) -> str:
    """A token's text with everything that would not be seen made visible, and never empty: `·king`, `↵`, `<U+200B>`, `◌́`.

    Letters of any script and emoji stay; so do the joiners and variation selectors inside an emoji.
    """
    shown, before = [], ""  # `before`: the last character that stayed as it is, when nothing came between
    for character, after in zip(token, [*token[1:], ""]):
        if character in _SIGNS:
            shown.append(_SIGNS[character])
            before = ""
        elif before and _belongs(character, before, after, shown[-1]):
            shown.append(character)
        elif not character.isprintable() or character in _BLANK or _is_selector(character):
            shown.append(code_point(character))
            before = ""
        else:
            is_lone_mark = unicodedata.category(character).startswith("M") and not before
            shown.append("◌" + character if is_lone_mark else character)
            before = character
    return "".join(shown) or "∅"


def inline_text(token: str) -> str:
    """A token's text as `visible`, held apart from the words around it where it is written from right to left.

    Without the two marks of Unicode (isolates) the words and numbers after it would change places with it.
    """
    shown = visible_text(token)
    is_turned = any(unicodedata.bidirectional(character) in ("R", "AL") for character in shown)
    return f"{ISOLATE}{shown}{ISOLATED}" if is_turned else shown


def code_point(character: str) -> str:
    """How a character is written that cannot be shown itself: `<U+200B>`."""
    return f"<U+{ord(character):04X}>"


# the specification's, and what other scripts write for them
_DELIMITERS = frozenset(".,;:!?\n\r…。、，；：！？．،؛؟۔।॥")
_SIGNS = {" ": "·", "\n": "↵", "\t": "⇥", "\u00a0": "⍽"}
_JOINER = "\u200d"
# letters, marks and a symbol by their category, yet without ink: grapheme joiner, Hangul and Khmer fillers, empty Braille
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")


def _belongs(character: str, before: str, after: str, last: str) -> bool:
    """Whether it is a joiner between two emoji, or the one selector of the visible character before it."""
    if character == _JOINER:
        return _is_pictograph(before) and _is_pictograph(after)
    return _is_selector(character) and not _is_selector(last)


def _is_selector(text: str) -> bool:
    """Whether a character only picks a form of the one before it."""
    return len(text) == 1 and "VARIATION SELECTOR" in unicodedata.name(text, "")


def _is_pictograph(character: str) -> bool:
    """Whether it can be a part of an emoji: symbols, arrows and skin tones."""
    return unicodedata.category(character or " ") in ("So", "Sm") or "\U0001f3fb" <= character <= "\U0001f3ff"
