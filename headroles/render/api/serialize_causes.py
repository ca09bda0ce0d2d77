"""What heads write and what is lost without them -> plain numbers, strings, lists and dicts, in the shapes of `results`."""

from collections.abc import Sequence

from headroles.core.outputs.ablation import Ablation, AblationEffect
from headroles.core.outputs.direct_effects import DirectEffects, LogitAttribution, TokenEffect
from headroles.core.outputs.next_tokens import NextToken, Predictions
from headroles.render.api.schema_causes import (
    AblationEffectResult,
    AblationResult,
    EffectsResult,
    LogitAttributionResult,
    NextTokenResult,
    NextTokensResult,
    TokenEffectResult,
)
from headroles.render.api.serialize import API_VERSION
from headroles.render.wording.causes import ablation_sentences, describe_direct_effects, describe_gap


def next_tokens_result(predictions: Predictions) -> NextTokensResult:
    return {
        "api_version": API_VERSION,
        "model": predictions.model,
        "prompt": predictions.prompt,
        "tokens": list(predictions.tokens),
        "next_tokens": [
            [{"token_id": guess.token_id, "token": guess.token, "probability": guess.probability} for guess in guesses]
            for guesses in predictions.guesses
        ],
        "losses": list(predictions.losses),
    }


def effects_result(writes: DirectEffects) -> EffectsResult:
    expected_token = writes.expected_token
    return {
        "api_version": API_VERSION,
        "model": writes.model,
        "prompt": writes.prompt,
        "tokens": list(writes.tokens),
        "query": writes.query,
        "role": writes.role,
        "heads": [head.label for head in writes.heads],
        "told": describe_direct_effects(writes),
        "top_token": _target(writes, writes.top_token, writes.by_key),
        "expected_token": None if expected_token is None else _target(writes, expected_token, writes.expected_token_by_key),
        "written_by_controls": list(writes.control_effects(expected_token or writes.top_token)),
        "raised": _words(writes.raised),
        "lowered": _words(writes.lowered),
    }


def ablation_result(ablation: Ablation) -> AblationResult:
    text = ablation.control_text
    return {
        "api_version": API_VERSION,
        "model": ablation.model,
        "prompt": ablation.prompt,
        "tokens": list(ablation.tokens),
        "query": ablation.query,
        "role": ablation.role,
        "heads": [head.label for head in ablation.heads],
        "method": ablation.method,
        "seed": ablation.seed,
        "told": list(ablation_sentences(ablation)),
        "matters": ablation.matters,
        "matters_at_end": ablation.importance_at_query,
        "matters_in_text": ablation.importance_in_text,
        "effect": _loss(ablation.effect),
        "controls": [
            {"heads": [head.label for head in heads], "effect": _loss(effect)}
            for heads, effect in zip(ablation.control_sets, ablation.controls)
        ],
        "control_text": None
        if text is None
        else {"tokens": list(text.tokens), "top_token": _next(text.top_token), "effect": _loss(text.effect)},
        "grown": [_loss(effect) for effect in ablation.cumulative],
        "before": [_next(token) for token in ablation.before],
        "after": [_next(token) for token in ablation.after],
        "losses_before": list(ablation.losses_before),
        "losses_after": list(ablation.losses_after),
        "looked_at": list(ablation.scored_positions),
        "direct": ablation.direct,
        "total": ablation.total,
        "gap": describe_gap(ablation),
    }


def _target(writes: DirectEffects, target: LogitAttribution, by_key: Sequence[float]) -> LogitAttributionResult:
    return {
        "token_id": target.token_id,
        "token": target.token,
        "probability": target.probability,
        "logit": target.logit,
        "written": writes.total_effect(target),
        "by_key": list(by_key),
        "heads": [list(row) for row in target.heads],
        "embedding": target.embedding,
        "rest": target.rest,
        "biases": target.biases,
    }


def _words(words: Sequence[TokenEffect]) -> list[TokenEffectResult]:
    return [{"token_id": word.token_id, "token": word.token, "effect": word.effect} for word in words]


def _loss(effect: AblationEffect) -> AblationEffectResult:
    return {"fall": effect.logprob_drop, "rise": effect.loss_increase}


def _next(token: NextToken) -> NextTokenResult:
    return {"token_id": token.token_id, "token": token.token, "before": token.before, "after": token.after}
