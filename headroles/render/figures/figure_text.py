"""Text for figures: in one line, as short as its place, and of characters that the fonts of this machine have."""

import unicodedata
from functools import lru_cache

from matplotlib.font_manager import FontProperties, fontManager, get_font, get_font_names

from headroles.core.text.tokens import ISOLATE, ISOLATED, code_point, visible_text

# Tried in this order for each character, where they are installed.
_FONTS = (
    *("DejaVu Sans", "Noto Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR"),
    *("WenQuanYi Zen Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans", "Microsoft YaHei", "Malgun Gothic"),
    *("Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Tamil", "Noto Sans Thai"),
    *("Noto Emoji", "Segoe UI Emoji", "Symbola", "Noto Sans Symbols", "Noto Sans Symbols 2", "Arial Unicode MS", "Unifont"),
)


def one_line(text: str) -> str:
    """Text of several words in one line, its control characters made visible, for titles."""
    return " ".join(map(visible_text, text.split()))


def shorten(text: str, columns: int) -> str:
    """The start of a text, with `…` where it goes on; a wide character (East Asian, emoji) takes two columns."""
    if columns_of(text) <= columns:
        return text
    kept, used = [], 1
    for character in text:
        used += columns_of(character)
        if used > columns:
            break
        kept.append(character)
    return "".join(kept) + "…"


def columns_of(text: str) -> int:
    """How many columns a text takes; wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


@lru_cache
def font_families() -> tuple[str, ...]:
    """The fonts to try, of those installed: matplotlib logs a warning for each one that is not."""
    return "sans-serif", *sorted(set(_FONTS) & set(get_font_names()), key=_FONTS.index)


@lru_cache
def _drawable_characters() -> frozenset[int]:
    files = [fontManager.findfont(FontProperties(family=[family])) for family in font_families()]
    return frozenset({ord("\n")}).union(*(get_font(file).get_charmap() for file in files))


def drawable(text: str) -> str:
    """The text with every character that no font here has as its code point, cut to what fits where the text was to stand."""
    known = _drawable_characters()
    if all(ord(character) in known for character in text):
        return text
    columns, used, parts = max(columns_of(text), LABEL_COLUMNS), 1, []
    for character in text:
        part = character if ord(character) in known else "" if _is_invisible(character) else code_point(character)
        used += len(part)
        if used > columns + 1:
            return "".join(parts) + "…"
        parts.append(part)
    return "".join(parts)


def _is_invisible(character: str) -> bool:
    """Whether it only joins or styles its neighbours; tokens in sentences have no others."""
    return character in ("\u200d", ISOLATE, ISOLATED) or "VARIATION SELECTOR" in unicodedata.name(character, "")


LABEL_COLUMNS = 14  # of one token, on the page and in files; a longer one goes on as `…`
PAGE_LABELS = 32  # along one axis of the page's heatmap
FIGURE_LABELS = 48  # along one axis of a heatmap saved as a picture
MAP_LABELS = 24  # numbers along one axis of a map saved as a picture


def every_nth(count: int, most: int) -> range:
    """The positions, of `count`, that are named: all of them, or every n-th, so that there are at most so many."""
    return range(0, count, -(-count // most))
