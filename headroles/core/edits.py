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
    beginnings = [" ".join(words[:count]) for count in range(1, min(MAX_WORDS, len(words) - 1) + 1)]
    found: dict[str, Edit] = {}
    for said in (*_own_words(words[:-1])[-3:], *beginnings):
        found.setdefault(said.casefold(), Edit(f"{start} {said}", len(said.split()), f"say “{said}” again at the end"))
    found.setdefault(start.casefold(), Edit(f"{start} {start}", len(words), "say all of it again"))
    return tuple(sorted(found.values(), key=lambda edit: edit.added))[:MAX_EDITS]


def _own_words(words: list[str]) -> list[str]:
    """Words that carry a meaning, without the signs around them, longest last."""
    bare = dict.fromkeys(word.strip(".,;:!?\"'()“”‘’") for word in words)
    return sorted((word for word in bare if len(word) >= LONG_WORD), key=len)
