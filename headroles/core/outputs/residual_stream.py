"""What heads write: the direct effect of each on the logits of the next token, split by the key that it read.

A head adds `pattern[q, k] * values[k] @ writes` to the residual stream for every key k it looks at. With the scale of every norm
behind it frozen, the way from there to the logits is linear, so that a logit is the sum of what the embedding, every head, every
MLP and the biases give it (Elhage et al. 2021, A Mathematical Framework for Transformer Circuits, "direct path"; TransformerLens'
`direct_logit_attribution` computes the same).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from headroles.core.outputs.linear_norm import LinearNorm


@dataclass(frozen=True)
class OutputPath:
    """What one layer's heads write with, and what that passes before it is added to the residual stream.

    Attributes:
        writes: takes each head's output back into the residual stream.
        bias: what the projection adds by itself; None for nothing.
        norm, scale: of the norm that the layer's heads pass together, and its scale at the token; None where there is none.
        factor: what all of it is multiplied by.
    """

    writes: Float[Tensor, "head width model"]
    bias: Float[Tensor, " model"] | None = None
    norm: LinearNorm | None = None
    scale: Float[Tensor, ""] | None = None
    factor: float = 1.0

    def pull(self, directions: Float[Tensor, "target model"]) -> Float[Tensor, "target model"]:
        """Directions in the residual stream as directions of what the projection gives."""
        if self.norm is not None and self.scale is not None:
            directions = self.norm.pull(directions, self.scale[None])
        return self.factor * directions

    def given(self, outputs: Float[Tensor, "head width"]) -> Float[Tensor, " model"]:
        """What the layer's heads add to the residual stream together, biases included."""
        added = torch.einsum("hd,hdm->m", outputs, self.writes) + (0 if self.bias is None else self.bias)
        if self.norm is not None and self.scale is not None:
            added = self.norm.apply(added, self.scale) + (0 if self.norm.bias is None else self.norm.bias)
        return self.factor * added

    def constant(self, directions: Float[Tensor, "target model"]) -> Float[Tensor, " target"]:
        """What the biases of projection and norm give along directions in the residual stream."""
        given = directions.new_zeros(len(directions))
        if self.bias is not None:
            given = given + self.pull(directions) @ self.bias
        if self.norm is not None and self.norm.bias is not None:
            given = given + self.factor * directions @ self.norm.bias
        return given


@dataclass(frozen=True)
class ResidualStream:
    """What every part of a model wrote at one token of a text, the query; of the layers that have heads, where not said.

    Attributes:
        query: the token's position.
        pattern: that row of each head's pattern.
        values: what each head takes from each key; where heads share one, each has its own here.
        gates: what the mixed values are multiplied by before the projection; None for nothing.
        ways: how each layer's heads write.
        embedding: what the stream begins with.
        rest: what each layer of the model adds beside its heads: its MLP, or all of a layer without heads.
        norm, scale: before the unembedding, with the scale that it has at this token.
        last: what the unembedding gets.
    """

    query: int
    pattern: Float[Tensor, "layer head key"]
    values: tuple[Float[Tensor, "head key _"], ...]
    gates: tuple[Float[Tensor, "head _"], ...] | None
    paths: tuple[OutputPath, ...]
    embedding: Float[Tensor, " model"]
    rest: Float[Tensor, "block model"]
    norm: LinearNorm
    scale: Float[Tensor, ""]
    last: Float[Tensor, " model"]

    def by_key(self, unembedding: Float[Tensor, "target model"]) -> Float[Tensor, "layer head key target"]:
        """Each head's direct effect on the logits of some tokens, by the key that it read; in logits.

        Args:
            unembedding: the directions of those tokens after the last norm, times what logits are scaled by.
        """
        along = self.along(unembedding)
        return torch.stack(
            [torch.einsum("hk,hkd,hdt->hkt", *parts) for parts in zip(self.pattern, self.values, self._gated(along))]
        )

    def along(self, unembedding: Float[Tensor, "target model"]) -> list[Float[Tensor, "head _ target"]]:
        """By how much each logit rises with each number that a head puts out, layer by layer."""
        directions = self.norm.pull(unembedding, self.scale[None])
        return [torch.einsum("hdm,tm->hdt", way.writes, way.pull(directions)) for way in self.paths]

    def _gated(self, along: list[Float[Tensor, "head _ target"]]) -> list[Float[Tensor, "head _ target"]]:
        """The same for each number that a head mixes."""
        return along if self.gates is None else [one * gate[..., None] for one, gate in zip(along, self.gates)]

    def output(self, row: int, head: int) -> Float[Tensor, " width"]:
        """What a head gives its projection; `row` counts the layers that have heads."""
        mixed = self.pattern[row, head] @ self.values[row][head]
        return mixed if self.gates is None else mixed * self.gates[row][head]

    def other_parts(
        self, unembedding: Float[Tensor, "target model"]
    ) -> tuple[Float[Tensor, " target"], Float[Tensor, "block target"], Float[Tensor, " target"]]:
        """What the embedding, each layer's rest, and the biases that stand in no layer's rest give to those logits."""
        directions = self.norm.pull(unembedding, self.scale[None])
        biases = directions.new_zeros(len(directions)) if self.norm.bias is None else unembedding @ self.norm.bias
        for way in self.paths:
            biases = biases + way.constant(directions)
        return directions @ self.embedding, self.rest @ directions.T, biases

    def written(self, row: int, head: int) -> Float[Tensor, " model"]:
        """What one head adds to the residual stream, after the last norm; `row` counts the layers that have heads."""
        way = self.paths[row]
        added = self.output(row, head) @ way.writes[head]
        if way.norm is not None and way.scale is not None:
            added = way.norm.apply(added, way.scale)
        return self.norm.apply(way.factor * added, self.scale)
