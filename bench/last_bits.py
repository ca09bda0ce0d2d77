"""Whether an answer depends on what else a server does meanwhile: `python -m bench.last_bits MODEL [--pairs 10]`.

Reads texts alone, and in each other way in which a server may read them: from eight threads at once, in a padded forward with
others, as a batch does, and with another number of torch's threads, as on another machine. Told of each way are the texts on
which any bit differs from reading alone, how far a row of any pattern is from the same weights in float64, and how many verdicts
differ.
"""

import argparse
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from tqdm import tqdm

from analysis.pipeline.sources import locate_model
from headroles.core.heads import Attention
from headroles.core.readings.verdicts import read_heads
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


def alone(reader: PatternReader, texts: Sequence[TokenIds]) -> Iterator[Attention]:
    """Reads one text after the other."""
    yield from map(reader.read, texts)


def from_threads(reader: PatternReader, texts: Sequence[TokenIds]) -> Iterator[Attention]:
    """Reads eight texts at once, each in a thread and a forward of its own."""
    with ThreadPoolExecutor(TOGETHER) as pool:
        for some in _groups(texts):
            yield from pool.map(reader.read, some)


def in_batches(reader: PatternReader, texts: Sequence[TokenIds]) -> Iterator[Attention]:
    """Reads eight texts in padded forwards, as `Explorer.analyze_batch` does."""
    heads = len(reader.loaded.layers) * reader.loaded.identity.num_heads
    for some in _groups(texts):
        forwards = split_into_forwards(set(some), 4 * heads)
        found = {attention.token_ids: attention for group in forwards for attention in reader.read_texts(group)}
        yield from (found[text] for text in some)


def by_one_thread(reader: PatternReader, texts: Sequence[TokenIds]) -> Iterator[Attention]:
    """Reads with one thread of torch's instead of two."""
    for text in texts:
        torch.set_num_threads(1)
        attention = reader.read(text)
        torch.set_num_threads(THREADS)
        yield attention


WAYS: dict[str, Callable[[PatternReader, Sequence[TokenIds]], Iterator[Attention]]] = {
    "alone": alone,
    "alone once more": alone,
    f"from {TOGETHER} threads": from_threads,
    f"padded, {TOGETHER} together": in_batches,
    "by one thread of torch's": by_one_thread,
}


def _groups(texts: Sequence[TokenIds]) -> Iterator[Sequence[TokenIds]]:
    yield from (texts[first : first + TOGETHER] for first in range(0, len(texts), TOGETHER))


def in_float64(loaded: LoadedModel, texts: Sequence[TokenIds]) -> Iterator[Attention]:
    """Reads with the same weights in float64."""
    with InDouble():
        to_double(loaded.model)
        reader = PatternReader(loaded)
    for text in texts:
        with InDouble():
            attention = reader.read(text)
        yield attention


def verdicts(attention: Attention, record: HeadCategories) -> list[bool | None]:
    """Returns all that the answer to a text decides, one after the other."""
    heads = read_heads(attention, record)
    tables = (heads.is_detected, heads.active, heads.detections, heads.unusual)
    return list(_flat(tuple(tuple(found.values()) for found in tables)))


def _flat(table: object) -> Iterator[bool | None]:
    if isinstance(table, tuple):
        for row in table:
            yield from _flat(row)
    else:
        yield table  # type: ignore[misc]


def row_distance(one: Attention, other: Attention) -> float:
    """Returns by how much the numbers of a row differ in sum, of the rows of all heads the most."""
    return float((one.patterns.double() - other.patterns.double()).abs().sum(-1).max())


def make_texts(loaded: LoadedModel, pairs: int) -> list[TokenIds]:
    """Makes texts with a repeat, their null twins, and ordinary ones, of all lengths, each once."""
    made = [text for pair in make_pairs(loaded, pairs, FOR_TRIALS, SEED) for text in (pair.positive, pair.null)]
    texts = list(dict.fromkeys((*made, *ordinary_texts(loaded, pairs, FOR_TRIALS, SEED))))
    random.Random(SEED).shuffle(texts)  # so that those that are read together are of different lengths
    return texts


def main() -> None:
    """Prints a line a way."""
    parser = argparse.ArgumentParser(prog="python -m bench.last_bits", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--pairs", type=int, default=10, help="texts of each length and kind, each with its null twin")
    asked = parser.parse_args()
    torch.set_num_threads(THREADS)
    record, source = Explorer().categories(asked.model), locate_model(asked.model)
    reader = PatternReader(load_model(asked.model, source))
    texts = make_texts(reader.loaded, asked.pairs)
    distance, bits, turned = dict.fromkeys(WAYS, 0.0), Counter[str](), Counter[str]()
    readings = zip(in_float64(load_model(asked.model, source), texts), *(way(reader, texts) for way in WAYS.values()))
    for exact, *found in tqdm(readings, total=len(texts), unit="text", mininterval=10):
        told = verdicts(found[0], record)
        for name, attention in zip(WAYS, found):
            distance[name] = max(distance[name], row_distance(exact, attention))
            bits[name] += not torch.equal(attention.patterns, found[0].patterns)
            turned[name] += sum(a != b for a, b in zip(told, verdicts(attention, record), strict=True))
    print(f"{asked.model}: {len(texts)} texts; other bits on so many texts, farthest row from float64, other verdicts")
    for name in WAYS:
        print(f"{name:26}{bits[name]:6}{distance[name]:12.1e}{turned[name]:6}")


if __name__ == "__main__":
    main()
