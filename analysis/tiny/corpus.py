"""The text that `headroles-tiny` learns from: books, their tokenizer, and batches of prose mixed with repeats.

Every batch is drawn from a generator seeded by (seed, step) alone, so training that goes on from a checkpoint sees what it
would have seen without the stop.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

BOS = "<|endoftext|>"
HELD_OUT = 0.03  # the last part of every book; neither the tokenizer nor the model sees it


@dataclass(frozen=True)
class TrainingStage:
    """One stretch of training: `steps` batches of `batch` sequences of `length` tokens, a `repeats` share of them repeated.

    A repeated sequence is a string of `periods` tokens (lowest, highest), over and over from a random offset; a `jumbled`
    share of them is cut into short phrases that come in a new order each time, so that copies of a token lie at all distances.
    A `phrases` share of the strings is prose, the others are random tokens from among the `tokens` most frequent ones.
    A `doubled` share has no strings: random tokens, and each that has come before is said twice. To predict the second one, a
    head has to look for an earlier copy of the token itself.
    """

    name: str
    steps: int
    batch: int
    length: int
    repeats: float
    periods: tuple[int, int]
    jumbled: float
    phrases: float
    tokens: int
    doubled: float


def read_books(corpus: Path) -> dict[str, list[str]]:
    """`{title: paragraphs}` of every book that the folder's `SOURCES.json` names, lines unwrapped.

    Raises:
        FileNotFoundError: when the folder has no `SOURCES.json` or a book is missing.
    """
    books = {}
    for source in json.loads((corpus / "SOURCES.json").read_text("utf-8")):
        text = (corpus / source["file"]).read_text("utf-8")
        paragraphs = (re.sub(r"\s+", " ", paragraph).strip() for paragraph in re.split(r"\n\s*\n", text))
        title = re.sub(r"\s*\(.*\)$", "", source["title"])
        books[title] = [paragraph for paragraph in paragraphs if paragraph]
    return books


def split_books(books: dict[str, list[str]]) -> tuple[list[str], list[str]]:
    """The paragraphs to learn from, and those held out (the end of every book)."""
    train, held_out = [], []
    for paragraphs in books.values():
        cut = int(len(paragraphs) * (1 - HELD_OUT))
        train += paragraphs[:cut]
        held_out += paragraphs[cut:]
    return train, held_out


def train_tokenizer(paragraphs: list[str], vocab_size: int) -> Tokenizer:
    """Trains a byte-level BPE like GPT-2's that puts `<|endoftext|>` (id 0) before every text.

    Args:
        paragraphs: of prose.
        vocab_size: number of tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(paragraphs, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0)])
    return tokenizer


def wrap_tokenizer(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """The trained tokenizer as transformers opens it."""
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=BOS)


class TokenStream:
    """Paragraphs as one stream of token ids, a newline between two, and where each paragraph starts in it."""

    def __init__(self, paragraphs: list[str], tokenizer: Tokenizer) -> None:
        """Encodes the paragraphs.

        Args:
            paragraphs: of prose.
            tokenizer: of the model.
        """
        encoded = tokenizer.encode_batch([paragraph + "\n" for paragraph in paragraphs], add_special_tokens=False)
        self.ids: Int[np.ndarray, " token"] = np.concatenate([np.array(one.ids) for one in encoded])
        self.starts = np.cumsum([0] + [len(one.ids) for one in encoded[:-1]])

    def window(self, rng: np.random.Generator, length: int, at_start: bool) -> Int[np.ndarray, " length"]:
        """`length` tokens in a row, from the start of a random paragraph or from anywhere.

        Args:
            rng: generator of random numbers.
            length: in tokens.
            at_start: whether to start at a paragraph.
        """
        last = len(self.ids) - length
        start = rng.choice(self.starts) if at_start else rng.integers(last)
        return self.ids[min(start, last) :][:length]

    def windows(self, length: int) -> Iterator[Int[np.ndarray, " length"]]:
        """The stream cut into pieces of `length` tokens, none twice; a short end is left out."""
        for start in range(0, len(self.ids) - length + 1, length):
            yield self.ids[start : start + length]


class BatchSampler:
    """Draws the training batches of a phase: `<|endoftext|>`, then prose or a string that repeats itself."""

    def __init__(self, prose: TokenStream, vocab_size: int, seed: int) -> None:
        """Ranks the tokens of the prose by frequency.

        Args:
            prose: to draw from.
            vocab_size: number of tokens.
            seed: of all batches.
        """
        counts = np.bincount(prose.ids, minlength=vocab_size)[1:]
        self._by_rank: Int[np.ndarray, " rank"] = 1 + np.argsort(-counts, kind="stable")
        self._root_of_count: Float[np.ndarray, " rank"] = np.sqrt(counts[self._by_rank - 1])
        self._prose, self._seed = prose, seed

    def draw(self, phase: TrainingStage, step: int) -> Int[np.ndarray, "batch length"]:
        """Draws one batch.

        Args:
            phase: of the training.
            step: of the whole training, from 0.
        """
        rng = np.random.default_rng([self._seed, step])
        body = phase.length - 1
        rows = np.zeros((phase.batch, phase.length), dtype=np.int64)  # column 0 is <|endoftext|>, id 0
        for row in rows:
            row[1:] = self._repeat(phase, body, rng) if rng.random() < phase.repeats else self._text(body, rng)
        return rows

    def _text(self, length: int, rng: np.random.Generator) -> Int[np.ndarray, " length"]:
        return self._prose.window(rng, length, at_start=rng.random() < 0.5)

    def _repeat(self, phase: TrainingStage, length: int, rng: np.random.Generator) -> Int[np.ndarray, " length"]:
        if rng.random() < phase.doubled:
            return self._doubled(phase, length, rng)
        string = self._string(phase, rng)
        if rng.random() < phase.jumbled:
            return _jumble(string, length, rng)
        return np.resize(np.roll(string, -int(rng.integers(len(string)))), length)

    def _doubled(self, phase: TrainingStage, length: int, rng: np.random.Generator) -> Int[np.ndarray, " length"]:
        pool = rng.choice(self._string(phase, rng), size=length)
        seen: set[int] = set()
        row: list[int] = []
        for token in pool.tolist():
            row += [token, token] if token in seen else [token]
            seen.add(token)
        return np.array(row[:length])

    def _string(self, phase: TrainingStage, rng: np.random.Generator) -> Int[np.ndarray, " period"]:
        period = int(rng.integers(phase.periods[0], phase.periods[1] + 1))
        if rng.random() < phase.phrases:
            return self._text(period, rng)
        # a third of them from all these tokens alike: rare ones get no other lesson
        weights = self._root_of_count[: phase.tokens] ** (rng.random() > 1 / 3)
        return rng.choice(self._by_rank[: phase.tokens], size=period, replace=False, p=weights / weights.sum())


def _jumble(string: Int[np.ndarray, " period"], length: int, rng: np.random.Generator) -> Int[np.ndarray, " length"]:
    """The string cut into phrases of 2 to 8 tokens, strung together at random up to `length` tokens."""
    cuts = np.cumsum(rng.integers(2, 9, size=len(string)))
    phrases = np.split(string, cuts[cuts < len(string) - 1])
    order = rng.integers(len(phrases), size=length)
    return np.concatenate([phrases[i] for i in order])[:length]
