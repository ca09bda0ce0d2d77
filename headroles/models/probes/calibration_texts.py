"""The texts that verdicts are calibrated on: pairs of one that says a passage twice and its null twin, and ordinary ones.

Null texts are position-kept: in the twin the second passage is replaced by tokens that occur nowhere else. The same cells are
looked at in both, so that whatever a head does for their places alone, it does in both.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from headroles.core.records.calibration import SHORTEST
from headroles.models.loading.loader import LoadedModel
from headroles.models.probes.probe_texts import ordinary_ids
from headroles.models.reading.batches import TokenIds

# tokens of a text, and how many times as many as of the longest: short ones vary more, and take less time
TEXT_LENGTHS = {16: 8, 32: 6, 64: 4, 128: 2, 250: 1}
PHRASE_LENGTHS = (4, 10)  # words of a passage in prose, tokens of a short one that is random
TextKind = Literal["prose", "random"]


@dataclass(frozen=True)
class CalibrationPair:
    """A text whose last passage was there before, and its null twin; the passages begin at `second` for the last time."""

    kind: TextKind
    positive: TokenIds
    null: TokenIds
    second_start: int


def make_pairs(loaded: LoadedModel, texts: int, sentences: Sequence[str], seed: int) -> Iterator[CalibrationPair]:
    """Pairs of each length that the model reads, in prose and in random tokens."""
    lengths = [length for length in TEXT_LENGTHS if length <= min(loaded.context_length - 1, loaded.max_tokens)]
    draw = random.Random(seed)
    ordinary = ordinary_ids(loaded).tolist()
    for length in lengths:
        for _ in range(texts * TEXT_LENGTHS[length]):
            made = (_in_prose(loaded, draw, sentences, length), _in_random_tokens(loaded, draw, ordinary, length))
            yield from (pair for pair in made if pair is not None)


def ordinary_texts(loaded: LoadedModel, texts: int, sentences: Sequence[str], seed: int) -> list[TokenIds]:
    """Each sentence alone, its beginning alone, and texts of several sentences, of every length that the model reads."""
    draw = random.Random(seed + 1)
    longest = min(loaded.context_length - 1, loaded.max_tokens)
    alone = [(*loaded.bos, *encode_without_bos(loaded, sentence))[:longest] for sentence in sentences]
    begun = [text[: draw.randint(SHORTEST, 16)] for text in alone]
    lengths = [length for length in TEXT_LENGTHS if 32 <= length <= longest]
    longer = [(*loaded.bos, *_stream(loaded, draw, sentences))[:length] for length in lengths for _ in range(max(1, texts // 2))]
    return [*alone, *begun, *longer]


def _in_prose(loaded: LoadedModel, draw: random.Random, sentences: Sequence[str], length: int) -> CalibrationPair | None:
    """A passage of some words of one sentence, twice among others."""
    words = draw.choice([sentence for sentence in sentences if len(sentence.split()) > PHRASE_LENGTHS[1]]).split()
    count = draw.randint(*PHRASE_LENGTHS)
    first = draw.randint(0, len(words) - count)
    passage = encode_without_bos(loaded, " " + " ".join(words[first : first + count]))
    others = [sentence for sentence in sentences if sentence.split() != words]
    return _make_pair("prose", loaded.bos, draw, passage, _stream(loaded, draw, others), _stream(loaded, draw, others), length)


def _in_random_tokens(loaded: LoadedModel, draw: random.Random, ordinary: Sequence[int], length: int) -> CalibrationPair | None:
    """Half of the passages short, half as long as the text has room for."""
    longest = max(PHRASE_LENGTHS[0], (length - len(loaded.bos) - 2) // 2)
    size = draw.randint(PHRASE_LENGTHS[0], draw.choice([max(PHRASE_LENGTHS[0], min(longest, PHRASE_LENGTHS[1])), longest]))
    drawn = draw.sample(ordinary, min(len(ordinary), 2 * length + size))
    passage, rest, fresh = drawn[:size], drawn[size : size + length], drawn[size + length :]
    return _make_pair("random", loaded.bos, draw, passage, rest, fresh, length)


def _make_pair(
    kind: TextKind,
    bos: TokenIds,
    draw: random.Random,
    passage: Sequence[int],
    rest: Sequence[int],
    more: Sequence[int],
    length: int,
) -> CalibrationPair | None:
    """Something, the passage, something, the passage; in the twin fresh ones of `more` in place of the last passage.

    None where a passage is too long for the text, or too few tokens are fresh.
    """
    room = min(length - len(bos) - 2 * len(passage), len(rest))
    if room < 2:
        return None
    before = draw.randint(0, room - 1)
    start = (*bos, *rest[:before], *passage, *rest[before:room])
    fresh = [token for token in dict.fromkeys(more) if token not in start][: len(passage)]
    return CalibrationPair(kind, (*start, *passage), (*start, *fresh), len(start)) if len(fresh) == len(passage) else None


def _stream(loaded: LoadedModel, draw: random.Random, sentences: Sequence[str]) -> list[int]:
    """Sentences in any order, as tokens, enough for the longest text."""
    return encode_without_bos(loaded, " ".join(draw.sample(sentences, min(len(sentences), 20))))


def encode_without_bos(loaded: LoadedModel, text: str) -> list[int]:
    """The ids of a text without a BOS."""
    ids = list(loaded.tokenizer.encode(text))
    return ids[len(loaded.bos) :] if tuple(ids[: len(loaded.bos)]) == loaded.bos else ids
