"""The shapes of what programs get of effects, ablations and next tokens; see `results`."""

from typing import TypedDict


class GuessResult(TypedDict):
    """A token that may come next, with its probability."""

    token_id: int
    token: str
    probability: float


class NextTokensResult(TypedDict):
    """The likeliest next tokens after every token, and the loss of every token in nats; the first token has none."""

    api_version: str
    model: str
    prompt: str
    tokens: list[str]
    next_tokens: list[list[GuessResult]]
    losses: list[float | None]


class TokenEffectResult(TypedDict):
    """A token of the vocabulary, and what the heads write to its logit, less the mean of all words."""

    token_id: int
    token: str
    effect: float


class LogitAttributionResult(TypedDict):
    """A token that may come next; what every part of the model writes to its logit, which they add up to.

    `heads` of all heads of the model, [layer][head]; `written` and `by_key` of those that were asked for together, the latter by
    the token that they read. All in logits, less the mean of all words.
    """

    token_id: int
    token: str
    probability: float
    logit: float
    written: float
    by_key: list[float]
    heads: list[list[float]]
    embedding: float
    rest: float
    biases: float


class EffectsResult(TypedDict):
    """What some heads write at the token `query`: to the likeliest next token, and to the one that their role foretells, if any.

    `written_by_controls`: by each of some sets of as many other heads, to the expected token, or else the likeliest.
    """

    api_version: str
    model: str
    prompt: str
    tokens: list[str]
    query: int
    role: str
    heads: list[str]
    told: str
    top_token: LogitAttributionResult
    expected_token: LogitAttributionResult | None
    written_by_controls: list[float]
    raised: list[TokenEffectResult]
    lowered: list[TokenEffectResult]


class AblationEffectResult(TypedDict):
    """What is lost: `fall` of the top token's log-probability, `rise` of the mean loss of the tokens looked at; both in nats."""

    fall: float
    rise: float | None


class NextTokenResult(TypedDict):
    """A token that may come next, with its probability before and without the heads; null where it is an unlikely one."""

    token_id: int
    token: str
    before: float | None
    after: float | None


class ControlResult(TypedDict):
    """Other heads of the same layers, and what is lost without them."""

    heads: list[str]
    effect: AblationEffectResult


class ControlTextResult(TypedDict):
    """The text with every earlier copy of a token replaced, and what the same heads are worth there."""

    tokens: list[str]
    top_token: NextTokenResult
    effect: AblationEffectResult


class AblationResult(TypedDict):
    """What is lost without some heads, beside what is lost without as many others.

    `matters_at_end` and `matters_in_text` in words: "matters" only of more than every control set and 0.1 nats or more. `grown`
    without the first head, the first two, and so on; `direct` and `total` in logits.
    """

    api_version: str
    model: str
    prompt: str
    tokens: list[str]
    query: int
    role: str
    heads: list[str]
    method: str
    seed: int
    told: list[str]
    matters: bool
    matters_at_end: str
    matters_in_text: str | None
    effect: AblationEffectResult
    controls: list[ControlResult]
    control_text: ControlTextResult | None
    grown: list[AblationEffectResult]
    before: list[NextTokenResult]
    after: list[NextTokenResult]
    losses_before: list[float]
    losses_after: list[float]
    looked_at: list[int]
    direct: float
    total: float
    gap: str
