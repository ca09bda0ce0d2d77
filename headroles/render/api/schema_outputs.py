"""What programs get of direct effects, ablations and next tokens. Logits are less the mean over the vocabulary."""

from pydantic import Field

from headroles.core.outputs.ablation import Ablation
from headroles.core.outputs.direct_effects import DirectEffects, LogitAttribution
from headroles.render.api.result import Answer, HeadLabels, Result, Table
from headroles.render.wording.causes import ablation_sentences, describe_direct_effects, describe_gap


class GuessResult(Result):
    """A token that may come next, with its probability."""

    token_id: int
    token: str
    probability: float


class NextTokensResult(Answer):
    """The likeliest next tokens after every token, and the loss of every token in nats; the first token has none."""

    model: str
    prompt: str
    tokens: list[str]
    next_tokens: list[list[GuessResult]] = Field(validation_alias="guesses")
    losses: list[float | None]


class TokenEffectResult(Result):
    """A token of the vocabulary, and what the heads write to its logit directly."""

    token_id: int
    token: str
    effect: float


class LogitAttributionResult(Result):
    """A token that may come next, and what every part of the model writes to its logit; the parts add up to `logit`.

    `heads` [layer][head] are all heads of the model. `total_effect` is that of the heads that were asked for together, and
    `by_key` the same by the token that they read.
    """

    token_id: int
    token: str
    probability: float
    logit: float
    total_effect: float
    by_key: list[float]
    heads: Table
    embedding: float
    rest: float
    biases: float


class EffectsResult(Answer):
    """What some heads write at the token `query`: to the top token, and to the one that their role expects, if any.

    `control_effects` is what each of some sets of control heads writes to the expected token, or else to the top token.
    """

    model: str
    prompt: str
    tokens: list[str]
    query: int
    role: str
    heads: HeadLabels
    summary: str
    top_token: LogitAttributionResult
    expected_token: LogitAttributionResult | None
    control_effects: list[float]
    raised: list[TokenEffectResult]
    lowered: list[TokenEffectResult]


class AblationEffectResult(Result):
    """What is lost, in nats: how far the top token's log-probability drops, and the mean loss of the scored tokens increases."""

    logprob_drop: float
    loss_increase: float | None


class NextTokenResult(Result):
    """A token that may come next, with its probability before and without the heads; null where it is an unlikely one."""

    token_id: int
    token: str
    before: float | None
    after: float | None


class ControlResult(Result):
    """A set of control heads, and what is lost without them."""

    heads: HeadLabels
    effect: AblationEffectResult


class ControlTextResult(Result):
    """The text with every earlier copy of a token replaced, and what the same heads are worth there."""

    tokens: list[str]
    top_token: NextTokenResult
    effect: AblationEffectResult


class AblationResult(Answer):
    """What is lost without some heads, beside what is lost without control heads.

    `matters_at_end` and `matters_in_text` are words: "matters" only where the loss is 0.1 nats or more, and more than without
    every control set. `cumulative` is without the first head, the first two, and so on; `direct` and `total` are in logits.
    """

    model: str
    prompt: str
    tokens: list[str]
    query: int
    role: str
    heads: HeadLabels
    method: str
    seed: int
    sentences: list[str]
    matters: bool
    matters_at_end: str = Field(validation_alias="importance_at_query")
    matters_in_text: str | None = Field(validation_alias="importance_in_text")
    effect: AblationEffectResult
    controls: list[ControlResult]
    control_text: ControlTextResult | None
    cumulative: list[AblationEffectResult]
    before: list[NextTokenResult]
    after: list[NextTokenResult]
    losses_before: list[float]
    losses_after: list[float]
    scored_positions: list[int]
    direct: float
    total: float
    gap: str


def effects_result(effects: DirectEffects) -> EffectsResult:
    """Builds the answer to what some heads write."""
    expected = effects.expected_token

    def attribution(target: LogitAttribution, by_key: tuple[float, ...]) -> LogitAttributionResult:
        return LogitAttributionResult.of(target, total_effect=effects.total_effect(target), by_key=by_key)

    return EffectsResult.of(
        effects,
        summary=describe_direct_effects(effects),
        top_token=attribution(effects.top_token, effects.by_key),
        expected_token=None if expected is None else attribution(expected, effects.expected_token_by_key),
        control_effects=effects.control_effects(expected or effects.top_token),
    )


def ablation_result(ablation: Ablation) -> AblationResult:
    """Builds the answer to an ablation."""
    controls = [{"heads": heads, "effect": effect} for heads, effect in zip(ablation.control_sets, ablation.controls)]
    return AblationResult.of(ablation, sentences=ablation_sentences(ablation), controls=controls, gap=describe_gap(ablation))
