"""What the readings say, in words: the sentences that page, image descriptions and API share."""

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from headroles.core.comparison import MIN_CHANGE, Change, HeadChange, ModelComparison, PromptComparison, RoleChange
from headroles.core.readings import Analysis, HeadReading, HeadView, RoleReading, State
from headroles.core.registry import ModelInfo
from headroles.core.roles import OTHER, RESTING, RESTING_PLACE, RESTING_ROLE, Role, get_measured_role
from headroles.core.words import article, listed, percent
from headroles.jobs import Progress

MARKS: Mapping[State, str] = MappingProxyType(
    {"active": "●", "not active": "○", "not applicable": "–", "in the weights": "◆", "not scored": "–", "not a role": "–"}
)
CHANGE_MARKS: Mapping[Change, str] = MappingProxyType(
    {"turns on": "▲", "turns off": "▼", "stays on": MARKS["active"], "stays off": MARKS["not active"]}
)
ON_EVERY_TEXT = "the same on every text"


def state_of(reading: HeadReading) -> State:
    """What a head does in a role, on a text that could show it."""
    if reading.activation is None:
        return "in the weights"
    return "active" if reading.is_active else "not active"


def state_shown(reading: RoleReading) -> State:
    """What a role does on a text, where its reason stands beside it and says whether the text could show it at all."""
    return "not active" if reading.state == "not applicable" else reading.state


def change_shown(role: RoleChange) -> tuple[str, str]:
    """A mark and words for what a role does from text A to text B."""
    state = role.a.state
    if state == "in the weights":
        return MARKS[state], ON_EVERY_TEXT
    return (MARKS[state], state) if state == "not scored" else (CHANGE_MARKS[role.change], role.change)


def describe_head(view: HeadView) -> str:
    """What this head mainly does in the model, and what it does on this text."""
    return f"{_nature(view)} {_here(view)}"


def describe_source(analysis: Analysis) -> str:
    """Where the roles of this analysis come from."""
    source = analysis.source
    kind = {
        "embedded": "record that ships with headroles",
        "analysed here": "analysed here, not published",
        "local": "from this server's own records",
        "published": f"published in {source.dataset}, commit {source.commit[:10]}",
        "cached": f"cached {_ago(time.time() - source.confirmed)} from {source.dataset}, commit {source.commit[:10]}",
    }[source.kind]
    weights = f", weights dequantised from {source.quantization}" if source.quantization else ""
    return (
        f"Roles of {analysis.model}: {kind}, measured {source.analysis_date} with {source.reader} "
        f"on revision {source.revision[:24]}{weights}; activations read from your text through PyVene."
        f"{source.note and ' ' + source.note} {describe_layers(analysis)}"
    ).rstrip()


def describe_layers(analysis: Analysis) -> str:
    """Which layers have no pattern, and that the heads have a learned sink; empty where all is as usual."""
    said = []
    if analysis.other_layers:
        kinds = listed(sorted(set(analysis.other_layers.values())))
        count = len(analysis.heads.layers)
        have = "have" if count > 1 else "has"
        said.append(f"{count} of {analysis.num_layers} layers {have} attention patterns; the others ({kinds}) have none.")
    if analysis.has_sink:
        said.append(
            "Each head has a learned sink beside the tokens: rows of a pattern sum to less than 1, and the rest went there. "
            f"{RESTING_ROLE.display_name} counts it."
        )
    return " ".join(said)


def describe_sink(view: HeadView) -> str:
    """What a head's learned sink took on this text; empty without one."""
    if not view.has_sink:
        return ""
    share = percent(sum(view.sink) / len(view.sink))
    return f"Rows sum to less than 1: on average {share} of the attention went to the head's learned sink, which is no token."


def describe_model(info: ModelInfo) -> str:
    """A model's size and terms, in one line."""
    size = f"{info.parameters / 1e6:.1f}" if info.parameters < 1e7 else f"{info.parameters / 1e6:,.0f}"
    gated = "; gated, it needs an account on the Hub that accepted its licence" if info.gated else ""
    return f"{info.num_layers} layers of {info.num_heads} heads, {size} million parameters, licence {info.license}{gated}."


def describe_progress(progress: Progress, seconds: float) -> str:
    """What a job does, how far it is after that many seconds, and how long it will take still."""
    note = f"{progress.note[:1].upper()}{progress.note[1:]}: {progress.fraction:.0%}"
    if progress.fraction < 0.05 or seconds < 2:
        return f"{note}."
    left = seconds * (1 - progress.fraction) / progress.fraction
    if left < 5:
        return f"{note}, a few seconds left."
    return f"{note}, about {left / 60:.0f} minutes left." if left >= 90 else f"{note}, about {left:.0f} seconds left."


def describe_prompt_comparison(comparison: PromptComparison) -> str:
    """Which roles turn on or off from text A to text B of one model, and which head changes most."""
    if comparison.a.prompt == comparison.b.prompt:
        return "A and B are the same text, so nothing changes."
    roles = {
        change: [role.role.display_name for role in comparison.roles if role.change == change]
        for change in ("turns on", "turns off", "stays on")
    }
    turns = [_do(roles[change], change) for change in ("turns on", "turns off") if roles[change]]
    clauses = [" and ".join(turns) or "no role turns on or off"]
    if roles["stays on"]:
        clauses.append(_do(roles["stays on"], "stays on"))
    elif not turns:
        clauses.append("none is active on either text")
    if not comparison.heads:
        return f"From A to B, {'; '.join(clauses)}. No head's activation changes by {MIN_CHANGE * 100:.0f} points or more."
    return f"From A to B, {'; '.join(clauses)}. {_largest_change(comparison, comparison.heads[0])}"


def describe_model_comparison(comparison: ModelComparison) -> str:
    """How many heads of each of two models have a named role, and which roles are active on their common text."""
    measured = [role for role in comparison.roles if role.role != OTHER]
    heads_a = sum(role.a.total for role in comparison.roles)
    heads_b = sum(role.b.total for role in comparison.roles)
    named_a, named_b = sum(role.a.total for role in measured), sum(role.b.total for role in measured)
    both = [role.role.display_name for role in measured if role.active_a and role.active_b]
    only_a = [role.role.display_name for role in measured if role.active_a and not role.active_b]
    only_b = [role.role.display_name for role in measured if role.active_b and not role.active_a]
    groups = [(both, "in both"), (only_a, "in A alone"), (only_b, "in B alone")]
    here = [f"{_do(names, 'is active')} {where}" for names, where in groups if names]
    return (
        f"{named_a} of A's {heads_a} heads ({percent(named_a / heads_a)}) and {named_b} of B's {heads_b} "
        f"({percent(named_b / heads_b)}) have a named role. "
        f"On this text {'; '.join(here) or 'no role is active in either'}."
    )


def _ago(seconds: float) -> str:
    """`3 days ago`."""
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if (count := int(seconds // length)) >= 1:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "a moment ago"


def _nature(view: HeadView) -> str:
    label, primary, first = view.head.label, view.primary, view.readings[RESTING_ROLE.name]
    if view.main is None:
        return f"{label} reaches no role's threshold in this model."
    rests = primary.is_content and (first.score or 0.0) >= RESTING
    rest = f"; it rests on {_resting_place(view)} when it has nothing to do" if rests else ""
    return f"{label} is mainly {article(primary.display_name.lower())} head (score {view.main.score:.2f}){rest}."


def _here(view: HeadView) -> str:
    active = view.played()
    content = [role for role in active if role.is_content]
    first = view.readings[RESTING_ROLE.name].activation or 0.0
    role = view.role if view.main is None else view.primary
    if view.primary in active:
        return f"On this text it is doing that: {_measure(view.primary, view)}."
    if content:
        doing = max(content, key=lambda role: view.readings[role.name].shown)
        return f"On this text it plays {doing.display_name.lower()}: {_measure(doing, view)}."
    if first >= RESTING:
        return f"On this text it rests: {percent(first)} of its attention lies on {_resting_place(view)}."
    if active:
        return f"On this text {_measure(active[0], view)}."
    if role.name not in view.readings:
        return "On this text it plays none of the named roles either."
    if view.readings[role.name].activation is None:
        return f"That stands in its weights, whatever the text: {_measure(role, view)}."
    refusal = "it is not doing that" if role == view.primary else f"it does not play {role.display_name.lower()}"
    return f"On this text {refusal}: {_measure(role, view)}."


def _resting_place(view: HeadView) -> str:
    return f"{RESTING_PLACE} or the learned sink" if view.has_sink else RESTING_PLACE


def _measure(role: Role, view: HeadView) -> str:
    """The number behind a role, as a clause."""
    reading = view.readings[role.name]
    return get_measured_role(role).measure_in(view.has_sink).phrase(reading.score, reading.activation, reading.chance)


def _largest_change(comparison: PromptComparison, change: HeadChange) -> str:
    name = change.role.name
    in_a = percent(change.a.shown) if comparison.a.heads.applicable[name] else "not applicable"
    in_b = percent(change.b.shown) if comparison.b.heads.applicable[name] else "not applicable"
    return f"{change.a.head.label} changes most: {change.role.display_name}, {in_a} in A and {in_b} in B."


def _do(names: Sequence[str], verb: str) -> str:
    """`Induction turns on`, `Induction and Diffuse turn on`; the verb is given as for one."""
    if len(names) == 1:
        return f"{names[0]} {verb}"
    word, rest = verb.split(" ", 1)
    plural = "are" if word == "is" else word.removesuffix("s")
    return f"{listed(names)} {plural} {rest}"
