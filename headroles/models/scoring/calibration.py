"""How a model's heads behave when nothing calls for a role, and when something does: the calibration that a record carries.

Everything is read through PyVene, as a visitor's text is.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from headroles.core.readings.detection import detect_heads, known_heads
from headroles.core.records.calibration import (
    KNOWN_LEVEL,
    LEVELS,
    OTHERS,
    ROLE_LEVEL,
    TAIL,
    USUAL,
    AlwaysOn,
    Triggered,
    distance_from_usual,
    null_probability,
)
from headroles.core.records.head_categories import HeadCategories
from headroles.core.roles.roles import MeasuredRole
from headroles.core.roles.scoring import can_show, excess_by_window, measure_windows, pattern_roles, stack_layers
from headroles.models.probes.calibration_texts import TEXT_LENGTHS, CalibrationPair, TextKind, make_pairs, ordinary_texts
from headroles.models.probes.sentences import CALIBRATION_SENTENCES
from headroles.models.reading.batches import TokenIds, split_into_forwards
from headroles.models.reading.pattern_reader import PatternReader

MIN_RANK = 4  # of the null texts that a level is drawn from


@dataclass(frozen=True)
class PairExcess:
    """What a role's cells show on one text of that kind and length: each head's excess at the tokens of the second passage.

    Attributes:
        attention: the most that each head gives the expected keys at one of them, in the text that repeats.
    """

    kind: TextKind
    length: int
    positive: Float[Tensor, "layer head place"]
    null: Float[Tensor, "layer head place"]
    attention: Float[Tensor, "layer head"]

    @property
    def tokens(self) -> int:
        """At how many tokens the role can show."""
        return self.null.shape[-1]


def calibrate(
    reader: PatternReader,
    record: HeadCategories,
    texts: int,
    on_progress: Callable[[float], None] = lambda _: None,
    sentences: Sequence[str] = CALIBRATION_SENTENCES,
    seed: int = 0,
) -> dict[str, Triggered | AlwaysOn]:
    """The calibration of every role that the record scores and a text can show, by role name.

    A model whose context is too short for a passage said twice has none of the roles that a text calls for.

    Args:
        reader: of the model.
        record: of the same model.
        texts: pairs of each length and kind; there are five lengths, and prose and random tokens.
        on_progress: called with the share of texts done, 0 to 1; what it raises ends the calibration.
        sentences: that prose is drawn from.
        seed: draws the texts.
    """
    pairs = list(make_pairs(reader.loaded, texts, sentences, seed))
    ordinary = ordinary_texts(reader.loaded, texts, sentences, seed)
    total, done = len(pairs) + len(ordinary), 0
    roles = [role for role in record.scored_roles if role.measure.needs == "patterns"]
    triggered = [role for role in roles if role.measure.is_triggered]
    shown: dict[str, list[PairExcess]] = {role.name: [] for role in triggered}
    usual: dict[str, list[Float[Tensor, "layer head"]]] = {role.name: [] for role in roles if role not in triggered}
    for _, on_pair in read_pairs(reader, pairs, triggered):
        for name, of_role in shown.items():
            of_role.append(on_pair[name])
        on_progress((done := done + 1) / total)
    for on_text in read_activations(reader, ordinary):
        for name in usual.keys() & on_text.keys():
            usual[name].append(on_text[name])
        on_progress((done := done + 1) / total)
    seen = {
        role.name: fit_triggered(shown[role.name], known_heads(record, role))
        for role in triggered
        if any(one.tokens for one in shown[role.name])
    }
    return {**seen, **{name: fit_always_on(values) for name, values in usual.items() if values}}


def read_pairs(
    reader: PatternReader, pairs: Sequence[CalibrationPair], roles: Sequence[MeasuredRole]
) -> Iterator[tuple[CalibrationPair, dict[str, PairExcess]]]:
    """What the cells of each role show, pair by pair; short ones are read several at once."""
    windows = [reader.loaded.windows[layer] for layer in reader.loaded.layers]
    for group in _group_by_length(pairs):
        layers = reader.read_layers(torch.tensor([ids for pair in group for ids in (pair.positive, pair.null)])).cpu()
        for pair, twins in zip(group, layers.split(2, dim=1)):
            yield pair, {role.name: _pair_excess(role, pair, twins.flatten(1, 2), windows) for role in roles}


def _group_by_length(pairs: Sequence[CalibrationPair]) -> Iterator[list[CalibrationPair]]:
    """Neighbours of as many tokens, as many as have together no more of them than one pair of the longest texts."""
    for length, equal in groupby(pairs, lambda pair: len(pair.positive)):
        alike, count = list(equal), max(1, max(TEXT_LENGTHS) // length)
        yield from (alike[first : first + count] for first in range(0, len(alike), count))


def _pair_excess(
    role: MeasuredRole, pair: CalibrationPair, twins: Float[Tensor, "layer head query key"], windows: Sequence[int | None]
) -> PairExcess:
    """What a role's cells show on a text, in the first half of the heads, and on its twin, in the second."""
    heads = twins.shape[1] // 2
    excess = excess_by_window(role, twins, torch.tensor(pair.positive), windows, pair.second_start)
    both, mass = excess.values, excess.mass[:, :heads]
    most = mass.amax(-1) if mass.shape[-1] else mass.new_zeros(mass.shape[:2])
    return PairExcess(pair.kind, _nearest_length(len(pair.positive)), both[:, :heads], both[:, heads:], most)


def read_activations(reader: PatternReader, texts: Sequence[TokenIds]) -> Iterator[dict[str, Float[Tensor, "layer head"]]]:
    """Every head's activation in each role that the text can show, text by text."""
    heads = len(reader.loaded.layers) * reader.loaded.identity.num_heads
    for group in split_into_forwards(set(texts), 4 * heads):
        for attention in reader.read_texts(group):
            measured = measure_windows(attention)
            yield {
                role.name: stack_layers(attention, measured, role.name) for role in pattern_roles() if can_show(role, measured)
            }


def fit_triggered(pairs: Sequence[PairExcess], known: Bool[Tensor, "layer head"]) -> Triggered:
    """Tails and levels from what null texts show, and how often the role is seen by them where it should be."""
    pairs = [one for one in pairs if one.tokens]
    pool = torch.cat([one.null for one in pairs], dim=-1)
    tails = torch.quantile(pool, 1 - torch.tensor(TAIL), dim=-1).permute(1, 2, 0)
    table = torch.tensor(_rounded(tails))
    nulls = torch.stack([null_probability(one.null, table) for one in pairs])
    unknown = nulls[:, ~known].flatten().sort().values
    role_tail, role_levels = _joint_tail([one.null[known] for one in pairs], pairs) if known.any() else (None, {})
    any_tail, any_levels = _joint_tail([one.null.flatten(0, 1) for one in pairs], pairs)
    made = Triggered(
        null_texts=len(pairs),
        null_tokens=pool.shape[-1],
        tails=_rounded(tails),
        role_tail=role_tail,
        any_tail=any_tail,
        role_level=min(role_levels.values(), default=0.0),
        role_levels=[role_levels[length] for length in LEVELS] if set(LEVELS) <= set(role_levels) else None,
        any_level=min(any_levels.values()),
        other_level=min(KNOWN_LEVEL, float(unknown[int(OTHERS * len(pairs))])) if len(unknown) else 0.0,
        positive_texts=len(pairs),
        recall=0.0,
        head_recall=0.0,
    )
    judged = [detect_heads(one.positive, known, made, one.length) for one in pairs]
    recall = sum(is_role for _, is_role in judged) / len(pairs)
    heads = sum(float(heads[known].float().mean()) for heads, _ in judged) / len(pairs) if known.any() else 0.0
    return made.model_copy(update={"recall": round(recall, 4), "head_recall": round(heads, 4)})


def _joint_tail(excess: Sequence[Float[Tensor, "head _"]], pairs: Sequence[PairExcess]) -> tuple[list[float], dict[int, float]]:
    """The tail of the largest excess at a token among some heads, and by length the level that it reaches on too many null texts.

    That is the lower of what is right for either kind: false alarms are to be as rare in random tokens as in prose.
    """
    largest = [table.amax(0) for table in excess]
    tail = _rounded(torch.quantile(torch.cat(largest), 1 - torch.tensor(TAIL))[None, None])[0][0]
    chances: dict[tuple[int, str], list[float]] = {}
    for one, values in zip(pairs, largest):
        chances.setdefault((min(one.length, LEVELS[-1]), one.kind), []).append(
            float(null_probability(values, torch.tensor(tail)))
        )
    rare = {group: level_below(found, ROLE_LEVEL) for group, found in chances.items()}
    return tail, {length: min(level for (at, _), level in rare.items() if at == length) for length, _ in rare}


def level_below(chances: Sequence[float], share: float) -> float:
    """The chance that a share of other texts of the same kind has less than.

    Of n texts the k-th smallest is undercut by k / (n + 1) of others on average, whatever their distribution. From there down the
    chance is taken to fall as the share does: the first few of a draw are too much its own, the k-th is off by about 1 / sqrt(k).
    """
    place = share * (len(chances) + 1)
    rank = min(max(MIN_RANK, math.ceil(place)), len(chances))
    return sorted(chances)[rank - 1] * min(place / rank, 1.0)


def _nearest_length(tokens: int) -> int:
    return min(TEXT_LENGTHS, key=lambda length: abs(length - tokens))


def fit_always_on(values: Sequence[Float[Tensor, "layer head"]]) -> AlwaysOn:
    """Each head's range on ordinary texts, and how far outside it is far."""
    table = torch.stack(list(values))
    usual = torch.quantile(table, torch.tensor(USUAL), dim=0).permute(1, 2, 0).clamp(0, 1)
    far = distance_from_usual(table, usual.expand(len(table), *usual.shape)).abs().flatten().sort(descending=True).values
    return AlwaysOn(
        texts=len(table),
        usual=_rounded(usual),
        margin=round(float(far[min(len(table) // 2, len(far) - 1)].clamp(0.25, 1000)), 4),
    )


def _rounded(table: Float[Tensor, "layer head share"]) -> list[list[list[float]]]:
    """To four places, each row rising."""
    return [[sorted(round(value, 4) for value in values) for values in row] for row in table.tolist()]
