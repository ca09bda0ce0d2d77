"""The smallest changes of a visitor's own sentence that may let a role show which is not seen on it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

MAX_EDITS = 15  # tried, a few in one forward
LONG_WORD = 4  # letters from which on a word is one of its own kind
BEGINNINGS = (1, 2, 3, 5, 8)  # words of the text's beginning that are said again
PHRASES = (2, 3, 4)  # words of its end
MADE_UP = ("zorbat melkin", "frayd ustole", "plimmer quonk")  # no model has read them: only a repetition tells what follows
PUT_IN = ("window", "river", "lantern", "garden")  # words that carry a meaning, in place of one that carries little
LITTLE = (
    "a about all am an and are as at be been but by can did do for from had has have he her his i if in is it its me my no not "
    "of on or our she so that the their them then they this to too up was we were who will with would you your"
)
SMALL_WORDS = frozenset(LITTLE.split())
SIGNS = ".,;:!?\"'()“”‘’«»…"


EditKind = Literal["repeat", "repeat all", "made up", "replace"]


@dataclass(frozen=True)
class Edit:
    """A change of the visitor's text.

    Attributes:
        text: the changed text.
        words: how many words were added or changed.
        kind: what was done: some words repeated at the end, or all of them; made-up words added; one word replaced.
        added: the words that were added, or the one that was put in.
        replaced: the word that was taken out.
        after: the word before that one.
    """

    text: str
    words: int
    kind: EditKind
    added: str = ""
    replaced: str = ""
    after: str = ""


def propose_edits(text: str) -> tuple[Edit, ...]:
    """Changes of a text, smallest first, no two of them alike and none that leaves it as it is.

    One of its words again, or its beginning, its last words, all of it; made-up words, twice; or another word after an earlier
    copy of one that comes again. But for that one word, what the visitor wrote stays as it is.
    """
    words = text.split()
    if not words:
        return ()
    start = text.rstrip()
    found: dict[str, Edit] = {}
    for edit in (*_changed(start), *_said_again(start, words)):
        found.setdefault(edit.text.casefold(), edit)
    return tuple(sorted(found.values(), key=lambda edit: edit.words))[:MAX_EDITS]


def _said_again(start: str, words: list[str]) -> Iterator[Edit]:
    own = _own_words(words[:-1])[-3:]
    beginnings = [words[:count] for count in BEGINNINGS if count < len(words)]
    # with a word before it, since many tokenizers read the first word of a text otherwise
    phrases = [words[-count:] for count in PHRASES if count < len(words)]
    for said in (*own, *map(_without_end, beginnings), *map(_without_end, phrases)):
        yield Edit(f"{start} {said}", len(said.split()), "repeat", said)
    made_up = next((pair for pair in MADE_UP if not set(pair.split()) & {word.casefold() for word in _bare(words)}), MADE_UP[0])
    yield Edit(f"{start} {made_up} {made_up}", 2 * len(made_up.split()), "made up", made_up)
    yield Edit(f"{start} {start}", len(words), "repeat all")


def _changed(start: str) -> Iterator[Edit]:
    """A word with a meaning after an earlier copy of a word that comes again, where what follows now carries little."""
    places = list(re.finditer(r"\S+", start))
    bare = _bare([place[0] for place in places])
    put_in = next((word for word in PUT_IN if word not in map(str.casefold, bare)), None)
    # not after the first word of a text, which many tokenizers read otherwise than its copies
    after = [
        at
        for at in range(2, len(places) - 1)
        if bare[at].casefold() in SMALL_WORDS and bare[at - 1] in bare[at + 1 :] and bare[at - 1]
    ]
    if put_in is None:
        return
    for at in sorted(after, key=lambda at: (-len(bare[at - 1]), at))[:2]:  # after the words that say most
        text = start[: places[at].start()] + places[at][0].replace(bare[at], put_in, 1) + start[places[at].end() :]
        yield Edit(text, 1, "replace", put_in, replaced=bare[at], after=bare[at - 1])


def _without_end(words: list[str]) -> str:
    """Words as they stand, but for the signs that end the last one, if that leaves any of it."""
    said = " ".join(words)
    return said.rstrip(SIGNS) or said


def _bare(words: list[str]) -> list[str]:
    return [word.strip(SIGNS) for word in words]


def _own_words(words: list[str]) -> list[str]:
    """Words that carry a meaning, without the signs around them, longest last."""
    return sorted((word for word in dict.fromkeys(_bare(words)) if len(word) >= LONG_WORD), key=len)
