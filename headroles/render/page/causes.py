"""What heads write and what is lost without them -> HTML: the two upper rungs for the heads that a visitor asks about."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from headroles.core.outputs.ablation import ABLATION_METHODS, Ablation, AblationMethod, Importance
from headroles.core.outputs.direct_effects import DirectEffects
from headroles.core.outputs.next_tokens import NextToken
from headroles.core.readings.head_readings import RoleReading
from headroles.core.text.tokens import inline_text, visible_text
from headroles.render.html import render_template
from headroles.render.wording.catalog import deferred, message
from headroles.render.wording.causes import ablation_sentences, describe_direct_effects, describe_role_effect
from headroles.render.wording.phrases import precise_percent, signed
from headroles.render.wording.role_states import describe_measured_role

READ = 3  # tokens that are named of those that heads read
FULL = 3.0  # nats at which a token that got harder is marked as strongly as can be
# what each method puts in place of a head's output, on its button and in a sentence
IN_PLACE: dict[AblationMethod, tuple[str, str]] = {
    "zero": (deferred("nothing"), deferred("nothing stands in its place")),
    "mean": (deferred("its mean"), deferred("its average on ordinary sentences stands in its place")),
    "resample": (deferred("another text's"), deferred("what it puts out on another text stands in its place")),
    "null": (deferred("without the role"), deferred("its pattern is kept, but for what the role adds to it")),
}


# the uppermost rung in two words, for a card
IN_SHORT: dict[Importance, str] = {
    "matters": deferred("● yes"),
    "no more than other heads": deferred("○ no more than others"),
    "hardly anything": deferred("○ hardly"),
    "surer without": deferred("○ surer without"),
    "no control": deferred("– untold"),
}


class HeadEffects(NamedTuple):
    """What was asked of some heads on one text.

    `out` says which, as the address does; `looks` is of their role, if any; `writes` is None where nobody asked.
    """

    out: str
    looks: RoleReading | None
    direct_effects: DirectEffects | None
    ablation: Ablation


@dataclass(frozen=True)
class Dot:
    """One set of heads on the line of effects: where it lies, 0 to 100, and its text."""

    at: float
    told: str


@dataclass(frozen=True)
class TokenRow:
    """A next token with its chances before and without the heads."""

    token: str
    before: str
    after: str


@dataclass(frozen=True)
class Marked:
    """A token of the text with how much harder it got, 0 to 1, and its losses in words."""

    token: str
    harder: float
    told: str


def render_effects(causes: HeadEffects) -> str:
    """Looks, writes, matters: each with what it is held against, and what was not looked at said to be."""
    ablation, writes = causes.ablation, causes.direct_effects
    dots, mine, zero = _dots(ablation)
    return render_template(
        "causes",
        out=causes.out,
        role=causes.looks.role if causes.looks else None,
        heads=[head.label for head in ablation.heads],
        looks=describe_measured_role(causes.looks, ablation.tokens) if causes.looks else "",
        state=causes.looks.state if causes.looks else "",
        published=describe_role_effect(causes.looks.effect) if causes.looks and causes.looks.effect else "",
        writes=writes,
        written_sentence=describe_direct_effects(writes) if writes else "",
        read=_read(writes) if writes else "",
        said=ablation_sentences(ablation),
        matters=message(IN_SHORT["matters" if ablation.matters else ablation.importance_at_query]),
        written=signed(writes.total_effect(writes.expected_token or writes.top_token)) if writes else "",
        held=_held(ablation, writes),
        at_the_end=ablation.importance_at_query,
        in_the_text=ablation.importance_in_text,
        dots=dots,
        mine=mine,
        zero=zero,
        grown=[
            (ablation.heads[: round((at + 1) * len(ablation.heads) / len(ablation.cumulative))][-1].label, effect.logprob_drop)
            for at, effect in enumerate(ablation.cumulative)
        ],
        before=_rows(ablation.before),
        after=_rows(ablation.after),
        tokens=_tokens(ablation),
        methods=[
            (method, *map(message, IN_PLACE[method])) for method in ABLATION_METHODS if method != "null" or _can_lose_role(causes)
        ],
        method=ablation.method,
        visible=visible_text,
    )


def _held(ablation: Ablation, writes: DirectEffects | None) -> str:
    """Both upper rungs' numbers and what they are held against, in one line for the head's page."""
    sentences = []
    if writes:
        target = writes.expected_token or writes.top_token
        effect, token, controls = signed(writes.total_effect(target)), inline_text(target.token), writes.control_effects(target)
        if controls:
            sentences.append(
                message(
                    "Writes {effect} to “{token}” ({low} to {high} by other sets).",
                    effect=effect,
                    token=token,
                    low=signed(min(controls)),
                    high=signed(max(controls)),
                )
            )
        else:
            sentences.append(message("Writes {effect} to “{token}”.", effect=effect, token=token))
    drop, drops = ablation.effect.logprob_drop, [effect.logprob_drop for effect in ablation.controls]
    if drops:
        most = message(
            "Without: {drop:.2f} nats lost at the end ({most:.2f} at most without other sets).", drop=drop, most=max(drops)
        )
        sentences.append(most)
    else:
        sentences.append(message("Without: {drop:.2f} nats lost at the end.", drop=drop))
    return " ".join(sentences)


def _can_lose_role(causes: HeadEffects) -> bool:
    return causes.looks is not None and causes.looks.role.requires_repetition


def _read(writes: DirectEffects) -> str:
    """Because of which tokens these heads write what they write; empty where it is next to nothing."""
    by_key = writes.expected_token_by_key if writes.expected_token else writes.by_key
    most = sorted(range(len(by_key)), key=lambda key: -abs(by_key[key]))[:READ]
    read = [f"“{inline_text(writes.tokens[key])}” ({key + 1}) {signed(by_key[key])}" for key in most if abs(by_key[key]) >= 0.05]
    return message("By the token that they read: {tokens}.", tokens=", ".join(read)) if read else ""


def _dots(ablation: Ablation) -> tuple[list[Dot], Dot, float]:
    """The control sets and the heads themselves on one line of what the top token's log-probability loses, and where 0 is."""
    falls = [control.logprob_drop for control in ablation.controls]
    low, high = min([0.0, ablation.effect.logprob_drop, *falls]), max([0.1, ablation.effect.logprob_drop, *falls])

    def place(fall: float) -> float:
        return 2 + 96 * (fall - low) / (high - low)

    controls = [
        Dot(place(effect.logprob_drop), f"{', '.join(head.label for head in heads)}: {signed(effect.logprob_drop)}")
        for heads, effect in zip(ablation.control_sets, ablation.controls)
    ]
    return controls, Dot(place(ablation.effect.logprob_drop), f"{signed(ablation.effect.logprob_drop)}"), place(0.0)


def _rows(tokens: Sequence[NextToken]) -> list[TokenRow]:
    return [TokenRow(visible_text(token.token), _chance(token.before), _chance(token.after)) for token in tokens]


def _chance(share: float | None) -> str:
    return message("unlikely") if share is None else precise_percent(share)


def _tokens(ablation: Ablation) -> list[Marked]:
    harder = ablation.loss_increases
    marked = []
    for at, token in enumerate(ablation.tokens):
        loss = message("the first token, which nothing foretells")
        if at:
            before, after = ablation.losses_before[at - 1], ablation.losses_after[at - 1]
            loss = message("loss {before:.2f} before, {after:.2f} without these heads", before=before, after=after)
        marked.append(Marked(visible_text(token), min(harder.get(at, 0.0) / FULL, 1.0), loss))
    return marked
