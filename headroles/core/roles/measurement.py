"""What a capture brings of many heads, and what was measured on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headroles.errors import InvalidInputError


@dataclass(frozen=True)
class HeadWeights:
    """What one layer's heads read and write with, whatever the text; where heads share a value, each has its own copy here.

    Attributes:
        value: maps the residual stream to what a head passes on.
        output: maps that back into the residual stream.
    """

    value: Float[Tensor, "head model width"]
    output: Float[Tensor, "head width model"]


@dataclass(frozen=True)
class Capture:
    """What a capture brings of many heads, as far as a measure `needs` it; the rest stays None.

    Attributes:
        patterns: attention after softmax; any axes between batch and query, for instance layer and head.
        token_ids: the tokens behind it.
        lengths: how many tokens of each row are real, where rows are padded on the right; None for all.
        window: how many keys back from the query these heads see, the query's own included; None for all.
        weights: of these heads, in place of a text.
        delimiters: which tokens are delimiters, as their texts tell.
        effects: what these heads write on texts where the role can show, in logits.
    """

    patterns: Float[Tensor, "batch *heads query key"] | None = None
    token_ids: Int[Tensor, "batch query"] | None = None
    lengths: Int[Tensor, " batch"] | None = None
    window: int | None = None
    weights: HeadWeights | None = None
    delimiters: Bool[Tensor, "batch query"] | None = None
    effects: Float[Tensor, "batch *heads"] | None = None

    def text(self) -> tuple[Float[Tensor, "batch *heads query key"], Int[Tensor, "batch query"]]:
        """Patterns in float32 or better, and tokens. Raises InvalidInputError where they are missing or do not match."""
        if self.patterns is None or self.token_ids is None:
            raise InvalidInputError("This role is measured on attention patterns and the tokens behind them; both must be given.")
        batch, length = self.token_ids.shape
        if self.patterns.shape[0] != batch or tuple(self.patterns.shape[-2:]) != (length, length):
            raise InvalidInputError(
                f"patterns {tuple(self.patterns.shape)} do not match token_ids {tuple(self.token_ids.shape)}: "
                f"they must be [{batch}, ..., {length}, {length}]."
            )
        return self.patterns if self.patterns.dtype == torch.float64 else self.patterns.float(), self.token_ids


@dataclass(frozen=True)
class Measurement:
    """One role's measure for many heads at once. What was measured on weights has a batch of one and no queries.

    Attributes:
        values: how strongly each head plays the role, within the measure's range; 0 where no query is eligible.
        per_token: the value at each eligible query, 0 at the others; `values` is its mean over the eligible ones.
        chance: what a head with uniform attention would get.
        eligible: the queries at which the role can show.
        details: what else this measure's own verdict looks at, by name.
    """

    values: Float[Tensor, "batch *heads"]
    per_token: Float[Tensor, "batch *heads query"]
    chance: Float[Tensor, " batch"]
    eligible: Bool[Tensor, "batch query"]
    details: Mapping[str, Float[Tensor, "batch *heads"]] = field(default_factory=dict)

    @property
    def count(self) -> Int[Tensor, " batch"]:
        """How many queries the mean is over."""
        return self.eligible.sum(-1)

    def by_head(self, per_row: Tensor) -> Tensor:
        """A value a row of the batch, shaped so that it meets every head of that row."""
        return per_row.view((-1,) + (1,) * (self.values.ndim - 1))
