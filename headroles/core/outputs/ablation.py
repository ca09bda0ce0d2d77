"""What is lost without some heads: effects of ablations, and where they lie among those of other heads of the same layers."""

import math
import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from headroles.core.display import NotebookRepr
from headroles.core.heads import Head
from headroles.core.outputs.next_tokens import NextToken
from headroles.core.text.phrases import precise_percent, signed
from headroles.core.text.tokens import inline_text

AblationMethod = Literal["zero", "mean", "resample", "null"]
ABLATION_METHODS: tuple[AblationMethod, ...] = get_args(AblationMethod)
Importance = Literal["matters", "no more than other heads", "hardly anything", "surer without", "no control"]
CONTROLS = (
    20  # sets of other heads; that the heads' own effect is the largest of 21 has a chance of 1 in 21 if they are no different
)
FEWEST_CONTROLS = 5
LEAST_EFFECT = 0.1  # nats: a probability falls by a tenth of itself; below it nobody would see a difference
TRIES = 50  # draws for each set that is wanted, before there are taken to be no more different ones


@dataclass(frozen=True)
class AblationEffect:
    """What is lost at one token and over some.

    Attributes:
        fall: of the logarithm of the probability of the token that the model favoured before, at the query; nats.
        rise: of the mean loss of the tokens that were looked at; nats; None where there were none.
    """

    logprob_drop: float
    loss_increase: float | None


@dataclass(frozen=True)
class ControlText:
    """The text with every earlier copy of a token replaced by tokens that stand nowhere else, so that nothing in it repeats."""

    tokens: tuple[str, ...]
    top_token: NextToken
    effect: AblationEffect


@dataclass(frozen=True)
class Ablation(NotebookRepr):
    """A text read without some heads.

    Attributes:
        heads: in the order in which they were taken out one by one.
        role: name of the role that they stand for; empty for a set that somebody picked.
        method, seed: how their outputs were replaced, and what other text and other heads were drawn by.
        query: the token after which the next one was looked at.
        top_token: the model's likeliest next token before.
        before, after: the likeliest ones before, and those after, each with both probabilities where both are known.
        losses_before, losses_after: of every token of the text but the first, in nats.
        looked_at: the tokens whose loss makes the rise: those that follow a token that calls for the role, else all.
        effect: of all these heads together.
        grown: of the first, of the first two, and so on.
        control_sets, controls: as many other heads of the same layers, drawn at random, and the effect of each such set.
        control_text: the same heads out of a text that does not call for the role; None for a set without a role.
        direct, total: what the heads write themselves to the top token's logit, and what it loses without them; in logits,
            each less the mean of all words.
    """

    model: str
    prompt: str
    tokens: tuple[str, ...]
    heads: tuple[Head, ...]
    role: str
    method: AblationMethod
    seed: int
    query: int
    top_token: NextToken
    before: tuple[NextToken, ...]
    after: tuple[NextToken, ...]
    losses_before: tuple[float, ...]
    losses_after: tuple[float, ...]
    scored_positions: tuple[int, ...]
    effect: AblationEffect
    cumulative: tuple[AblationEffect, ...]
    control_sets: tuple[tuple[Head, ...], ...]
    controls: tuple[AblationEffect, ...]
    control_text: ControlText | None
    direct: float
    total: float

    @property
    def importance_at_query(self) -> Importance:
        """Whether the heads matter to what comes next."""
        return judge_effect(self.effect.logprob_drop, [control.logprob_drop for control in self.controls])

    @property
    def importance_in_text(self) -> Importance | None:
        """Whether they matter to the tokens of the text that were looked at; None where there are none."""
        if self.effect.loss_increase is None:
            return None
        return judge_effect(self.effect.loss_increase, [control.loss_increase or 0.0 for control in self.controls])

    @property
    def matters(self) -> bool:
        return "matters" in (self.importance_at_query, self.importance_in_text)

    @property
    def loss_increases(self) -> Mapping[int, float]:
        """The tokens that the model foresees worse without the heads, by position, with the rise of their loss in nats."""
        rises = {at: after - before for at, (before, after) in enumerate(zip(self.losses_before, self.losses_after), start=1)}
        return {at: rise for at, rise in rises.items() if rise >= LEAST_EFFECT}

    @property
    def gap(self) -> str:
        """What lies between the direct effect and the total one, named; empty where it is small."""
        if max(abs(self.direct), abs(self.total)) < LEAST_EFFECT or abs(self.direct - self.total) <= abs(self.direct) / 4:
            return ""
        if self.direct > 0 and self.total < self.direct:
            return "less is lost than they write: others stepped in, or had written the same already"
        if self.direct > 0:
            return "more is lost than they write themselves: later layers build on what they pass on"
        return "they do not write this token themselves: what is lost goes through later layers"


def judge_effect(effect: float, controls: Sequence[float]) -> Importance:
    """Where an effect lies among those of other heads, in words."""
    if effect <= -LEAST_EFFECT:
        return "surer without"
    if effect < LEAST_EFFECT:
        return "hardly anything"
    if len(controls) < FEWEST_CONTROLS:
        return "no control"
    return "matters" if effect > max(controls) else "no more than other heads"


SPARE = 3  # heads more than are needed, so that sets differ


def draw_control_sets(
    heads: Collection[Head], others: Collection[Head], count: int = CONTROLS, seed: int = 0
) -> list[tuple[Head, ...]]:
    """Different sets of as many other heads, drawn at random; fewer where there are not so many.

    They are of the same layers, as many of each; where a layer has too few, what is missing is drawn from other layers, but from
    none before the first, where there are enough: heads there feed these, and without them these are not themselves.
    """
    needed = Counter(head.layer for head in heads)
    by_layer = {layer: sorted(head for head in others if head.layer == layer) for layer in needed}
    missing = sum(max(0, number - len(by_layer[layer])) for layer, number in needed.items())
    elsewhere = sorted(head for head in others if head.layer not in needed or len(by_layer[head.layer]) > needed[head.layer])
    later = [head for head in elsewhere if head.layer >= min(needed, default=0)]
    elsewhere = later if len(later) >= missing + SPARE else elsewhere
    if missing > len(elsewhere):
        return []
    draw = random.Random(seed)
    found: dict[tuple[Head, ...], None] = {}
    for _ in range(TRIES * count):
        drawn = [head for layer, n in needed.items() for head in draw.sample(by_layer[layer], min(n, len(by_layer[layer])))]
        free = [head for head in elsewhere if head not in drawn]
        if len(free) >= missing:
            found[tuple(sorted([*drawn, *draw.sample(free, missing)]))] = None
        if len(found) == count:
            break
    return list(found)


def are_of_same_layers(heads: Collection[Head], control: Collection[Head]) -> bool:
    """Whether a control set has as many heads of each layer."""
    return Counter(head.layer for head in heads) == Counter(head.layer for head in control)


def ablation_sentences(ablation: Ablation) -> tuple[str, ...]:
    """All that is said of it: at the end of the text, over its tokens, on the control text, and of what stepped in."""
    gap = f"They write {signed(ablation.direct)} to its logit themselves, and without them it loses {ablation.total:.2f}"
    said = (
        next_token_sentences(ablation),
        text_sentence(ablation),
        control_text_sentence(ablation),
        f"{gap}: {ablation.gap}." if ablation.gap else "",
    )
    return tuple(sentence for sentence in said if sentence)


def next_token_sentences(ablation: Ablation) -> str:
    """What is lost at the end of the text, against which controls, in two sentences."""
    heads, word = len(ablation.heads), inline_text(ablation.top_token.token)
    who = f"these {heads} heads" if heads > 1 else ablation.heads[0].label
    before, after = (precise_percent(share or 0.0) for share in (ablation.top_token.before, ablation.top_token.after))
    return f"Without {who}, the model gives “{word}” {after} instead of {before}. {_among(ablation)}"


def text_sentence(ablation: Ablation) -> str:
    """The same for the tokens of the text that were looked at, in one sentence; empty where there are none."""
    rise, verdict = ablation.effect.loss_increase, ablation.importance_in_text
    if rise is None or verdict is None:
        return ""
    which = f"the {len(ablation.scored_positions)} tokens" if len(ablation.scored_positions) > 1 else "the one token"
    called = " after one that calls for the role" if ablation.control_text else " of the text"
    said = f"Over {which}{called}, the mean loss changes by {signed(rise)} nats"
    rises = [control.loss_increase or 0.0 for control in ablation.controls]
    return (
        f"{said}, without {control_sets_phrase(ablation.heads, ablation.control_sets)} by {signed(min(rises))} to {signed(max(rises))}."
        if rises
        else f"{said}."
    )


def control_text_sentence(ablation: Ablation) -> str:
    """What the same heads are worth where nothing calls for their role, in one sentence; empty where that was not looked at."""
    if (text := ablation.control_text) is None:
        return ""
    before, after = (precise_percent(share or 0.0) for share in (text.top_token.before, text.top_token.after))
    word = inline_text(text.top_token.token)
    return f"With every earlier copy of a token replaced, so that nothing repeats, they take “{word}” from {before} to {after}."


def _among(ablation: Ablation) -> str:
    controls = [control.logprob_drop for control in ablation.controls]
    is_one = len(ablation.heads) == 1
    if not controls:
        return "The model has too few other heads to take out instead, so nothing says whether that is much."
    least, most = (precise_percent(_less(ablation.top_token.before or 0.0, fall)) for fall in (max(controls), min(controls)))
    they, them = ("it matters", "it") if is_one else ("they matter", "them")
    verdict = {
        "matters": f"so here {they} more than any of these",
        "no more than other heads": f"so here {they} no more than others",
        "hardly anything": f"so here hardly anything depends on {them}",
        "surer without": f"and the model is surer without {them}",
        "no control": "too few to say whether that is much",
    }[ablation.importance_at_query]
    said = f"Without {control_sets_phrase(ablation.heads, ablation.control_sets)} it gives it {least} to {most}, {verdict}."
    if ablation.importance_at_query != "no more than other heads":
        return said
    worst = max(zip(controls, ablation.control_sets))[1]
    return f"{said} Most is lost without {', '.join(head.label for head in worst)}."


def control_sets_phrase(chosen: Collection[Head], sets: Sequence[Collection[Head]]) -> str:
    """`20 sets of 8 other heads of the same layers`."""
    count, heads = len(sets), len(chosen)
    where = "the same layers"
    if not all(are_of_same_layers(chosen, control) for control in sets):
        where = "the same layers, and of others where these have too few,"
    if heads == 1:
        return f"any one of {count} other heads of {where}" if count > 1 else f"one other head of {where}"
    return f"{count} sets of {heads} other heads of {where}" if count > 1 else f"one set of {heads} other heads of {where}"


def _less(probability: float, fall: float) -> float:
    return min(1.0, probability * math.exp(-fall))
