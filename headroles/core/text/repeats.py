"""Words that come again as other tokens, so that to the model nothing repeats."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from headroles.core.text.tokens import visible_text

SHORTEST = 3  # letters of a word that counts


@dataclass(frozen=True)
class RespelledRepeat:
    """A word that comes twice in a text, in other tokens the second time.

    Attributes:
        word: as it is written the first time.
        again: as it is written the second time.
        tokens: that it is in the first time: `Bar|ack`.
        tokens_again: that it is in the second time: `·Barack`.
    """

    word: str
    again: str
    tokens: str
    tokens_again: str


def find_respelled_repeat(tokens: Sequence[str]) -> RespelledRepeat | None:
    """Finds the first word that a text says twice and its tokenizer splits in two ways; None where there is none.

    `Bar|ack, then ·Barack` is split differently at the beginning of a text; `The, then ·the` has another case and a space.
    """
    first: dict[str, tuple[str, str]] = {}
    for word, read_as in _words(tokens):
        said, before = first.setdefault(word.casefold(), (word, read_as))
        if before != read_as:
            return RespelledRepeat(said, word, before, read_as)
    return None


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
