"""What counts as more than when nothing calls for it: a role's attention at one token, and two controls of the same head.

A head can look where a role expects for other reasons than the role: the place draws attention from everywhere (a sink), or the
head looks so far back from every token. So what a query gives its expected keys is held against what *other queries give those
very keys*, and against what the head gives *other keys at the same distance*; the excess is what is left over the larger one.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headroles.core.patterns.pattern_ops import sums_at

MAX_CONTROLS = 8  # queries, or shifts, of each kind: the nearest
MIN_CONTROLS = 2  # other queries below which there is nothing to compare with
SHIFTS = 32  # how far away the same distance is looked at
NEVER = 1 << 20  # farther than any query


@dataclass(frozen=True)
class Excess:
    """What many heads do on one text at the queries where a role can show and where there is something to compare with.

    Attributes:
        queries: those queries.
        mass: the attention on the expected keys.
        elsewhere: the mean that the nearest other queries which do not expect these keys give them.
        shifted: the median of what the head gives, from the nearest other queries, to the keys as far back; 0 without any.
    """

    queries: Int[Tensor, " place"]
    mass: Float[Tensor, "*heads place"]
    elsewhere: Float[Tensor, "*heads place"]
    shifted: Float[Tensor, "*heads place"]

    @property
    def control(self) -> Float[Tensor, "*heads place"]:
        """The larger of both controls, 0 to 1."""
        return torch.maximum(self.elsewhere, self.shifted)

    @property
    def values(self) -> Float[Tensor, "*heads place"]:
        """Mass less control, -1 to 1."""
        return self.mass - self.control


def compute_excess(
    patterns: Float[Tensor, "*heads query key"], expected: Bool[Tensor, "query key"], window: int | None = None
) -> Excess:
    """The excess of every head at every query of one text that expects keys.

    Other queries are those that see all of these keys and expect none of them, the nearest first, before or behind. Shifts move
    query and keys together, to where the role expects nothing; the first token is no such key, since heads rest there.
    A query with fewer than FEWEST others is left out, and one that expects the key right before it: heads of many kinds look
    there, and more from some tokens than from others.

    Args:
        patterns: attention after softmax.
        expected: the cells that the role expects to be strong, inside the window.
        window: how many keys back from the query these heads see, the query's own included; None for all.
    """
    right_before = torch.nn.functional.pad(expected.diagonal(-1), (1, 0))
    queries = (expected.any(-1) & ~right_before).nonzero()[:, 0]
    others, are_there = _other_queries(expected, queries, window)
    enough = are_there.sum(-1) >= MIN_CONTROLS
    queries, others, are_there = queries[enough], others[enough], are_there[enough]
    place, key = expected[queries].nonzero().unbind(-1)
    shifts, are_possible = _shifts(expected, queries, place, key)
    mass = sums_at(patterns, place, queries[place], key, len(queries))
    elsewhere = _control_sums(patterns, place, others[place], key[:, None].expand(-1, others.shape[1]), len(queries))
    moved = shifts[place]
    shifted = _control_sums(patterns, place, queries[place, None] + moved, key[:, None] + moved, len(queries))
    there = are_there.to(patterns.dtype)
    return Excess(
        queries,
        mass,
        (elsewhere * there).sum(-1) / there.sum(-1),
        shifted.masked_fill(~are_possible, torch.nan).nanmedian(-1).values.nan_to_num(0.0),
    )


def control_cells(expected: Bool[Tensor, "query key"], query: int, window: int | None = None) -> Bool[Tensor, "query key"]:
    """The cells that both controls of one query are taken from: its keys under other queries, and keys as far back from others.

    None where the query expects no keys, or has nothing to be compared with.
    """
    cells, queries = torch.zeros_like(expected), torch.tensor([query], device=expected.device)
    place, key = expected[queries].nonzero().unbind(-1)
    if not len(key):
        return cells
    (others,), (are_there,) = _other_queries(expected, queries, window)
    (shifts,), (are_possible,) = _shifts(expected, queries, place, key)
    cells[others[are_there, None], key] = True
    moved = shifts[are_possible, None]
    cells[query + moved, key + moved] = True
    return cells


def remove_excess(
    patterns: Float[Tensor, "*heads query key"], expected: Bool[Tensor, "query key"], window: int | None = None
) -> Float[Tensor, "*heads query key"]:
    """The patterns as they would be if nothing called for the role.

    What the expected keys of a query have beyond the control goes to its other keys, in the proportions that these have.
    """
    found = compute_excess(patterns, expected, window)
    rows, mass = patterns[..., found.queries, :], found.mass
    kept, total = torch.minimum(mass, found.control), rows.sum(-1)
    tiny = torch.finfo(patterns.dtype).tiny
    less, more = kept / mass.clamp_min(tiny), (total - kept) / (total - mass).clamp_min(tiny)
    changed = patterns.clone()
    changed[..., found.queries, :] = rows * torch.where(expected[found.queries], less[..., None], more[..., None])
    return changed


def _other_queries(
    expected: Bool[Tensor, "query key"], queries: Int[Tensor, " place"], window: int | None
) -> tuple[Int[Tensor, "place control"], Bool[Tensor, "place control"]]:
    """The nearest queries that see all keys of each of `queries` and expect none of them, and which of these are there."""
    length = len(expected)
    wanted = expected[queries]
    position = torch.arange(length, device=expected.device)
    first = torch.where(wanted, position, length).amin(-1, keepdim=True)
    last = torch.where(wanted, position, -1).amax(-1, keepdim=True)
    shares = (wanted.float() @ expected.float().T) > 0
    can = (position > last) & (position != queries[:, None]) & ~shares
    if window is not None:
        can &= position - first < window
    far = 2 * (position - queries[:, None]).abs() + (position < queries[:, None])  # of two as near, the later one
    return _nearest(far, can)


def _shifts(
    expected: Bool[Tensor, "query key"], queries: Int[Tensor, " place"], place: Int[Tensor, " cell"], key: Int[Tensor, " cell"]
) -> tuple[Int[Tensor, "place control"], Bool[Tensor, "place control"]]:
    """The least shifts that keep a place's query and keys in the text and off all expected cells; 0 where there is none."""
    length = len(expected)
    shift = torch.arange(-SHIFTS, SHIFTS + 1, device=expected.device)
    query, moved = queries[place, None] + shift, key[:, None] + shift
    outside = (query >= length) | (moved < 1)
    bad = outside | expected[query.clamp(0, length - 1), moved.clamp(0, length - 1)]
    spoilt = torch.zeros(len(queries), len(shift), dtype=torch.int32, device=expected.device).index_add_(0, place, bad.int())
    far = (2 * shift.abs() + (shift < 0)).expand(len(queries), -1)
    chosen, are_there = _nearest(far, (spoilt == 0) & (shift != 0))
    return shift[chosen] * are_there, are_there


def _nearest(
    far: Int[Tensor, "place candidate"], can: Bool[Tensor, "place candidate"]
) -> tuple[Int[Tensor, "place control"], Bool[Tensor, "place control"]]:
    distance, chosen = far.masked_fill(~can, NEVER).topk(min(MAX_CONTROLS, far.shape[1]), largest=False)
    return chosen, distance < NEVER


def _control_sums(
    patterns: Float[Tensor, "*heads query key"],
    place: Int[Tensor, " cell"],
    query: Int[Tensor, "cell control"],
    key: Int[Tensor, "cell control"],
    places: int,
) -> Float[Tensor, "*heads place control"]:
    """The mass of each place under each of its controls."""
    controls = query.shape[1]
    slot = place[:, None] * controls + torch.arange(controls, device=place.device)
    found = sums_at(patterns, slot.flatten(), query.flatten(), key.flatten(), places * controls)
    return found.unflatten(-1, (places, controls))
