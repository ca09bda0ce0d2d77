"""Whether an answer depends on what else a server does meanwhile: `python -m bench.last_bits MODEL [--pairs 10]`.

Reads texts alone, and in each other way in which they are read somewhere: from eight threads at once, in a padded forward with
others, as those of a batch are, and with another number of torch's threads, as on another machine. Told of each way are the texts
on which any bit differs from reading alone, how far a row of any pattern is from the same weights in float64, and how many
verdicts differ. The last line tells how many could: a verdict rises or falls with a role's excess, which is attention less
attention, or with an activation, so it cannot differ between two ways unless it does between all of them a little larger and all
a little smaller, by four times the farthest row.
"""

import argparse
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from unittest.mock import patch

import torch
from tqdm import tqdm

from analysis.runs import locate
from headroles.core.heads import Attention
from headroles.core.readings.verdicts import read_heads
from headroles.core.records.calibration import LEAST_EXCESS, AlwaysOn, Triggered
from headroles.core.records.head_categories import HeadCategories
from headroles.explorer import Explorer
from headroles.models.loading.loader import LoadedModel, load_model
from headroles.models.probes.calibration_texts import make_pairs, ordinary_texts
from headroles.models.probes.sentences import FOR_TRIALS
from headroles.models.reading.batches import TokenIds, split_into_forwards
from headroles.models.reading.pattern_reader import PatternReader
from tests.fixtures.double import InDouble, to_double

SEED = 5_000_000  # no calibration and no trial uses it
TOGETHER = 8  # texts, and threads
THREADS = 2  # torch's
Way = Callable[[PatternReader, Sequence[TokenIds]], Iterator[Attention]]
Verdicts = dict[tuple[str, str], list]  # by kind and role, of each head or of all


def groups(texts: Sequence[TokenIds]) -> Iterator[Sequence[TokenIds]]:
    yield from (texts[first : first + TOGETHER] for first in range(0, len(texts), TOGETHER))


def alone(reader: PatternReader, texts: Sequence[TokenIds]) -> Iterator[Attention]:
    yield from map(reader.read, texts)


def from_threads(reader: PatternReader, texts: Sequence[TokenIds]) -> Iterator[Attention]:
    with ThreadPoolExecutor(TOGETHER) as pool:
        for some in groups(texts):
            yield from pool.map(reader.read, some)


def in_batches(reader: PatternReader, texts: Sequence[TokenIds]) -> Iterator[Attention]:
    """As `Explorer.analyze_batch` does."""
    heads = len(reader.loaded.layers) * reader.loaded.identity.num_heads
    for some in groups(texts):
        forwards = split_into_forwards(set(some), 4 * heads)
        found = {attention.token_ids: attention for group in forwards for attention in reader.read_texts(group)}
        yield from (found[text] for text in some)


def by_one_thread(reader: PatternReader, texts: Sequence[TokenIds]) -> Iterator[Attention]:
    for text in texts:
        torch.set_num_threads(1)
        attention = reader.read(text)
        torch.set_num_threads(THREADS)
        yield attention


WAYS: dict[str, Way] = {
    "alone once more": alone,
    f"from {TOGETHER} threads": from_threads,
    f"padded, {TOGETHER} together": in_batches,
    "by one thread of torch's": by_one_thread,
}


def exactly(loaded: LoadedModel, texts: Sequence[TokenIds]) -> Iterator[Attention]:
    """As the same weights read them in float64."""
    with InDouble():
        to_double(loaded.model)
        reader = PatternReader(loaded)
    for text in texts:
        with InDouble():
            attention = reader.read(text)
        yield attention


def verdicts(attention: Attention, record: HeadCategories) -> Verdicts:
    """All that the answer to a text decides."""
    heads = read_heads(attention, record)
    kinds = {"role": heads.is_detected, "head": heads.active, "tokens of a head": heads.detections, "head unusual": heads.unusual}
    return {(kind, role): single(table) for kind, found in kinds.items() for role, table in found.items()}


def single(table: object) -> list:
    """The verdicts of a table, one after the other."""
    return [each for row in table for each in single(row)] if isinstance(table, tuple) else [table]


def differing(one: Verdicts, other: Verdicts) -> Counter[str]:
    """How many single verdicts differ, by kind."""
    found = Counter[str]()
    for kind, role in one:
        found[kind] += sum(a != b for a, b in zip(one[kind, role], other[kind, role], strict=True))
    return found


@contextmanager
def moved(record: HeadCategories, by: float) -> Iterator[HeadCategories]:
    """The record that judges, while this lasts, as if every excess and activation were larger by that much."""

    def shifted(numbers: list) -> list:
        return [shifted(each) if isinstance(each, list) else each - by for each in numbers]

    def judging(calibration: Triggered | AlwaysOn) -> Triggered | AlwaysOn:
        names = ("usual",) if isinstance(calibration, AlwaysOn) else ("tails", "role_tail", "any_tail")
        changed = {name: numbers and shifted(numbers) for name in names for numbers in (getattr(calibration, name),)}
        return type(calibration).model_construct(**{**dict(calibration), **changed})

    other = record.model_copy()
    object.__setattr__(other, "calibrations", {name: judging(found) for name, found in record.calibrations.items()})
    with patch("headroles.core.records.calibration.LEAST_EXCESS", LEAST_EXCESS - by):
        yield other


def row_distance(one: Attention, other: Attention) -> float:
    """By how much the numbers of a row differ in sum, of the rows of all heads the most."""
    return float((one.patterns.double() - other.patterns.double()).abs().sum(-1).max())


def texts_of(loaded: LoadedModel, pairs: int) -> list[TokenIds]:
    """Texts with a repeat, their null twins, and ordinary ones, of all lengths, each once."""
    made = [text for pair in make_pairs(loaded, pairs, FOR_TRIALS, SEED) for text in (pair.positive, pair.null)]
    texts = list(dict.fromkeys((*made, *ordinary_texts(loaded, pairs, FOR_TRIALS, SEED))))
    random.Random(SEED).shuffle(texts)  # so that those that are read together are of different lengths
    return texts


def main() -> None:
    """Prints a line a way, and then how many verdicts are so near to their level that a difference could turn them."""
    parser = argparse.ArgumentParser(prog="python -m bench.last_bits", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--pairs", type=int, default=10, help="texts of each length and kind, each with its null twin")
    args = parser.parse_args()
    torch.set_num_threads(THREADS)
    record, source = Explorer().categories(args.model), locate(args.model)
    reader = PatternReader(load_model(args.model, source))
    texts = texts_of(reader.loaded, args.pairs)
    apart, bits, turned = dict.fromkeys(("alone", *WAYS), 0.0), Counter[str](), Counter[str]()
    ways = (way(reader, texts) for way in (alone, *WAYS.values()))
    readings = zip(exactly(load_model(args.model, source), texts), *ways)
    for true, first, *others in tqdm(readings, total=len(texts), unit="text", mininterval=10):
        told = verdicts(first, record)
        for name, attention in zip(apart, (first, *others)):
            apart[name] = max(apart[name], row_distance(true, attention))
            bits[name] += not torch.equal(attention.patterns, first.patterns)
            turned[name] += differing(told, verdicts(attention, record)).total()
    print(f"{args.model}: {len(texts)} texts; other bits on so many texts, farthest row from float64, other verdicts")
    for name in apart:
        print(f"{name:26}{bits[name]:6}{apart[name]:12.1e}{turned[name]:6}")
    reach, near, total = 4 * max(apart.values()), Counter[str](), Counter[str]()
    for attention in tqdm(alone(reader, texts), total=len(texts), unit="text", mininterval=10):
        with moved(record, reach) as larger:
            above = verdicts(attention, larger)
        with moved(record, -reach) as smaller:
            near += differing(above, verdicts(attention, smaller))
        for (kind, _), each in above.items():
            total[kind] += len(each)
    told = ", ".join(f"{near[kind]} of {count:,} ({kind})" for kind, count in total.items())
    print(f"within {reach:.1e} of their level: {told}")


if __name__ == "__main__":
    main()
