"""What heads write at one token of a text, read from the model: the values of `core.writes`."""

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from headroles.core.heads import Head
from headroles.core.outputs.direct_effects import DirectEffects, LogitAttribution, TokenEffect
from headroles.core.outputs.residual_stream import ResidualStream
from headroles.core.roles.roles import MeasuredRole
from headroles.core.text.tokens import clean_text
from headroles.models.interventions.ablator import draw_control_heads
from headroles.models.reading.batches import TokenIds
from headroles.models.reading.output_reader import OutputReader

TOP_TOKENS = 8  # that heads raise and lower most


def read_direct_effects(
    outputs: OutputReader,
    prompt: str,
    token_ids: TokenIds,
    heads: Sequence[Head],
    role: MeasuredRole | None = None,
    query: int = -1,
    excluded_controls: Collection[Head] = (),
) -> DirectEffects:
    """Reads what some heads write at a token of a text: to the likeliest next token, and to the one that the role expects.

    Args:
        outputs: the output side of the model.
        prompt: the text, as the visitor wrote it.
        token_ids: of the text.
        heads: which write.
        role: that they stand for.
        query: at which token they write; by default the last.
        excluded_controls: heads that no control set may hold, since they have that role too.
    """
    loaded, query = outputs.loaded, query % len(token_ids)
    stream = outputs.read(token_ids, query)
    logits = outputs.logits(stream).cpu()
    top_token = int(logits.argmax())
    expected_token = role.measure.expected_token(torch.tensor(token_ids), query)[:1] if role else []
    targets = list(dict.fromkeys([top_token, *expected_token]))
    unembedding = outputs.tokens_to_residual_directions(targets)
    by_key = stream.by_key(unembedding).cpu()
    embedding, rest, biases = (part.cpu() for part in stream.other_parts(unembedding))
    biases = biases + outputs.unembedding_bias(targets).cpu()
    less, probabilities = outputs.centered_logits(logits), logits.softmax(-1)
    rows = loaded.layers
    mine = [(rows.index(head.layer), head.index) for head in heads]

    def target(at: int) -> LogitAttribution:
        of_heads = by_key[..., at].sum(-1)
        parts = float(embedding[at]), float(rest[:, at].sum())
        return LogitAttribution(
            token_id=targets[at],
            token=loaded.token_texts((targets[at],))[0],
            probability=float(probabilities[targets[at]]),
            logit=float(less[targets[at]]),
            heads=tuple(
                tuple(of_heads[rows.index(layer)].tolist()) if layer in rows else () for layer in range(len(loaded.windows))
            ),
            embedding=parts[0],
            rest=parts[1],
            biases=float(biases[at]),
        )

    def of_keys(at: int) -> tuple[float, ...]:
        return tuple(sum(by_key[row, head, :, at] for row, head in mine).tolist())  # type: ignore[union-attr]

    raised, lowered = _top_effects(outputs, stream, mine)
    is_other = len(targets) > 1
    return DirectEffects(
        model=loaded.name,
        prompt=clean_text(prompt),
        tokens=loaded.token_texts(token_ids),
        heads=tuple(heads),
        control_sets=draw_control_heads(loaded, heads, excluded_controls),
        role=role.name if role else "",
        query=query,
        top_token=target(0),
        expected_token=target(1) if is_other else None,
        by_key=of_keys(0),
        expected_token_by_key=of_keys(1) if is_other else (),
        raised=raised,
        lowered=lowered,
    )


def _top_effects(
    outputs: OutputReader, stream: ResidualStream, heads: Sequence[tuple[int, int]]
) -> tuple[tuple[TokenEffect, ...], tuple[TokenEffect, ...]]:
    """The words of the vocabulary that these heads together raise and lower most, and by how much."""
    written: Float[Tensor, " model"] = torch.stack([stream.written(row, head) for row, head in heads]).sum(0)
    effects = outputs.direct_logits(written).cpu()
    effects = effects - effects.mean()
    count = min(TOP_TOKENS, len(effects))

    def words(which: Tensor) -> tuple[TokenEffect, ...]:
        ids = which.tolist()
        texts = outputs.loaded.token_texts(tuple(ids))
        return tuple(TokenEffect(token, text, float(effects[token])) for token, text in zip(ids, texts))

    return words(effects.topk(count).indices), words((-effects).topk(count).indices)
