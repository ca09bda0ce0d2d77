"""Words that come again as other tokens, so that to the model nothing repeats."""

import re
from collections.abc import Sequence

from headroles.core.text.tokens import visible_text

SHORTEST = 3  # letters of a word that is told


def find_respelled_repeat(tokens: Sequence[str]) -> str:
    """One sentence on the first word that a text says twice and its tokenizer reads in two ways; empty where there is none.

    `Bar|ack, then ·Barack` is split differently at the beginning of a text; `The, then ·the` has another case and a space.
    """
    first: dict[str, tuple[str, str]] = {}
    for word, read_as in _words(tokens):
        said, before = first.setdefault(word.casefold(), (word, read_as))
        if before != read_as:
            again = f"“{said}” comes again" if said == word else f"“{said}” comes again as “{word}”"
            return f"{again}, but as other tokens ({before}, then {read_as}), so to the model that is no repeat."
    return ""


def _words(tokens: Sequence[str]) -> list[tuple[str, str]]:
    """Each word of some length, and the tokens that it is in."""
    starts, text = [], ""
    for token in tokens:
        starts.append(len(text))
        text += token
    found = []
    for match in re.finditer(r"[^\W\d_]+", text):
        if len(match[0]) < SHORTEST:
            continue
        inside = [
            visible_text(token)
            for start, token in zip(starts, tokens)
            if start < match.end() and start + len(token) > match.start()
        ]
        found.append((match[0], "|".join(inside)))
    return found
