"""Which heads are seen in a role on one text, and which are far from where they usually are; how, `docs/method.md` says."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headroles.core.heads import Attention, Head, sink_mass
from headroles.core.patterns.excess import Excess
from headroles.core.readings.head_readings import MARKED, Mark, TokenEvidence
from headroles.core.records.calibration import (
    DEFAULT,
    KNOWN_LEVEL,
    SHORTEST,
    AlwaysOn,
    Triggered,
    compute_percentile,
    distance_from_usual,
    null_probabilities_by_rank,
    null_probability,
    shares_above,
)
from headroles.core.records.head_categories import HeadCategories
from headroles.core.roles.roles import MeasuredRole
from headroles.core.roles.scoring import excess_by_window

SINK = -1  # in place of a key
SHOWN_TOKENS = 3  # tokens that are kept of a head that is seen; of any other head, the strongest alone


@dataclass(frozen=True)
class Detection:
    """A triggered role on one text, of the layers that have heads.

    Attributes:
        heads: which heads are seen in it.
        role: whether one of those that are known for it is.
        tokens: at how many tokens it could show, with something to compare with.
        detections: at how many of them a head is seen.
        evidence: of each head, at its strongest tokens.
        marks: the tokens at which heads are seen in it, first to last.
    """

    heads: Bool[Tensor, "layer head"]
    role: bool
    tokens: int
    detections: Int[Tensor, "layer head"]
    evidence: tuple[tuple[tuple[TokenEvidence, ...], ...], ...]
    marks: tuple[Mark, ...] = ()


def known_heads(record: HeadCategories, role: MeasuredRole) -> Bool[Tensor, "layer head"]:
    """Which heads stand for the role, of the layers that have heads."""
    known = torch.zeros(len(record.layers), record.num_heads, dtype=torch.bool)
    for head in record.top_heads(role):
        known[record.layers.index(head.layer), head.index] = True
    return known


def is_detected(role: MeasuredRole, attention: Attention, record: HeadCategories) -> bool:
    """Whether a triggered role shows on a text in the heads that are known for it."""
    excess, known = _excess(role, attention), known_heads(record, role)
    return len(excess.queries) > 0 and detect_heads(excess.values, known, _calibration(role, record), len(attention.token_ids))[1]


def detect(role: MeasuredRole, attention: Attention, record: HeadCategories) -> Detection:
    """Whether a triggered role shows on a text, in which heads, and where."""
    excess, known = _excess(role, attention), known_heads(record, role)
    tokens = len(excess.queries)
    if not tokens:
        nothing = torch.zeros_like(known)
        return Detection(nothing, False, 0, nothing.long(), tuple(tuple(() for _ in row) for row in known))
    which = _calibration(role, record)
    heads, is_role = detect_heads(excess.values, known, which, len(attention.token_ids))
    shares = shares_above(excess.values, which.table.expand(*known.shape, -1))
    by_rank = null_probabilities_by_rank(shares)
    level = torch.where(known, KNOWN_LEVEL, which.other_level)
    rank = torch.arange(1, tokens + 1)
    detections = ((by_rank < level[..., None]) * rank).amax(-1) * heads  # Benjamini and Hochberg 1995
    is_seen_at = shares.argsort(dim=-1, stable=True).argsort(-1) < detections[..., None]
    marks = _marks(role, attention, excess, is_seen_at)
    return Detection(heads, is_role, tokens, detections, _evidence(role, attention, excess, heads), marks)


def _excess(role: MeasuredRole, attention: Attention) -> Excess:
    token_ids = torch.tensor(attention.token_ids, device=attention.patterns.device)
    return excess_by_window(role, attention.patterns, token_ids, [attention.window(layer) for layer in attention.layers])


def _calibration(role: MeasuredRole, record: HeadCategories) -> Triggered:
    """The record's, or the stated default."""
    found = record.calibrations.get(role.name)
    return found if isinstance(found, Triggered) else DEFAULT


def detect_heads(
    excess: Float[Tensor, "layer head place"], known: Bool[Tensor, "layer head"], calibration: Triggered, tokens: int
) -> tuple[Bool[Tensor, "layer head"], bool]:
    """Finds the heads that are seen in a role, and whether the role itself is.

    There are two steps, so that one head among many need not show more than one alone. The first asks whether there is anything
    at all, corrected for the number of tokens and heads. The second asks which heads have part in it.

    Args:
        excess: of each head at every token that calls for the role.
        known: the heads that stand for the role in the record.
        calibration: what excess the heads show on texts that do not call for the role.
        tokens: how many the text has.
    """
    chances = null_probability(excess, calibration.table.expand(*excess.shape[:2], -1))
    tail = calibration.role_tail
    is_role = tail is not None and bool(known.any()) and _is_rare(excess[known], tail, calibration.level_at(tokens))
    is_any = is_role or _is_rare(excess.flatten(0, 1), calibration.any_tail, calibration.any_level)
    heads = (known & is_role & (chances < KNOWN_LEVEL)) | (~known & is_any & (chances < calibration.other_level))
    return heads, is_role


def _is_rare(excess: Float[Tensor, "head place"], tail: list[float], level: float) -> bool:
    """Whether the largest excess at each token, among some heads, is more than a share `level` of null texts show."""
    return bool(null_probability(excess.amax(0), excess.new_tensor(tail)) < level)


@dataclass(frozen=True)
class UsualRange:
    """A role that is always on, on one text, of the layers that have heads.

    Attributes:
        heads: which heads are far outside their usual range.
        percentiles: on which share of ordinary texts each head's activation is smaller.
        ranges: where each is on nine of ten ordinary texts.
    """

    heads: Bool[Tensor, "layer head"]
    percentiles: Float[Tensor, "layer head"]
    ranges: tuple[tuple[tuple[float, float], ...], ...]


def compare_with_usual(
    role: MeasuredRole, activation: Float[Tensor, "layer head"], tokens: int, record: HeadCategories
) -> UsualRange | None:
    """How far each head is from where it usually is; None where the record does not tell, or not of so few tokens."""
    calibration = record.calibrations.get(role.name)
    if not isinstance(calibration, AlwaysOn) or tokens < SHORTEST:
        return None
    table = calibration.table
    ranges = tuple(tuple((usual[1], usual[-2]) for usual in row) for row in calibration.usual)
    return UsualRange(
        distance_from_usual(activation, table).abs() > calibration.margin, compute_percentile(activation, table), ranges
    )


def _evidence(
    role: MeasuredRole, attention: Attention, excess: Excess, heads: Bool[Tensor, "layer head"]
) -> tuple[tuple[tuple[TokenEvidence, ...], ...], ...]:
    """Of each head its strongest tokens."""
    count = min(SHOWN_TOKENS, len(excess.queries))
    best = excess.values.sort(dim=-1, descending=True, stable=True).indices[..., :count]  # of equal ones, the first
    query = excess.queries[best]
    rows = attention.patterns.gather(2, query[..., None].expand(*query.shape, len(attention.token_ids)))
    cells = *_most_attended(role, attention, rows, query), excess.mass.gather(-1, best), excess.control.gather(-1, best)
    tables = [*(table.tolist() for table in (query, *cells)), heads.tolist()]
    return tuple(
        tuple(tuple(map(_token_evidence, *of_head[:-1]))[: SHOWN_TOKENS if of_head[-1] else 1] for of_head in zip(*of_layer))
        for of_layer in zip(*tables)
    )


def _marks(
    role: MeasuredRole, attention: Attention, excess: Excess, is_seen_at: Bool[Tensor, "layer head place"]
) -> tuple[Mark, ...]:
    """At each token that calls for the role, the heads that are seen in it there."""
    seen = is_seen_at.flatten(0, 1).T
    at = seen.any(-1).nonzero()[:, 0]
    if not len(at):
        return ()
    mass, control = (table.flatten(0, 1).T[at] for table in (excess.mass, excess.control))
    strength = (mass - control).masked_fill(~seen[at], -2.0)  # below any excess
    best = strength.topk(min(MARKED, strength.shape[-1])).indices
    query = excess.queries[at, None].expand_as(best)
    rows = attention.patterns.flatten(0, 1)[best, query]
    cells = *_most_attended(role, attention, rows, query), mass.gather(-1, best), control.gather(-1, best)
    of_token = zip(best.tolist(), seen[at].sum(-1).tolist(), zip(*(table.tolist() for table in (query, *cells))))
    return tuple(
        Mark(
            looked[0][0],
            tuple(zip((_head(attention, number) for number in numbers[:count]), map(_token_evidence, *looked))),
            count,
        )
        for numbers, count, looked in of_token
    )


def _most_attended(
    role: MeasuredRole, attention: Attention, rows: Float[Tensor, "*cells key"], query: Int[Tensor, "*cells"]
) -> tuple[Int[Tensor, "*cells"], Int[Tensor, "*cells"], Float[Tensor, "*cells"]]:
    """Of rows of patterns: the expected key that is looked at most, the key of all, or SINK, and how much that one gets."""
    expected = role.expected_keys(torch.tensor(attention.token_ids))
    key = (rows + 1e-9).mul(expected[query]).argmax(-1)  # one of them also where it looks at none
    most, most_key = rows.max(-1)
    if attention.has_sink:
        sink = sink_mass(rows)
        most_key = most_key.masked_fill(sink > most, SINK)
        most = torch.maximum(most, sink)
    return key, most_key, most


def _token_evidence(query: int, key: int, most_key: int, most: float, mass: float, control: float) -> TokenEvidence:
    return TokenEvidence(query, key, mass, control, None if most_key == SINK else most_key, most)


def _head(attention: Attention, number: int) -> Head:
    """The head of that number, counted over the layers that have a pattern."""
    return Head(attention.layers[number // attention.num_heads], number % attention.num_heads)
