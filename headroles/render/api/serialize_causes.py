"""What heads write and what is lost without them -> plain numbers, strings, lists and dicts, in the shapes of `results`."""

from collections.abc import Sequence

from headroles.core.outputs.ablation import Effect, KnockOut, sentences
from headroles.core.outputs.direct_effects import Target, Word, Writes
from headroles.core.outputs.next_tokens import NextToken, Predictions
from headroles.render.api.schema_causes import (
    EffectsResult,
    KnockOutResult,
    LossResult,
    NextTokenResult,
    NextTokensResult,
    TargetResult,
    WordResult,
)
from headroles.render.api.serialize import API_VERSION


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


def effects_result(writes: Writes) -> EffectsResult:
    foretold = writes.foretold
    return {
        "api_version": API_VERSION,
        "model": writes.model,
        "prompt": writes.prompt,
        "tokens": list(writes.tokens),
        "query": writes.query,
        "role": writes.role,
        "heads": [head.label for head in writes.heads],
        "told": writes.told,
        "favourite": _target(writes, writes.favourite, writes.by_key),
        "foretold": None if foretold is None else _target(writes, foretold, writes.foretold_by_key),
        "written_by_controls": list(writes.written_by_controls(foretold or writes.favourite)),
        "raised": _words(writes.raised),
        "lowered": _words(writes.lowered),
    }


def knock_out_result(knock_out: KnockOut) -> KnockOutResult:
    text = knock_out.control_text
    return {
        "api_version": API_VERSION,
        "model": knock_out.model,
        "prompt": knock_out.prompt,
        "tokens": list(knock_out.tokens),
        "query": knock_out.query,
        "role": knock_out.role,
        "heads": [head.label for head in knock_out.heads],
        "method": knock_out.method,
        "seed": knock_out.seed,
        "told": list(sentences(knock_out)),
        "matters": knock_out.matters,
        "matters_at_end": knock_out.at_the_end,
        "matters_in_text": knock_out.in_the_text,
        "effect": _loss(knock_out.effect),
        "controls": [
            {"heads": [head.label for head in heads], "effect": _loss(effect)}
            for heads, effect in zip(knock_out.control_sets, knock_out.controls)
        ],
        "control_text": None
        if text is None
        else {"tokens": list(text.tokens), "favourite": _next(text.favourite), "effect": _loss(text.effect)},
        "grown": [_loss(effect) for effect in knock_out.grown],
        "before": [_next(token) for token in knock_out.before],
        "after": [_next(token) for token in knock_out.after],
        "losses_before": list(knock_out.losses_before),
        "losses_after": list(knock_out.losses_after),
        "looked_at": list(knock_out.looked_at),
        "direct": knock_out.direct,
        "total": knock_out.total,
        "gap": knock_out.gap,
    }


def _target(writes: Writes, target: Target, by_key: Sequence[float]) -> TargetResult:
    return {
        "token_id": target.token_id,
        "token": target.token,
        "probability": target.probability,
        "logit": target.logit,
        "written": writes.written(target),
        "by_key": list(by_key),
        "heads": [list(row) for row in target.heads],
        "embedding": target.embedding,
        "rest": target.rest,
        "biases": target.biases,
    }


def _words(words: Sequence[Word]) -> list[WordResult]:
    return [{"token_id": word.token_id, "token": word.token, "effect": word.effect} for word in words]


def _loss(effect: Effect) -> LossResult:
    return {"fall": effect.fall, "rise": effect.rise}


def _next(token: NextToken) -> NextTokenResult:
    return {"token_id": token.token_id, "token": token.token, "before": token.before, "after": token.after}
