"""Which keys a role expects each query to look at, from the tokens alone; and which it can look at at all."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def previous_keys(token_ids: Int[Tensor, "batch query"]) -> Bool[Tensor, "batch query key"]:
    """Key q-1, for q >= 2: at q = 1 the previous token is also the first one."""
    q, k = positions(token_ids)
    return ((k == q - 1) & (q >= 2)).expand(len(token_ids), -1, -1)


def first_keys(token_ids: Int[Tensor, "batch query"]) -> Bool[Tensor, "batch query key"]:
    """Key 0, for q >= 2: rows 0 and 1 have too little choice to say anything."""
    q, k = positions(token_ids)
    return ((k == 0) & (q >= 2)).expand(len(token_ids), -1, -1)


def duplicate_keys(token_ids: Int[Tensor, "batch query"]) -> Bool[Tensor, "batch query key"]:
    """Every earlier key with the query's own token."""
    q, k = positions(token_ids)
    return (token_ids[:, :, None] == token_ids[:, None, :]) & (k < q)


def induction_keys(token_ids: Int[Tensor, "batch query"]) -> Bool[Tensor, "batch query key"]:
    """Every key right after an earlier copy of the query's token, but never the query itself (`a a`)."""
    q, k = positions(token_ids)
    after_copy = duplicate_keys(token_ids).roll(1, dims=-1)
    return after_copy & (k >= 1) & (k < q)


def current_keys(token_ids: Int[Tensor, "batch query"]) -> Bool[Tensor, "batch query key"]:
    """The query itself, for q >= 2: rows 0 and 1 have too little choice to say anything."""
    q, k = positions(token_ids)
    return ((k == q) & (q >= 2)).expand(len(token_ids), -1, -1)


def earlier_keys(token_ids: Int[Tensor, "batch query"]) -> Bool[Tensor, "batch query key"]:
    """Every earlier key but the first token, which is looked at for other reasons."""
    q, k = positions(token_ids)
    return ((k < q) & (k >= 1)).expand(len(token_ids), -1, -1)


def positions(token_ids: Int[Tensor, "*batch query"]) -> tuple[Int[Tensor, "query 1"], Int[Tensor, "1 key"]]:
    """The positions of queries as a column and of keys as a row."""
    positions = torch.arange(token_ids.shape[-1], device=token_ids.device)
    return positions[:, None], positions[None, :]


def reach(token_ids: Int[Tensor, "*batch query"], window: int | None) -> Bool[Tensor, "query key"]:
    """The keys that each query can look at: itself and those before it, at most `window` in all."""
    q, k = positions(token_ids)
    return (k <= q) if window is None else (k <= q) & (k > q - window)


def visible_keys(token_ids: Int[Tensor, "*batch query"], window: int | None) -> Int[Tensor, " query"]:
    """How many keys each query can look at: the row sums of `reach`."""
    counts = torch.arange(1, token_ids.shape[-1] + 1, device=token_ids.device)
    return counts if window is None else counts.clamp(max=window)


def real_queries(token_ids: Int[Tensor, "batch query"], lengths: Int[Tensor, " batch"] | None) -> Bool[Tensor, "batch query"]:
    """Which queries are no padding."""
    if lengths is None:
        return torch.ones_like(token_ids, dtype=torch.bool)
    return torch.arange(token_ids.shape[-1], device=token_ids.device) < lengths[:, None]
