"""The values that every room passes on: a head's place in the model, and all attention patterns of one prompt."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from headroles.core.text.tokens import is_delimiter
from headroles.errors import InvalidInputError, layers_listed

# bfloat16 softmax rows miss 1 by up to 0.003; anything beyond is not an attention pattern
ROW_SUM_TOLERANCE = 5e-3


@dataclass(frozen=True, order=True)
class Head:
    """One attention head, by layer and by index within the layer, both from 0."""

    layer: int
    index: int

    def __post_init__(self) -> None:
        """Checks that both numbers are whole and not negative."""
        for name, value in (("layer", self.layer), ("head", self.index)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InvalidInputError(f"{name} must be a whole number from 0 on, but is {value!r}.")

    @property
    def label(self) -> str:
        """As the field writes it: `L5H1`."""
        return f"L{self.layer}H{self.index}"

    @classmethod
    def parse(cls, label: str) -> "Head":
        """The head that a label names, `L17H4` or `l17h4`. Raises InvalidInputError for anything else."""
        found = re.fullmatch(r"L(\d{1,4})H(\d{1,4})", label, re.ASCII | re.IGNORECASE)
        if found is None:
            raise InvalidInputError(f"{label[:50]!r} is no head; a head is written L2H3, layer and head from 0.")
        return cls(int(found[1]), int(found[2]))

    def check_inside(self, num_layers: int, num_heads: int, layers: Sequence[int] | None = None) -> None:
        """Raises InvalidInputError unless a model of that many layers and heads a layer has this head.

        `layers` are those that have attention patterns; None for all.
        """
        if self.layer >= num_layers or self.index >= num_heads:
            raise InvalidInputError(
                f"{self.label} is outside the model: layer must be 0 to {num_layers - 1} and head 0 to {num_heads - 1}."
            )
        if layers is not None and self.layer not in layers:
            have = "have" if len(layers) > 1 else "has"
            raise InvalidInputError(
                f"Layer {self.layer} has no attention pattern, so there is no {self.label}; {layers_listed(layers)} {have} one."
            )


def as_head(head: object) -> Head:
    """A head however it was given: a Head, `"L17H4"`, `(17, 4)`, or a mapping with `layer` and `head`.

    Raises:
        InvalidInputError: for anything else.
    """
    if isinstance(head, Head):
        return head
    if isinstance(head, str):
        return Head.parse(head)
    if isinstance(head, Mapping) and {"layer", "head"} <= set(head):
        return Head(head["layer"], head["head"])
    if isinstance(head, Sequence) and len(head) == 2:
        return Head(*head)
    raise InvalidInputError(f"{str(head)[:50]!r} is no head; give a Head, 'L2H3', (2, 3), or a mapping with 'layer' and 'head'.")


@dataclass(frozen=True)
class Attention:
    """What every head of a model attends to on one prompt.

    Attributes:
        model: the model's name.
        token_ids: ids of the tokens, BOS included where the model's tokenizer adds one.
        tokens: their text, for people.
        patterns: attention after softmax, float32 on the CPU, of the layers that have one; causal. Each row sums to 1, or to
            what a learned sink leaves of 1.
        windows: how many keys back from the query each layer of the model sees, its own included; None for all. Empty: all,
            everywhere.
        other_layers: the layers without a pattern, by their number in the model, and what they are: "linear attention".
        has_sink: whether each head has a learned sink, which takes attention and is no token.
    """

    model: str
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    patterns: Float[Tensor, "layer head query key"]
    windows: tuple[int | None, ...] = ()
    other_layers: Mapping[int, str] = field(default_factory=dict)
    has_sink: bool = False

    def __post_init__(self) -> None:
        """Checks that the shapes fit together and that the patterns are attention."""
        if self.patterns.ndim != 4:
            raise InvalidInputError(f"patterns must be [layer, head, query, key], but are {tuple(self.patterns.shape)}.")
        if len(self.tokens) != len(self.token_ids):
            raise InvalidInputError(f"{len(self.tokens)} tokens do not match {len(self.token_ids)} token ids.")
        if self.windows and len(self.windows) != self.num_layers:
            raise InvalidInputError(f"{len(self.windows)} windows do not match {self.num_layers} layers.")
        if not all(0 <= layer < self.num_layers for layer in self.other_layers):
            raise InvalidInputError(
                f"The model has {self.num_layers} layers, but {layers_listed(self.other_layers)} are said to have no pattern."
            )
        check_patterns(self.patterns, len(self.token_ids), "patterns", has_sink=self.has_sink)

    def __repr__(self) -> str:
        """The model and the sizes, without the numbers."""
        return f"Attention({self.model!r}, {len(self.tokens)} tokens, {self.num_layers} x {self.num_heads} heads)"

    @property
    def num_layers(self) -> int:
        """All layers of the model, with and without a pattern."""
        return self.patterns.shape[0] + len(self.other_layers)

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that `patterns` are of, by their number in the model."""
        return tuple(layer for layer in range(self.num_layers) if layer not in self.other_layers)

    @property
    def num_heads(self) -> int:
        """How many heads a layer has that has a pattern."""
        return self.patterns.shape[1]

    @cached_property
    def delimiters(self) -> Bool[Tensor, " query"]:
        """Which tokens are delimiters, on the CPU."""
        return torch.tensor([is_delimiter(token) for token in self.tokens])

    def window(self, layer: int) -> int | None:
        """How many keys back a layer sees on this prompt; None when that is all of it."""
        window = self.windows[layer] if self.windows else None
        return None if window is None or window >= len(self.token_ids) else window

    def pattern(self, head: Head) -> Float[Tensor, "query key"]:
        """One head's pattern. Raises InvalidInputError for a head outside the model, or in a layer without a pattern."""
        head.check_inside(self.num_layers, self.num_heads, self.layers)
        return self.patterns[self.layers.index(head.layer), head.index]


def sink_mass(patterns: Float[Tensor, "*heads query key"]) -> Float[Tensor, "*heads query"]:
    """The attention that each query gives to a learned sink: what its row leaves of 1."""
    return (1 - patterns.sum(-1)).clamp(0, 1)


def check_patterns(
    patterns: Float[Tensor, "*heads query key"],
    num_tokens: int,
    name: str,
    window: int | None = None,
    has_sink: bool = False,
) -> None:
    """Raises InvalidInputError, naming the argument, unless `patterns` are causal attention over `num_tokens` tokens.

    With a window, no query may look at a key `window` or more places back. With a learned sink, rows may sum to less than 1.
    """
    if patterns.ndim < 2 or tuple(patterns.shape[-2:]) != (num_tokens, num_tokens):
        raise InvalidInputError(
            f"{name} has shape {tuple(patterns.shape)}, but {num_tokens} tokens need [..., {num_tokens}, {num_tokens}]."
        )
    if patterns.numel() == 0:
        raise InvalidInputError(f"{name} is empty: its shape is {tuple(patterns.shape)}.")
    if not _is_plainly_attention(patterns, window, has_sink):
        _refuse_what_is_not(patterns, name, window, has_sink)


def _is_plainly_attention(patterns: Float[Tensor, "*heads query key"], window: int | None, has_sink: bool) -> bool:
    """Whether nothing is below 0, nothing at all is where no query may look, and every row sums to what it must.

    Then all that `_refuse_what_is_not` looks for is ruled out, at three passes and without a copy of what can be a hundred
    megabytes. NaN and infinity show in the sums.
    """
    length = patterns.shape[-1]
    forbidden = torch.ones(length, length, dtype=patterns.dtype, device=patterns.device).triu(1)
    if window is not None:
        forbidden += torch.ones_like(forbidden).tril(-window)
    return bool(
        patterns.min() >= 0
        and (patterns.flatten(-2) @ forbidden.flatten()).max() == 0  # of numbers none of which is below 0
        and _worst_sum(patterns, has_sink) <= ROW_SUM_TOLERANCE
    )


def _worst_sum(patterns: Float[Tensor, "*heads query key"], has_sink: bool) -> Tensor:
    """How far a row's sum is from 1 at most; beside a sink, how far above 1."""
    over = patterns.sum(-1) - 1
    return over.max() if has_sink else over.abs().max()


def _refuse_what_is_not(patterns: Float[Tensor, "*heads query key"], name: str, window: int | None, has_sink: bool) -> None:
    """The same with what rounding may leave allowed for; says which rule is broken."""
    if not torch.isfinite(patterns).all():
        raise InvalidInputError(f"{name} holds NaN or infinity; attention lies between 0 and 1.")
    if patterns.min() < -1e-6 or patterns.max() > 1 + ROW_SUM_TOLERANCE:
        raise InvalidInputError(
            f"{name} holds values from {patterns.min():.3g} to {patterns.max():.3g}; attention lies between 0 and 1."
        )
    if torch.triu(patterns, diagonal=1).abs().max() > 1e-6:
        raise InvalidInputError(f"{name} looks ahead: a query may attend only to itself and to keys before it.")
    if window is not None and torch.tril(patterns, diagonal=-window).abs().max() > 1e-6:
        raise InvalidInputError(f"{name} looks beyond its window of {window} tokens.")
    worst = _worst_sum(patterns, has_sink)
    if worst > ROW_SUM_TOLERANCE and has_sink:
        raise InvalidInputError(
            f"{name} has a row whose sum is {worst:.3g} above 1; beside a learned sink, rows sum to 1 at most."
        )
    if worst > ROW_SUM_TOLERANCE:
        raise InvalidInputError(f"{name} has a row whose sum is {worst:.3g} away from 1; attention rows sum to 1.")
