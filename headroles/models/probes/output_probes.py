"""The seeded texts on which heads are scored by what they write: names that come back, and series that go on.

Each names the token whose logit counts, and the key that it must be written because of. All words are single tokens of the model;
one with a small vocabulary has fewer of them, or none: then its record does not score the role.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from headroles.models.loading.loader import LoadedModel
from headroles.models.probes.probe_texts import ordinary_ids
from headroles.models.reading.batches import TokenIds

# Wang et al. 2022, Interpretability in the Wild: names, places and things of its prompts
_NAMES = """
Michael Christopher Jessica Matthew Ashley Jennifer Joshua Amanda Daniel David James Robert John Joseph Andrew Ryan Brandon
Jason Justin Sarah William Jonathan Stephanie Brian Nicole Nicholas Anthony Heather Eric Elizabeth Adam Megan Melissa Kevin
Steven Thomas Timothy Christina Kyle Rachel Laura Lauren Amber Brittany Danielle Richard Kimberly Jeffrey Amy Crystal Michelle
Tiffany Jeremy Benjamin Mark Emily Aaron Charles Rebecca Jacob Stephen Patrick Sean Erin Jamie Kelly Samantha Nathan Sara Dustin
Paul Angela Tyler Scott Katherine Andrea Gregory Erica Mary Travis Lisa Kenneth Bryan Lindsey Kristen Jose Alexander Jesse Katie
Lindsay Shannon Vanessa Courtney Christine Alicia Cody Allison Bradley Samuel George Henry Peter Tom Jack Anna Emma Alice Jane
Kate Rose Lucy Martin Simon Philip Jim Sam Ben Max Harry
"""
NAMES = tuple(_NAMES.split())
PLACES = ["store", "garden", "restaurant", "school", "hospital", "office", "house", "station", "market", "church"]
THINGS = ["ring", "kiss", "bone", "basketball", "computer", "necklace", "drink", "snack", "book", "letter"]
TEMPLATES = (
    " Then, {a} and {b} went to the {place}. {b} gave a {thing} to",
    " Then, {a} and {b} had a lot of fun at the {place}. {b} gave a {thing} to",
    " Then, {a} and {b} were working at the {place}. {b} decided to give a {thing} to",
    " After {a} and {b} went to the {place}, {b} gave a {thing} to",
    " When {a} and {b} got a {thing} at the {place}, {b} decided to give it to",
)
# Gould et al. 2023, Successor Heads
_SERIES = """
Monday Tuesday Wednesday Thursday Friday Saturday Sunday
January February March April May June July August September October November December
one two three four five six seven eight nine ten eleven twelve
first second third fourth fifth sixth seventh eighth ninth tenth
A B C D E F G H I J K L M N O P Q R S T U V W X Y Z
"""
SERIES = tuple(tuple(line.split()) for line in _SERIES.strip().splitlines())
SERIES_PROMPT_WORDS = 3  # words of a series before the one that comes next
MIN_NAMES = 4
REPEATED_TOKENS = 30  # random tokens of a string that comes twice


@dataclass(frozen=True)
class OutputProbe:
    """A text, and the effect that counts on it.

    Attributes:
        target: the token whose logit is looked at, after the last token of the text.
        key: the token that it must be written because of; None for whatever was read.
        other: the same text in another order, whose effect is taken away; None for none.
    """

    token_ids: TokenIds
    target: int
    key: int | None = None
    contrast: TokenIds | None = None


def name_probes(loaded: LoadedModel, count: int, seed: int = 0) -> list[OutputProbe]:
    """Prompts that go on with the name that stands in them once (the indirect object), in both orders; none without names."""
    names = [name for name in NAMES if _single_token(loaded, f" {name}") is not None]
    if len(names) < MIN_NAMES:
        return []
    draw, probes = random.Random(seed), []
    while len(probes) < count:
        once, twice = draw.sample(names, 2)
        first, second = draw.choice([(once, twice), (twice, once)])
        text = draw.choice(TEMPLATES).format(a=first, b="{b}", place=draw.choice(PLACES), thing=draw.choice(THINGS))
        # the second name stands where the first mention of {b} is; whoever gives is the one that comes again
        text = text.replace("{b}", second, 1).replace("{b}", twice)
        ids = _encode(loaded, text)
        target = _single_token(loaded, f" {once}")
        if target is not None and ids.count(target) == 1:
            probes.append(OutputProbe(ids, target, ids.index(target)))
    return probes


def series_probes(loaded: LoadedModel, count: int, seed: int = 0) -> list[OutputProbe]:
    """`c1, c2, c3,` with the word that comes next, and the same three words in an order that leads nowhere."""
    draw, runs = random.Random(seed), list(_series_windows(loaded))
    draw.shuffle(runs)
    probes = []
    for run in runs[:count]:
        *shown, following = run
        mixed = shown
        while mixed == shown:
            mixed = draw.sample(shown, SERIES_PROMPT_WORDS)
        text, other = (_encode(loaded, "".join(f" {word}," for word in words)) for words in (shown, mixed))
        target = _single_token(loaded, f" {following}")
        if target is not None and len(text) == len(other):
            probes.append(OutputProbe(text, target, contrast=other))
    return probes


def repeat_probes(loaded: LoadedModel, count: int, seed: int = 0) -> list[OutputProbe]:
    """Random tokens that come twice, read at one place of the second time, with the token that came next the first time.

    None for a model that reads too few tokens, or knows too few words.
    """
    length = min(REPEATED_TOKENS, (loaded.max_tokens - len(loaded.bos)) // 2)
    ordinary = ordinary_ids(loaded).tolist()
    if not 2 <= length <= len(ordinary):
        return []
    draw, probes = random.Random(seed), []
    for _ in range(count):
        string, read = draw.sample(ordinary, length), draw.randint(1, length - 1)
        key = len(loaded.bos) + read
        # what comes after the token that is read changes nothing of what is written there
        probes.append(OutputProbe((*loaded.bos, *string, *string[:read]), string[read], key))
    return probes


def successor_pairs(loaded: LoadedModel) -> list[tuple[int, int]]:
    """Each word of a series with the one that comes next, where both are one token."""
    pairs = [tuple(_single_token(loaded, f" {word}") for word in pair) for words in SERIES for pair in pairwise(words)]
    return [(word, following) for word, following in pairs if word is not None and following is not None]


def _series_windows(loaded: LoadedModel) -> Iterator[Sequence[str]]:
    """All stretches of a series whose words are one token each."""
    for words in SERIES:
        for first in range(len(words) - SERIES_PROMPT_WORDS):
            run = words[first : first + SERIES_PROMPT_WORDS + 1]
            if all(_single_token(loaded, f" {word}") is not None for word in run):
                yield run


def _single_token(loaded: LoadedModel, text: str) -> int | None:
    ids = _encode(loaded, text)[len(loaded.bos) :]
    return ids[0] if len(ids) == 1 else None


def _encode(loaded: LoadedModel, text: str) -> TokenIds:
    return tuple(loaded.tokenizer.encode(text))
