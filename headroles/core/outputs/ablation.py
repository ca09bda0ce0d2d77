"""Effects of ablations: what is lost without some heads, and where that lies among control heads of the same layers."""

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from headroles.core.display import NotebookRepr
from headroles.core.heads import Head
from headroles.core.outputs.next_tokens import NextToken

AblationMethod = Literal["zero", "mean", "resample", "null"]
ABLATION_METHODS: tuple[AblationMethod, ...] = get_args(AblationMethod)
Importance = Literal["matters", "no more than other heads", "hardly anything", "surer without", "no control"]
# less is lost than the heads write, or more; or they do not write the token themselves
Gap = Literal["less lost", "more lost", "indirect"]
CONTROLS = (
    20  # sets of other heads; that the heads' own effect is the largest of 21 has a chance of 1 in 21 if they are no different
)
FEWEST_CONTROLS = 5
LEAST_EFFECT = 0.1  # nats: a probability falls by a tenth of itself; below it nobody would see a difference
TRIES = 50  # draws for each set that is wanted, before there are taken to be no more different ones


@dataclass(frozen=True)
class AblationEffect:
    """What is lost at one token, and over several.

    Attributes:
        logprob_drop: by how much the log-probability of the top token drops at the query, in nats.
        loss_increase: by how much the mean loss of the scored tokens increases, in nats; None where there are none.
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
        heads: in the order in which they were ablated one by one.
        role: name of the role that they stand for; empty for a set that a visitor chose.
        method, seed: how their outputs were replaced, and what other text and other heads were drawn by.
        query: the token after which the next one was looked at.
        top_token: the model's likeliest next token before.
        before, after: the likeliest ones before, and those after, each with both probabilities where both are known.
        losses_before, losses_after: of every token of the text but the first, in nats.
        scored_positions: the tokens whose loss counts: those that follow a token that calls for the role, or else all.
        effect: of all these heads together.
        cumulative: the effect of the first head, of the first two, and so on.
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
        return classify_effect(self.effect.logprob_drop, [control.logprob_drop for control in self.controls])

    @property
    def importance_in_text(self) -> Importance | None:
        """Whether they matter to the scored tokens of the text; None where there are none."""
        if self.effect.loss_increase is None:
            return None
        return classify_effect(self.effect.loss_increase, [control.loss_increase or 0.0 for control in self.controls])

    @property
    def matters(self) -> bool:
        """Whether the heads matter at the end of the text or over its tokens."""
        return "matters" in (self.importance_at_query, self.importance_in_text)

    @property
    def loss_increases(self) -> Mapping[int, float]:
        """The tokens that the model predicts worse without the heads, by position, with the increase of their loss in nats."""
        increases = (after - before for before, after in zip(self.losses_before, self.losses_after))
        return {at: increase for at, increase in enumerate(increases, start=1) if increase >= LEAST_EFFECT}

    @property
    def gap(self) -> Gap | None:
        """How the total effect differs from the direct one; None where it hardly does."""
        if max(abs(self.direct), abs(self.total)) < LEAST_EFFECT or abs(self.direct - self.total) <= abs(self.direct) / 4:
            return None
        if self.direct <= 0:
            return "indirect"
        return "less lost" if self.total < self.direct else "more lost"


def classify_effect(effect: float, controls: Sequence[float]) -> Importance:
    """How important heads are by an effect in nats and the same effect of control heads."""
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
