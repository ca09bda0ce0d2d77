"""What heads write and what is lost without them, in words, each number beside that of the control heads."""

import math
from collections.abc import Collection, Sequence

from headroles.core.heads import Head
from headroles.core.outputs.ablation import Ablation, Importance, are_of_same_layers, classify_effect
from headroles.core.outputs.direct_effects import DirectEffects
from headroles.core.records.role_effects import RoleEffect
from headroles.core.text.tokens import inline_text
from headroles.render.wording.catalog import message, plural
from headroles.render.wording.phrases import capitalized, precise_percent, signed


def ablation_sentences(ablation: Ablation) -> tuple[str, ...]:
    """What is lost at the end of the text, over its tokens and on the control text, and what made up for it."""
    sentences = (
        describe_next_token(ablation),
        describe_losses(ablation),
        describe_control_text(ablation),
        _direct_and_total(ablation),
    )
    return tuple(sentence for sentence in sentences if sentence)


def describe_next_token(ablation: Ablation) -> str:
    """What is lost at the end of the text, and what is lost there without control heads."""
    before, after = (precise_percent(share or 0.0) for share in (ablation.top_token.before, ablation.top_token.after))
    lost = plural(
        "Without {head}, the model gives “{token}” {after} instead of {before}.",
        "Without these {count} heads, the model gives “{token}” {after} instead of {before}.",
        len(ablation.heads),
        head=ablation.heads[0].label,
        token=inline_text(ablation.top_token.token),
        after=after,
        before=before,
    )
    return f"{lost} {_beside_controls(ablation)}"


def describe_losses(ablation: Ablation) -> str:
    """How the mean loss of the scored tokens changes, beside the control heads; empty where there are no such tokens."""
    increase = ablation.effect.loss_increase
    if increase is None:
        return ""
    increases = [control.loss_increase or 0.0 for control in ablation.controls]
    if ablation.control_text:
        change = plural(
            "Over the one token after one that calls for the role, the mean loss changes by {change} nats",
            "Over the {count} tokens after one that calls for the role, the mean loss changes by {change} nats",
            len(ablation.scored_positions),
            change=signed(increase),
        )
    else:
        change = plural(
            "Over the one token of the text, the mean loss changes by {change} nats",
            "Over the {count} tokens of the text, the mean loss changes by {change} nats",
            len(ablation.scored_positions),
            change=signed(increase),
        )
    if not increases:
        return f"{change}."
    return message(
        "{change}, without {controls} by {low} to {high}.",
        change=change,
        controls=describe_control_sets(ablation.heads, ablation.control_sets),
        low=signed(min(increases)),
        high=signed(max(increases)),
    )


def describe_control_text(ablation: Ablation) -> str:
    """What the same heads are worth where nothing calls for their role; empty where that was not asked."""
    if (text := ablation.control_text) is None:
        return ""
    return message(
        "With every earlier copy of a token replaced, so that nothing repeats, they take “{token}” from {before} to {after}.",
        token=inline_text(text.top_token.token),
        before=precise_percent(text.top_token.before or 0.0),
        after=precise_percent(text.top_token.after or 0.0),
    )


def describe_gap(ablation: Ablation) -> str:
    """Why the direct effect and the total effect differ, as a clause; empty where they hardly do."""
    if ablation.gap == "less lost":
        return message("less is lost than they write: others stepped in, or had written the same already")
    if ablation.gap == "more lost":
        return message("more is lost than they write themselves: later layers build on what they pass on")
    if ablation.gap == "indirect":
        return message("they do not write this token themselves: what is lost goes through later layers")
    return ""


def _direct_and_total(ablation: Ablation) -> str:
    if not (gap := describe_gap(ablation)):
        return ""
    return message(
        "They write {direct} to its logit themselves, and without them it loses {total:.2f}: {gap}.",
        direct=signed(ablation.direct),
        total=ablation.total,
        gap=gap,
    )


def _beside_controls(ablation: Ablation) -> str:
    drops = [control.logprob_drop for control in ablation.controls]
    if not drops:
        return message("The model has too few other heads to take out instead, so nothing says whether that is much.")
    before = ablation.top_token.before or 0.0
    among = message(
        "Without {controls} it gives it {low} to {high}, {verdict}.",
        controls=describe_control_sets(ablation.heads, ablation.control_sets),
        low=precise_percent(_probability_after(before, max(drops))),
        high=precise_percent(_probability_after(before, min(drops))),
        verdict=_importance_clause(ablation.importance_at_query, len(ablation.heads)),
    )
    if ablation.importance_at_query != "no more than other heads":
        return among
    worst = max(zip(drops, ablation.control_sets))[1]
    return f"{among} {message('Most is lost without {heads}.', heads=', '.join(head.label for head in worst))}"


def _importance_clause(importance: Importance, heads: int) -> str:
    if importance == "matters":
        return plural("so here it matters more than any of these", "so here they matter more than any of these", heads)
    if importance == "no more than other heads":
        return plural("so here it matters no more than others", "so here they matter no more than others", heads)
    if importance == "hardly anything":
        return plural("so here hardly anything depends on it", "so here hardly anything depends on them", heads)
    if importance == "surer without":
        return plural("and the model is surer without it", "and the model is surer without them", heads)
    return message("too few to say whether that is much")


def describe_control_sets(chosen: Collection[Head], sets: Sequence[Collection[Head]]) -> str:
    """`20 sets of 8 other heads of the same layers`.

    Args:
        chosen: the heads that the sets are compared with.
        sets: the control heads, as many in each set.
    """
    if all(are_of_same_layers(chosen, control) for control in sets):
        layers = message("the same layers")
    else:
        layers = message("the same layers, and of others where these have too few,")
    if len(chosen) == 1:
        return plural("one other head of {layers}", "any one of {count} other heads of {layers}", len(sets), layers=layers)
    return plural(
        "one set of {heads} other heads of {layers}",
        "{count} sets of {heads} other heads of {layers}",
        len(sets),
        heads=len(chosen),
        layers=layers,
    )


def describe_direct_effects(effects: DirectEffects) -> str:
    """What heads write to the expected token, or else to the top token, beside what all heads write."""
    target = effects.expected_token or effects.top_token
    why = message("the token that the role foretells") if effects.expected_token else message("the model's top token")
    total = sum(map(sum, target.heads))
    written = plural(
        "{head} writes {effect} to the logit of “{token}”, {why}; all heads together write {total}, and the rest of the model "
        "{rest}.",
        "These {count} heads write {effect} to the logit of “{token}”, {why}; all heads together write {total}, and the rest "
        "of the model {rest}.",
        len(effects.heads),
        head=", ".join(head.label for head in effects.heads),
        effect=signed(effects.total_effect(target)),
        token=inline_text(target.token),
        why=why,
        total=signed(total),
        rest=signed(target.logit - total),
    )
    controls = effects.control_effects(target)
    if not controls:
        return written
    beside = message(
        "{controls} write {low} to {high}.",
        controls=capitalized(describe_control_sets(effects.heads, effects.control_sets)),
        low=signed(min(controls)),
        high=signed(max(controls)),
    )
    return f"{written} {beside}"


def describe_role_effect(effect: RoleEffect) -> str:
    """What a model loses on probe texts without a role's heads, with its interval and beside control heads."""
    which = message("tokens that the role foretells") if effect.tokens == "called" else message("all tokens")
    low, high = effect.interval
    change = plural(
        "On {texts} probe texts, without its head, the mean loss of {which} changes by {change} nats ({low} to {high})",
        "On {texts} probe texts, without its {count} heads, the mean loss of {which} changes by {change} nats ({low} to {high})",
        effect.heads,
        texts=effect.texts,
        which=which,
        change=signed(effect.loss_increase),
        low=signed(low),
        high=signed(high),
    )
    if not effect.controls:
        return message("{change}; there are no other heads to compare with.", change=change)
    beside = message(
        "{change}, without {sets} sets of as many others, of the same layers where these have enough, by {low} to {high}: "
        "{verdict}.",
        change=change,
        sets=len(effect.controls),
        low=signed(min(effect.controls)),
        high=signed(max(effect.controls)),
        verdict=message(classify_effect(effect.loss_increase, effect.controls)),
    )
    if effect.control_text is None:
        return beside
    return f"{beside} {message('Where nothing repeats, they are worth {loss}.', loss=signed(effect.control_text))}"


def _probability_after(probability: float, drop: float) -> float:
    """A probability whose logarithm drops by so much, in nats."""
    return min(1.0, probability * math.exp(-drop))
