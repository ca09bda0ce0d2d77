"""A text read without some heads, beside the same text without other ones: all forwards of one ablation, and what they show."""

import math
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch

from headroles.core.heads import Head
from headroles.core.outputs.ablation import CONTROLS, Ablation, AblationEffect, AblationMethod, ControlText
from headroles.core.outputs.next_tokens import NextToken
from headroles.core.patterns.excess import remove_excess
from headroles.core.roles.roles import MeasuredRole
from headroles.core.text.tokens import clean_text
from headroles.models.interventions.ablator import AblatedOutput, Ablator, Replacement, draw_control_heads
from headroles.models.loading.loader import LoadedModel
from headroles.models.probes.probe_texts import ordinary_ids
from headroles.models.reading.batches import TokenIds
from headroles.models.reading.output_reader import OutputReader

MAX_STEPS = 8  # at most, of a set that grows head by head
MAX_NEXT_TOKENS = 8  # next words on each side


@dataclass(frozen=True)
class AblationRequest:
    """What is to be ablated of which text.

    Attributes:
        heads: strongest first.
        role: that they stand for; None for a set that somebody picked.
        spared: heads that no control set may hold, since they have that role too.
        query: after which token the next one is looked at.
    """

    token_ids: TokenIds
    heads: tuple[Head, ...]
    role: MeasuredRole | None = None
    excluded_controls: frozenset[Head] = frozenset()
    method: AblationMethod = "zero"
    seed: int = 0
    query: int = -1

    def steps(self) -> list[tuple[Head, ...]]:
        """The first of the heads, the first two, and so on; of many, at most STEPS sizes, the last of all."""
        count = len(self.heads)
        sizes = sorted({math.ceil(count * step / min(count, MAX_STEPS)) for step in range(1, min(count, MAX_STEPS) + 1)})
        return [self.heads[:size] for size in sizes]

    def scored_positions(self) -> tuple[int, ...]:
        """The tokens that follow one which calls for the role; of a role that is always on, and of none, all but the first."""
        following = range(1, len(self.token_ids))
        if self.role is None or not self.is_triggered:
            return tuple(following)
        calls = self.role.expected_keys(torch.tensor(self.token_ids)).any(-1).tolist()
        return tuple(at for at in following if calls[at - 1])

    @property
    def is_triggered(self) -> bool:
        """Whether the heads stand for a role that a text triggers."""
        return self.role is not None and self.role.measure.is_triggered


def count_texts(heads: int) -> int:
    """How many texts a ablation of so many heads reads, at most."""
    return 1 + min(heads, MAX_STEPS) + CONTROLS + 2


def run_ablation(
    outputs: OutputReader,
    ablator: Ablator,
    prompt: str,
    request: AblationRequest,
    on_progress: Callable[[float], None] = lambda _: None,
) -> Ablation:
    """Reads a text with and without some heads, and without control heads.

    Also without the first head, the first two, and so on; and the same heads on a text that does not call for their role.

    Args:
        outputs: the output side of the model.
        ablator: of the same model.
        prompt: the text, as the visitor wrote it.
        request: which heads of which tokens, and how.
        on_progress: called between forwards with the share that is done, 0 to 1; what it raises ends the work.
    """
    loaded, ids = outputs.loaded, request.token_ids
    query, looked_at = request.query % len(ids), request.scored_positions()
    nothing, replacement = (
        ablator.replacement("zero", ids),
        ablator.replacement(request.method, ids, request.role, request.seed),
    )
    (first,) = ablator.run(ids, [()], nothing, query=query, losses=False)
    top_token, words = first.top[0][0], [token for token, _ in first.top[:MAX_NEXT_TOKENS]]
    steps, controls = request.steps(), draw_control_heads(loaded, request.heads, request.excluded_controls, request.seed)
    found: list[AblatedOutput] = []
    for after in ablator.run(ids, [(), *steps, *controls], replacement, words, query):
        found.append(after)
        on_progress(len(found) / (count_texts(len(request.heads))))
    base, grown, others = found[0], found[1 : len(steps) + 1], found[len(steps) + 1 :]
    last = grown[-1]
    told = {token: math.exp(value) for token, value in base.top}, {token: math.exp(value) for token, value in last.top}
    told[1].update({token: math.exp(value) for token, value in zip(words, last.log_probs)})

    def next_token(token: int) -> NextToken:
        return NextToken(token, loaded.token_texts((token,))[0], told[0].get(token), told[1].get(token))

    def effect(after: AblatedOutput) -> AblationEffect:
        return AblationEffect(base.log_probs[0] - after.log_probs[0], mean_loss_increase(base.losses, after.losses, looked_at))

    made = Ablation(
        model=loaded.name,
        prompt=clean_text(prompt),
        tokens=loaded.token_texts(ids),
        heads=request.heads,
        role=request.role.name if request.role else "",
        method=request.method,
        seed=request.seed,
        query=query,
        top_token=next_token(top_token),
        before=tuple(next_token(token) for token, _ in base.top[:MAX_NEXT_TOKENS]),
        after=tuple(next_token(token) for token, _ in last.top[:MAX_NEXT_TOKENS]),
        losses_before=base.losses,
        losses_after=last.losses,
        scored_positions=looked_at,
        effect=effect(last),
        cumulative=tuple(map(effect, grown)),
        control_sets=controls,
        controls=tuple(map(effect, others)),
        control_text=_run_control_text(outputs, ablator, request) if request.is_triggered else None,
        direct=_direct_effect(outputs, request, replacement, top_token),
        total=base.logits[0] - last.logits[0],
    )
    on_progress(1.0)
    return made


def control_ids(loaded: LoadedModel, token_ids: TokenIds, seed: int = 0) -> TokenIds:
    """The text with each earlier copy of a token replaced by one that stands nowhere else: its end stays, nothing comes again."""
    fresh = [token for token in ordinary_ids(loaded).tolist() if token not in token_ids]
    draw = iter(random.Random(seed).sample(fresh, min(len(fresh), len(token_ids))))
    comes_again = [token in token_ids[at + 1 :] for at, token in enumerate(token_ids)]
    return tuple(next(draw) if again else token for token, again in zip(token_ids, comes_again))


def mean_loss_increase(before: Sequence[float], after: Sequence[float], positions: Collection[int]) -> float | None:
    """Of the mean loss of those tokens; losses begin with the second token."""
    if not positions:
        return None
    return sum(after[at - 1] - before[at - 1] for at in positions) / len(positions)


def _run_control_text(outputs: OutputReader, ablator: Ablator, request: AblationRequest) -> ControlText:
    loaded, looked_at = outputs.loaded, request.scored_positions()
    ids = control_ids(loaded, request.token_ids, request.seed)
    query = request.query % len(ids)
    nothing = ablator.replacement("zero", ids)
    method = "zero" if request.method == "null" else request.method  # there is nothing of the role to be taken out
    (first,) = ablator.run(ids, [()], nothing, query=query, losses=False)
    top_token = first.top[0][0]
    base, after = ablator.run(
        ids, [(), request.heads], ablator.replacement(method, ids, request.role, request.seed), [top_token], query
    )
    return ControlText(
        tokens=loaded.token_texts(ids),
        top_token=NextToken(
            top_token, loaded.token_texts((top_token,))[0], math.exp(base.log_probs[0]), math.exp(after.log_probs[0])
        ),
        effect=AblationEffect(base.log_probs[0] - after.log_probs[0], mean_loss_increase(base.losses, after.losses, looked_at)),
    )


def _direct_effect(outputs: OutputReader, request: AblationRequest, replacement: Replacement, top_token: int) -> float:
    """What the heads themselves write to the top token's logit, less what stands in their place."""
    stream = outputs.read(request.token_ids, request.query)
    along, rows = stream.along(outputs.tokens_to_residual_directions([top_token])), outputs.loaded.layers
    patterns = outputs.patterns.read(request.token_ids) if replacement.expected else None
    total = 0.0
    for head in request.heads:
        row = rows.index(head.layer)
        output = stream.output(row, head.index)
        if patterns is not None:
            without = remove_excess(patterns.pattern(head), replacement.expected[head.layer].cpu(), patterns.window(head.layer))
            instead = without[stream.query].to(output) @ stream.values[row][head.index]
            if stream.gates is not None:
                instead = instead * stream.gates[row][head.index]
        elif head.layer in replacement.outputs:
            made = replacement.outputs[head.layer]
            instead = made[min(stream.query, len(made) - 1), head.index]
        else:
            instead = torch.zeros_like(output)
        total += float((output - instead) @ along[row][head.index, :, 0])
    return total
