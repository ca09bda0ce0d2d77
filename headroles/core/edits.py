"""The smallest changes of a visitor's own sentence that may let a role show which is not seen on it."""

from dataclasses import dataclass

MAX_EDITS = 14  # tried in one forward
MAX_WORDS = 8  # that an edit adds, but for the whole text once more
LONG_WORD = 4  # letters from which on a word is one of its own kind


@dataclass(frozen=True)
class Edit:
    """A text, and what was done to the visitor's to get it; `added` words more."""

    text: str
    added: int
    told: str


def edits_of(text: str) -> tuple[Edit, ...]:
    """Changes of a text, smallest first: one of its words again, its beginning again, all of it again.

    Nothing is taken away or put in between, so that what the visitor wrote stays as it is.
    """
    words = text.split()
    if not words:
        return ()
    start = text.rstrip()
    found = {_again(word): Edit(f"{start} {word}", 1, f"say “{word}” again at the end") for word in _own_words(words[:-1])[-3:]}
    for count in range(1, min(MAX_WORDS, len(words) - 1) + 1):
        beginning = " ".join(words[:count])
        found.setdefault(_again(beginning), Edit(f"{start} {beginning}", count, f"say “{beginning}” again at the end"))
    if len(words) > 1:
        whole = Edit(f"{start} {start}", len(words), "say all of it again")
        found.setdefault(_again(start), whole)
    return tuple(sorted(found.values(), key=lambda edit: edit.added))[:MAX_EDITS]


def _own_words(words: list[str]) -> list[str]:
    """Words that carry a meaning, without the signs around them, longest last."""
    bare = dict.fromkeys(word.strip(".,;:!?\"'()“”‘’") for word in words)
    return sorted((word for word in bare if len(word) >= LONG_WORD), key=len)


def _again(said: str) -> str:
    return said.casefold()
