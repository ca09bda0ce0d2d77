"""Which heads are seen in a role on one text, and which are far from where they usually are; how, `docs/method.md` says."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headroles.core.calibration import (
    DEFAULT,
    KNOWN_LEVEL,
    SHORTEST,
    AlwaysOn,
    Triggered,
    chance_of,
    chances_by_rank,
    far_from,
    percentile_of,
    shares_above,
)
from headroles.core.head_readings import Place
from headroles.core.heads import Attention, taken_by_sink
from headroles.core.nulls import Excess
from headroles.core.records import HeadCategories
from headroles.core.roles import MeasuredRole
from headroles.core.scoring import excess_by_window

PLACES = 3  # tokens that are told of a head that is seen; of another, the strongest alone


@dataclass(frozen=True)
class Seen:
    """A triggered role on one text, of the layers that have heads.

    Attributes:
        heads: which heads are seen in it.
        role: whether one of those that are known for it is.
        tokens: at how many tokens it could show, with something to compare with.
        seen_at: at how many of them a head is seen.
        places: of each head, its strongest tokens.
    """

    heads: Bool[Tensor, "layer head"]
    role: bool
    tokens: int
    seen_at: Int[Tensor, "layer head"]
    places: tuple[tuple[tuple[Place, ...], ...], ...]


def known_heads(record: HeadCategories, role: MeasuredRole) -> Bool[Tensor, "layer head"]:
    """Which heads stand for the role, of the layers that have heads."""
    known = torch.zeros(len(record.layers), record.num_heads, dtype=torch.bool)
    for head in record.top_heads(role):
        known[record.layers.index(head.layer), head.index] = True
    return known


def is_seen(role: MeasuredRole, attention: Attention, record: HeadCategories) -> bool:
    """Whether a triggered role shows on a text in the heads that are known for it."""
    excess, known = _excess(role, attention), known_heads(record, role)
    return len(excess.queries) > 0 and judge(excess.values, known, _calibration(role, record))[1]


def see(role: MeasuredRole, attention: Attention, record: HeadCategories) -> Seen:
    """Whether a triggered role shows on a text, in which heads, and where."""
    excess, known = _excess(role, attention), known_heads(record, role)
    tokens = len(excess.queries)
    if not tokens:
        nothing = torch.zeros_like(known)
        return Seen(nothing, False, 0, nothing.long(), tuple(tuple(() for _ in row) for row in known))
    which = _calibration(role, record)
    heads, is_role = judge(excess.values, known, which)
    by_rank = chances_by_rank(shares_above(excess.values, which.table.expand(*known.shape, -1)))
    level = torch.where(known, KNOWN_LEVEL, which.other_level)
    rank = torch.arange(1, tokens + 1)
    seen_at = ((by_rank < level[..., None]) * rank).amax(-1) * heads  # Benjamini and Hochberg 1995
    return Seen(heads, is_role, tokens, seen_at, _places(role, attention, excess, heads))


def _excess(role: MeasuredRole, attention: Attention) -> Excess:
    token_ids = torch.tensor(attention.token_ids, device=attention.patterns.device)
    return excess_by_window(role, attention.patterns, token_ids, [attention.window(layer) for layer in attention.layers])


def _calibration(role: MeasuredRole, record: HeadCategories) -> Triggered:
    """The record's, or the stated default."""
    found = record.calibrations.get(role.name)
    return found if isinstance(found, Triggered) else DEFAULT


def judge(
    excess: Float[Tensor, "layer head place"], known: Bool[Tensor, "layer head"], calibration: Triggered
) -> tuple[Bool[Tensor, "layer head"], bool]:
    """Which heads are seen, by the excess of each at every token that calls for the role, and whether the role is.

    In two steps, so that many heads need not each show what one alone would have to: first, is there anything at all, corrected
    for tokens and heads looked at; and only then, which heads have part in it.
    """
    chances = chance_of(excess, calibration.table.expand(*excess.shape[:2], -1))
    tail = calibration.role_tail
    is_role = tail is not None and bool(known.any()) and _is_rare(excess[known], tail, calibration.role_level)
    is_any = is_role or _is_rare(excess.flatten(0, 1), calibration.any_tail, calibration.any_level)
    heads = (known & is_role & (chances < KNOWN_LEVEL)) | (~known & is_any & (chances < calibration.other_level))
    return heads, is_role


def _is_rare(excess: Float[Tensor, "head place"], tail: list[float], level: float) -> bool:
    """Whether the largest excess at each token, among some heads, is more than a share `level` of null texts show."""
    return bool(chance_of(excess.amax(0), excess.new_tensor(tail)) < level)


@dataclass(frozen=True)
class Usual:
    """A role that is always on, on one text, of the layers that have heads.

    Attributes:
        heads: which heads are far outside their usual range.
        percentiles: on which share of ordinary texts each head's activation is smaller.
        ranges: where each is on nine of ten ordinary texts.
    """

    heads: Bool[Tensor, "layer head"]
    percentiles: Float[Tensor, "layer head"]
    ranges: tuple[tuple[tuple[float, float], ...], ...]


def usual(role: MeasuredRole, activation: Float[Tensor, "layer head"], tokens: int, record: HeadCategories) -> Usual | None:
    """How far each head is from where it usually is; None where the record does not tell, or not of so few tokens."""
    calibration = record.calibrations.get(role.name)
    if not isinstance(calibration, AlwaysOn) or tokens < SHORTEST:
        return None
    table = calibration.table
    ranges = tuple(tuple((usual[1], usual[-2]) for usual in row) for row in calibration.usual)
    return Usual(far_from(activation, table).abs() > calibration.margin, percentile_of(activation, table), ranges)


def _places(
    role: MeasuredRole, attention: Attention, excess: Excess, heads: Bool[Tensor, "layer head"]
) -> tuple[tuple[tuple[Place, ...], ...], ...]:
    count = min(PLACES, len(excess.queries))
    best = excess.values.sort(dim=-1, descending=True, stable=True).indices[..., :count]  # of equal ones, the first
    query = excess.queries[best]
    expected = role.expected_keys(torch.tensor(attention.token_ids))
    rows = attention.patterns.gather(2, query[..., None].expand(*query.shape, len(expected)))
    key = (rows + 1e-9).mul(expected[query]).argmax(-1)  # one of them also where it looks at none
    most, most_key = rows.max(-1)
    most_keys = most_key.tolist()
    if attention.has_sink:
        sink = taken_by_sink(rows)
        most_keys = _without(most_keys, (sink > most).tolist())
        most = torch.maximum(most, sink)
    numbers = zip(
        query.tolist(),
        key.tolist(),
        excess.mass.gather(-1, best).tolist(),
        excess.control.gather(-1, best).tolist(),
        most_keys,
        most.tolist(),
        heads.tolist(),
    )
    return tuple(
        tuple(tuple(Place(*cell) for cell in zip(*tables[:-1]))[: PLACES if tables[-1] else 1] for tables in zip(*layer))
        for layer in numbers
    )


def _without(keys: list, is_sink: list) -> list:
    """The keys [layer][head][place], None where the sink took more."""
    return [[[None if taken else key for key, taken in zip(*head)] for head in zip(*layer)] for layer in zip(keys, is_sink)]
