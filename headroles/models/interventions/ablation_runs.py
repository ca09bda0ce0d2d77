"""A text read without some heads, beside the same text without other ones: all forwards of one knock-out, and what they show."""

import math
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch

from headroles.core.heads import Head
from headroles.core.outputs.ablation import CONTROLS, ControlText, Effect, KnockOut, Method
from headroles.core.outputs.next_tokens import NextToken
from headroles.core.patterns.excess import without_excess
from headroles.core.roles.roles import MeasuredRole
from headroles.core.text.tokens import clean
from headroles.models.interventions.ablator import After, KnockOuts, Replacement, other_heads
from headroles.models.loading.loader import LoadedModel
from headroles.models.probes.probe_texts import ordinary_ids
from headroles.models.reading.batches import TokenIds
from headroles.models.reading.output_reader import OutputReader

STEPS = 8  # at most, of a set that grows head by head
TOLD = 8  # next words on each side


@dataclass(frozen=True)
class Question:
    """What is to be knocked out of which text.

    Attributes:
        heads: strongest first.
        role: that they stand for; None for a set that somebody picked.
        spared: heads that no control set may hold, since they have that role too.
        query: after which token the next one is looked at.
    """

    token_ids: TokenIds
    heads: tuple[Head, ...]
    role: MeasuredRole | None = None
    spared: frozenset[Head] = frozenset()
    method: Method = "zero"
    seed: int = 0
    query: int = -1

    def steps(self) -> list[tuple[Head, ...]]:
        """The first of the heads, the first two, and so on; of many, at most STEPS sizes, the last of all."""
        count = len(self.heads)
        sizes = sorted({math.ceil(count * step / min(count, STEPS)) for step in range(1, min(count, STEPS) + 1)})
        return [self.heads[:size] for size in sizes]

    def looked_at(self) -> tuple[int, ...]:
        """The tokens that follow one which calls for the role; of a role that is always on, and of none, all but the first."""
        following = range(1, len(self.token_ids))
        if self.role is None or not self.is_triggered:
            return tuple(following)
        calls = self.role.expected_keys(torch.tensor(self.token_ids)).any(-1).tolist()
        return tuple(at for at in following if calls[at - 1])

    @property
    def is_triggered(self) -> bool:
        return self.role is not None and self.role.measure.is_triggered


def texts_read(heads: int) -> int:
    """How many texts a knock-out of so many heads reads, at most."""
    return 1 + min(heads, STEPS) + CONTROLS + 2


def knock_out(
    outputs: OutputReader,
    knock_outs: KnockOuts,
    prompt: str,
    question: Question,
    on_progress: Callable[[float], None] = lambda _: None,
) -> KnockOut:
    """Reads the text as it is, without the heads, without growing parts of them, without other heads of the same layers, and a
    text that does not call for their role.

    Args:
        on_progress: called between forwards with the share that is done, 0 to 1; what it raises ends the work.
    """
    loaded, ids = outputs.loaded, question.token_ids
    query, looked_at = question.query % len(ids), question.looked_at()
    nothing, replacement = (
        knock_outs.replacement("zero", ids),
        knock_outs.replacement(question.method, ids, question.role, question.seed),
    )
    (first,) = knock_outs.run(ids, [()], nothing, query=query, losses=False)
    favourite, words = first.top[0][0], [token for token, _ in first.top[:TOLD]]
    steps, controls = question.steps(), other_heads(loaded, question.heads, question.spared, question.seed)
    found: list[After] = []
    for after in knock_outs.run(ids, [(), *steps, *controls], replacement, words, query):
        found.append(after)
        on_progress(len(found) / (texts_read(len(question.heads))))
    base, grown, others = found[0], found[1 : len(steps) + 1], found[len(steps) + 1 :]
    last = grown[-1]
    told = {token: math.exp(value) for token, value in base.top}, {token: math.exp(value) for token, value in last.top}
    told[1].update({token: math.exp(value) for token, value in zip(words, last.log_probs)})

    def next_token(token: int) -> NextToken:
        return NextToken(token, loaded.token_texts((token,))[0], told[0].get(token), told[1].get(token))

    def effect(after: After) -> Effect:
        return Effect(base.log_probs[0] - after.log_probs[0], mean_rise(base.losses, after.losses, looked_at))

    made = KnockOut(
        model=loaded.name,
        prompt=clean(prompt),
        tokens=loaded.token_texts(ids),
        heads=question.heads,
        role=question.role.name if question.role else "",
        method=question.method,
        seed=question.seed,
        query=query,
        favourite=next_token(favourite),
        before=tuple(next_token(token) for token, _ in base.top[:TOLD]),
        after=tuple(next_token(token) for token, _ in last.top[:TOLD]),
        losses_before=base.losses,
        losses_after=last.losses,
        looked_at=looked_at,
        effect=effect(last),
        grown=tuple(map(effect, grown)),
        control_sets=controls,
        controls=tuple(map(effect, others)),
        control_text=_on_control_text(outputs, knock_outs, question) if question.is_triggered else None,
        direct=_direct(outputs, question, replacement, favourite),
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


def mean_rise(before: Sequence[float], after: Sequence[float], looked_at: Collection[int]) -> float | None:
    """Of the mean loss of those tokens; losses begin with the second token."""
    if not looked_at:
        return None
    return sum(after[at - 1] - before[at - 1] for at in looked_at) / len(looked_at)


def _on_control_text(outputs: OutputReader, knock_outs: KnockOuts, question: Question) -> ControlText:
    loaded, looked_at = outputs.loaded, question.looked_at()
    ids = control_ids(loaded, question.token_ids, question.seed)
    query = question.query % len(ids)
    nothing = knock_outs.replacement("zero", ids)
    method = "zero" if question.method == "null" else question.method  # there is nothing of the role to be taken out
    (first,) = knock_outs.run(ids, [()], nothing, query=query, losses=False)
    favourite = first.top[0][0]
    base, after = knock_outs.run(
        ids, [(), question.heads], knock_outs.replacement(method, ids, question.role, question.seed), [favourite], query
    )
    return ControlText(
        tokens=loaded.token_texts(ids),
        favourite=NextToken(
            favourite, loaded.token_texts((favourite,))[0], math.exp(base.log_probs[0]), math.exp(after.log_probs[0])
        ),
        effect=Effect(base.log_probs[0] - after.log_probs[0], mean_rise(base.losses, after.losses, looked_at)),
    )


def _direct(outputs: OutputReader, question: Question, replacement: Replacement, favourite: int) -> float:
    """What the heads themselves write to the favourite's logit, less what stands in their place."""
    stream = outputs.read(question.token_ids, question.query)
    along, rows = stream.along(outputs.targets([favourite])), outputs.loaded.layers
    patterns = outputs.patterns.read(question.token_ids) if replacement.expected else None
    total = 0.0
    for head in question.heads:
        row = rows.index(head.layer)
        output = stream.output(row, head.index)
        if patterns is not None:
            without = without_excess(patterns.pattern(head), replacement.expected[head.layer].cpu(), patterns.window(head.layer))
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
