"""What heads write at one token of a text, as numbers that page and API draw from: direct effects on the next token's logits."""

from dataclasses import dataclass

from headroles.core.heads import Head


@dataclass(frozen=True)
class TokenEffect:
    """A token of the vocabulary, and what heads write to its logit directly; in logits, less the mean of all words."""

    token_id: int
    token: str
    effect: float


@dataclass(frozen=True)
class LogitAttribution:
    """A token that may come next, and what every part of the model writes to its logit; in logits, less the mean of all words.

    Attributes:
        probability: that the model gives it.
        logit: what it comes to: the sum of all below.
        heads: of every head, [layer][head]; empty rows for layers without.
        embedding, rest, biases: of the token's own embedding, of all that is no head (MLPs above all), of biases.
    """

    token_id: int
    token: str
    probability: float
    logit: float
    heads: tuple[tuple[float, ...], ...]
    embedding: float
    rest: float
    biases: float

    def head_effect(self, head: Head) -> float:
        """What one head writes to the token, in logits."""
        return self.heads[head.layer][head.index]

    @property
    def strongest(self) -> tuple[Head, ...]:
        """All heads, by how much they write to it, whichever way."""
        every = [Head(layer, index) for layer, row in enumerate(self.heads) for index in range(len(row))]
        return tuple(sorted(every, key=lambda head: -abs(self.head_effect(head))))


@dataclass(frozen=True)
class DirectEffects:
    """What some heads write at one token of a text.

    Attributes:
        heads: those that were asked for.
        role: name of the role that they stand for; empty for none.
        control_sets: as many other heads of the same layers, drawn at random.
        query: the token at which they write.
        top_token: the likeliest next token.
        expected_token: the token that the role foretells there; None where it foretells none, or this is the top token.
        by_key: what these heads together write to the top token's logit because of each token that they read.
        expected_token_by_key: the same for the expected token.
        raised, lowered: the tokens of the vocabulary that they raise and lower most.
    """

    model: str
    prompt: str
    tokens: tuple[str, ...]
    heads: tuple[Head, ...]
    control_sets: tuple[tuple[Head, ...], ...]
    role: str
    query: int
    top_token: LogitAttribution
    expected_token: LogitAttribution | None
    by_key: tuple[float, ...]
    expected_token_by_key: tuple[float, ...]
    raised: tuple[TokenEffect, ...]
    lowered: tuple[TokenEffect, ...]

    def total_effect(self, target: LogitAttribution) -> float:
        """By these heads together."""
        return sum(target.head_effect(head) for head in self.heads)

    def control_effects(self, target: LogitAttribution) -> tuple[float, ...]:
        """By each of the control sets."""
        return tuple(sum(target.head_effect(head) for head in heads) for heads in self.control_sets)
