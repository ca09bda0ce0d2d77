"""What a model says comes next after every token of a text, as numbers that page and API draw from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Guess:
    """A token that may come next, with its probability."""

    token_id: int
    token: str
    probability: float


@dataclass(frozen=True)
class Predictions:
    """Of every token: the likeliest next ones, likeliest first, and its own loss in nats; the first token has none."""

    model: str
    prompt: str
    tokens: tuple[str, ...]
    guesses: tuple[tuple[Guess, ...], ...]
    losses: tuple[float | None, ...]


@dataclass(frozen=True)
class NextToken:
    """A token that may come next, with its probability before and after a ablation; None where it is among the unlikely ones."""

    token_id: int
    token: str
    before: float | None
    after: float | None
