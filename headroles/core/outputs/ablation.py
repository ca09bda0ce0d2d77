"""What is lost without some heads: effects of knock-outs, and where they lie among those of other heads of the same layers."""

import math
import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from headroles.core.display import NotebookRepr
from headroles.core.heads import Head
from headroles.core.outputs.next_tokens import NextToken
from headroles.core.text.phrases import fine_percent, signed
from headroles.core.text.tokens import in_a_sentence

Method = Literal["zero", "mean", "resample", "null"]
METHODS: tuple[Method, ...] = get_args(Method)
Matters = Literal["matters", "no more than other heads", "hardly anything", "surer without", "no control"]
CONTROLS = (
    20  # sets of other heads; that the heads' own effect is the largest of 21 has a chance of 1 in 21 if they are no different
)
FEWEST_CONTROLS = 5
LEAST_EFFECT = 0.1  # nats: a probability falls by a tenth of itself; below it nobody would see a difference
TRIES = 50  # draws for each set that is wanted, before there are taken to be no more different ones


@dataclass(frozen=True)
class Effect:
    """What is lost at one token and over some.

    Attributes:
        fall: of the logarithm of the probability of the token that the model favoured before, at the query; nats.
        rise: of the mean loss of the tokens that were looked at; nats; None where there were none.
    """

    fall: float
    rise: float | None


@dataclass(frozen=True)
class ControlText:
    """The text with every earlier copy of a token replaced by tokens that stand nowhere else, so that nothing in it repeats."""

    tokens: tuple[str, ...]
    favourite: NextToken
    effect: Effect


@dataclass(frozen=True)
class KnockOut(NotebookRepr):
    """A text read without some heads.

    Attributes:
        heads: in the order in which they were taken out one by one.
        role: name of the role that they stand for; empty for a set that somebody picked.
        method, seed: how their outputs were replaced, and what other text and other heads were drawn by.
        query: the token after which the next one was looked at.
        favourite: the model's likeliest next token before.
        before, after: the likeliest ones before, and those after, each with both probabilities where both are known.
        losses_before, losses_after: of every token of the text but the first, in nats.
        looked_at: the tokens whose loss makes the rise: those that follow a token that calls for the role, else all.
        effect: of all these heads together.
        grown: of the first, of the first two, and so on.
        control_sets, controls: as many other heads of the same layers, drawn at random, and the effect of each such set.
        control_text: the same heads out of a text that does not call for the role; None for a set without a role.
        direct, total: what the heads write themselves to the favourite's logit, and what it loses without them; in logits,
            each less the mean of all words.
    """

    model: str
    prompt: str
    tokens: tuple[str, ...]
    heads: tuple[Head, ...]
    role: str
    method: Method
    seed: int
    query: int
    favourite: NextToken
    before: tuple[NextToken, ...]
    after: tuple[NextToken, ...]
    losses_before: tuple[float, ...]
    losses_after: tuple[float, ...]
    looked_at: tuple[int, ...]
    effect: Effect
    grown: tuple[Effect, ...]
    control_sets: tuple[tuple[Head, ...], ...]
    controls: tuple[Effect, ...]
    control_text: ControlText | None
    direct: float
    total: float

    @property
    def at_the_end(self) -> Matters:
        """Whether the heads matter to what comes next."""
        return judge(self.effect.fall, [control.fall for control in self.controls])

    @property
    def in_the_text(self) -> Matters | None:
        """Whether they matter to the tokens of the text that were looked at; None where there are none."""
        if self.effect.rise is None:
            return None
        return judge(self.effect.rise, [control.rise or 0.0 for control in self.controls])

    @property
    def matters(self) -> bool:
        return "matters" in (self.at_the_end, self.in_the_text)

    @property
    def harder(self) -> Mapping[int, float]:
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


def judge(effect: float, controls: Sequence[float]) -> Matters:
    """Where an effect lies among those of other heads, in words."""
    if effect <= -LEAST_EFFECT:
        return "surer without"
    if effect < LEAST_EFFECT:
        return "hardly anything"
    if len(controls) < FEWEST_CONTROLS:
        return "no control"
    return "matters" if effect > max(controls) else "no more than other heads"


SPARE = 3  # heads more than are needed, so that sets differ


def control_sets(
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


def sentences(knock_out: KnockOut) -> tuple[str, ...]:
    """All that is said of it: at the end of the text, over its tokens, on the control text, and of what stepped in."""
    gap = f"They write {signed(knock_out.direct)} to its logit themselves, and without them it loses {knock_out.total:.2f}"
    said = (
        told(knock_out),
        told_of_text(knock_out),
        told_of_control_text(knock_out),
        f"{gap}: {knock_out.gap}." if knock_out.gap else "",
    )
    return tuple(sentence for sentence in said if sentence)


def told(knock_out: KnockOut) -> str:
    """What is lost at the end of the text, against which controls, in two sentences."""
    heads, word = len(knock_out.heads), in_a_sentence(knock_out.favourite.token)
    who = f"these {heads} heads" if heads > 1 else knock_out.heads[0].label
    before, after = (fine_percent(share or 0.0) for share in (knock_out.favourite.before, knock_out.favourite.after))
    return f"Without {who}, the model gives “{word}” {after} instead of {before}. {_among(knock_out)}"


def told_of_text(knock_out: KnockOut) -> str:
    """The same for the tokens of the text that were looked at, in one sentence; empty where there are none."""
    rise, verdict = knock_out.effect.rise, knock_out.in_the_text
    if rise is None or verdict is None:
        return ""
    which = f"the {len(knock_out.looked_at)} tokens" if len(knock_out.looked_at) > 1 else "the one token"
    called = " after one that calls for the role" if knock_out.control_text else " of the text"
    said = f"Over {which}{called}, the mean loss changes by {signed(rise)} nats"
    rises = [control.rise or 0.0 for control in knock_out.controls]
    return (
        f"{said}, without {sets_told(knock_out.heads, knock_out.control_sets)} by {signed(min(rises))} to {signed(max(rises))}."
        if rises
        else f"{said}."
    )


def told_of_control_text(knock_out: KnockOut) -> str:
    """What the same heads are worth where nothing calls for their role, in one sentence; empty where that was not looked at."""
    if (text := knock_out.control_text) is None:
        return ""
    before, after = (fine_percent(share or 0.0) for share in (text.favourite.before, text.favourite.after))
    word = in_a_sentence(text.favourite.token)
    return f"With every earlier copy of a token replaced, so that nothing repeats, they take “{word}” from {before} to {after}."


def _among(knock_out: KnockOut) -> str:
    controls = [control.fall for control in knock_out.controls]
    is_one = len(knock_out.heads) == 1
    if not controls:
        return "The model has too few other heads to take out instead, so nothing says whether that is much."
    least, most = (fine_percent(_less(knock_out.favourite.before or 0.0, fall)) for fall in (max(controls), min(controls)))
    they, them = ("it matters", "it") if is_one else ("they matter", "them")
    verdict = {
        "matters": f"so here {they} more than any of these",
        "no more than other heads": f"so here {they} no more than others",
        "hardly anything": f"so here hardly anything depends on {them}",
        "surer without": f"and the model is surer without {them}",
        "no control": "too few to say whether that is much",
    }[knock_out.at_the_end]
    said = f"Without {sets_told(knock_out.heads, knock_out.control_sets)} it gives it {least} to {most}, {verdict}."
    if knock_out.at_the_end != "no more than other heads":
        return said
    worst = max(zip(controls, knock_out.control_sets))[1]
    return f"{said} Most is lost without {', '.join(head.label for head in worst)}."


def sets_told(chosen: Collection[Head], sets: Sequence[Collection[Head]]) -> str:
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
