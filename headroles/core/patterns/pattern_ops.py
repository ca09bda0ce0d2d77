"""Sums over many heads' patterns, without a second copy of what can be hundreds of megabytes."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

Cells = tuple[Int[Tensor, " cell"], Int[Tensor, " cell"], Int[Tensor, " cell"]]  # text, query and key of each, text by text
FEW_CELLS = 8  # a query, on average: above it a product over all cells is quicker than picking single ones
BLOCK_ROWS = 64  # queries at a time: the keys after the last of them are the future, and 0
BLOCK_CELLS = 1 << 18  # at a time: what is made of them stays in a processor's cache
CELLS_AT_ONCE = 1 << 20  # picked out of the patterns at a time
TINY = 1e-30  # a logarithm needs more than 0, and 0 * log(TINY) is 0


def mass_at(patterns: Float[Tensor, "batch *heads query key"], cells: Cells) -> Float[Tensor, "batch *heads query"]:
    """How much of each query's attention lies on the cells, which come text by text."""
    mass = patterns.new_zeros(patterns.shape[:-1])
    length = patterns.shape[-1]
    for pattern, total, query, key in zip(patterns, mass, *_by_text(cells, len(patterns))):
        if len(query) <= FEW_CELLS * length:
            total.index_add_(-1, query, pattern[..., query, key])
        else:
            mask = pattern.new_zeros(length, length)
            mask[query, key] = 1
            total.copy_(torch.einsum("...qk,qk->...q", pattern, mask))
    return mass


def sums_at(
    patterns: Float[Tensor, "*heads query key"],
    slot: Int[Tensor, " cell"],
    query: Int[Tensor, " cell"],
    key: Int[Tensor, " cell"],
    slots: int,
) -> Float[Tensor, "*heads slot"]:
    """The sum of the cells of one text that share a slot, some heads at a time: their cells can be many more than the slots."""
    length = patterns.shape[-1]
    cell = query * length + key
    flat = patterns.reshape(-1, length * length)
    sums = flat.new_zeros(len(flat), slots)
    heads = max(1, CELLS_AT_ONCE // max(1, len(cell)))
    for first in range(0, len(flat), heads):
        sums[first : first + heads].index_add_(-1, slot, flat[first : first + heads].index_select(-1, cell))
    return sums.unflatten(0, patterns.shape[:-2]) if patterns.ndim > 2 else sums[0]


def entropy_and_peak(
    patterns: Float[Tensor, "*heads query key"],
) -> tuple[Float[Tensor, "*heads query"], Float[Tensor, "*heads query"]]:
    """The entropy of each causal row in nats, and its largest attention.

    `torch.special.entr` over everything takes six times as long, and as much memory again as the patterns.
    """
    length = patterns.shape[-1]
    flat = patterns.reshape(-1, length, length)
    entropy, peak = flat.new_empty(flat.shape[:-1]), flat.new_empty(flat.shape[:-1])
    for first in range(0, length, BLOCK_ROWS):
        end = min(first + BLOCK_ROWS, length)
        heads = max(1, BLOCK_CELLS // ((end - first) * end))
        for head in range(0, len(flat), heads):
            rows = flat[head : head + heads, first:end, :end]
            entropy[head : head + heads, first:end] = rows.clamp_min(TINY).log_().mul_(rows).sum(-1).neg_()
            peak[head : head + heads, first:end] = rows.amax(-1)
    return entropy.view(patterns.shape[:-1]), peak.view(patterns.shape[:-1])


def _by_text(cells: Cells, batch: int) -> tuple[Sequence[Int[Tensor, "_"]], Sequence[Int[Tensor, "_"]]]:
    """The queries and the keys of the cells of each text."""
    text, query, key = cells
    if batch == 1:
        return (query,), (key,)
    counts = torch.bincount(text, minlength=batch).tolist()
    return query.split(counts), key.split(counts)
