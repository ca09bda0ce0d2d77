"""What the readings say, in words: the sentences that page, image descriptions and API share."""

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from headroles.core.readings.analysis import Analysis, HeadView, RecordSource
from headroles.core.readings.comparison import MIN_CHANGE, Change, HeadChange, ModelComparison, PromptComparison, RoleChange
from headroles.core.readings.head_description import A_LITTLE, describe_head_in_model, resting_place
from headroles.core.readings.head_readings import State
from headroles.core.registry import ModelInfo
from headroles.core.roles.roles import (
    OTHER,
    RESTING,
    RESTING_ROLE,
    MeasuredRole,
    Role,
    get_measured_role,
    measured_roles,
)
from headroles.core.text.phrases import listed, percent
from headroles.jobs import Progress
from headroles.render.wording.bars import figures

MARKS: Mapping[State, str] = MappingProxyType(
    {
        "seen": "●",
        "not seen": "○",
        "not applicable": "–",
        "as usual": "≈",
        "unusual here": "≠",
        "scored offline": "◆",
        "not scored": "–",
        "not a role": "–",
    }
)
CHANGE_MARKS: Mapping[Change, str] = MappingProxyType(
    {"turns on": "▲", "turns off": "▼", "stays on": MARKS["seen"], "stays off": MARKS["not seen"]}
)
ON_EVERY_TEXT = "the same on every text"
NOT_CALIBRATED = (
    "This record has no calibration: what is seen is judged by the strictest that another model's says, and nothing tells "
    "what is usual; analysing the model again adds it."
)
NO_PROMPT = "None of the texts that are made to show it does so on this model."
TOLD: frozenset[State] = frozenset({"seen", "not seen", "not applicable"})  # of roles that turn on and off


def change_shown(role: RoleChange) -> tuple[str, str]:
    """A mark and words for what a role does from text A to text B."""
    a, b = role.a.state, role.b.state
    if a == "scored offline":
        return MARKS[a], ON_EVERY_TEXT
    if a == "not scored":
        return MARKS[a], a
    if "unusual here" in (a, b) or "as usual" in (a, b):
        return (MARKS[a], f"{a} on both") if a == b else (MARKS["unusual here"], f"{a}, then {b}")
    return CHANGE_MARKS[role.change], role.change


def describe_head(view: HeadView) -> str:
    """What this head mainly does in the model, and what it does on this text."""
    scores = {name: reading.score for name, reading in view.readings.items()}
    return f"{describe_head_in_model(view.head, view.primary, scores, view.has_sink)} {_here(view)}"


def describe_source(analysis: Analysis) -> str:
    """Where the roles of this analysis come from."""
    source = analysis.source
    weights = f", weights dequantised from {source.quantization}" if source.quantization else ""
    return (
        f"Roles of {analysis.model}: {tell_kind(source)}, measured {source.analysis_date} with {source.reader} "
        f"on revision {source.revision[:24]}{weights}; activations read from your text through PyVene."
        f"{'' if source.is_calibrated else ' ' + NOT_CALIBRATED}{source.note and ' ' + source.note} {describe_layers(analysis)}"
    ).rstrip()


def tell_kind(source: RecordSource, thing: str = "record") -> str:
    """Where a record, or another thing, comes from."""
    return {
        "embedded": f"{thing} that ships with headroles",
        "analysed here": "analysed here, not published",
        "local": "from this server's own records",
        "published": f"published in {source.dataset}, commit {source.commit[:10]}",
        "cached": f"cached {_ago(time.time() - source.confirmed)} from {source.dataset}, commit {source.commit[:10]}",
    }[source.kind]


def describe_origin(source: RecordSource | None) -> str:
    """What made the numbers of a head, for who cites it; empty where nobody says."""
    if source is None:
        return ""
    published = f"dataset {source.dataset} at commit {source.commit}"
    where = {
        "embedded": "record that ships with headroles",
        "analysed here": "record that is not published",
        "local": "record of this server's own",
        "published": published,
        "cached": published,
    }[source.kind]
    when = f"Scores of {source.analysis_date} by {source.reader} on revision {source.revision}"
    return f"{when}, {where}; attention read through PyVene."


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
    told = [role for role in comparison.roles if {role.a.state, role.b.state} <= TOLD]
    roles = {
        change: [role.role.display_name for role in told if role.change == change]
        for change in ("turns on", "turns off", "stays on")
    }
    turns = [_do(roles[change], change) for change in ("turns on", "turns off") if roles[change]]
    clauses = [" and ".join(turns) or "no role turns on or off"]
    if roles["stays on"]:
        clauses.append(_do(roles["stays on"], "stays on"))
    elif not turns:
        clauses.append("none is seen on either text")
    for reading, where in ((lambda role: role.a, "A"), (lambda role: role.b, "B")):
        unusual = [role.role.display_name for role in comparison.roles if reading(role).is_unusual]
        if unusual:
            clauses.append(f"{_do(unusual, 'is unusual')} in {where}")
    if not comparison.heads:
        return f"From A to B, {'; '.join(clauses)}. No head's evidence changes by {MIN_CHANGE * 100:.0f} points or more."
    return f"From A to B, {'; '.join(clauses)}. {_largest_change(comparison.heads[0])}"


def describe_model_comparison(comparison: ModelComparison) -> str:
    """How many heads of each of two models have a named role, and which roles are active on their common text."""
    measured = [role for role in comparison.roles if role.role != OTHER]
    heads_a = sum(role.a.total for role in comparison.roles)
    heads_b = sum(role.b.total for role in comparison.roles)
    named_a, named_b = sum(role.a.total for role in measured), sum(role.b.total for role in measured)
    seen_a, seen_b = (
        [role.role.display_name for role in measured if side.role(role.role).state == "seen"]
        for side in (comparison.a, comparison.b)
    )
    groups = [
        ([name for name in seen_a if name in seen_b], "in both"),
        ([name for name in seen_a if name not in seen_b], "in A alone"),
        ([name for name in seen_b if name not in seen_a], "in B alone"),
    ]
    here = [f"{_do(names, 'is seen')} {where}" for names, where in groups if names]
    return (
        f"{named_a} of A's {heads_a} heads ({percent(named_a / heads_a)}) and {named_b} of B's {heads_b} "
        f"({percent(named_b / heads_b)}) have a named role. "
        f"On this text {'; '.join(here) or 'no role that a text calls for is seen in either'}."
    )


def _ago(seconds: float) -> str:
    """`3 days ago`."""
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if (count := int(seconds // length)) >= 1:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "a moment ago"


def _here(view: HeadView) -> str:
    seen = [role for role in measured_roles() if view.readings[role.name].evidence and view.readings[role.name].is_active]
    said = [_seen(role, view) for role in seen]
    looked_for = view.role if view.role.name in view.readings else None
    if looked_for is not None and looked_for not in seen:
        said.append(_not_seen(get_measured_role(looked_for), view))
    rest = view.readings[RESTING_ROLE.name]
    if looked_for != RESTING_ROLE and not seen and (rest.activation or 0.0) >= RESTING:
        said.append(
            f"On this text it rests: {percent(rest.activation or 0.0)} of its attention lies on {resting_place(view.has_sink)}."
        )
    if not said:
        said.append("On this text it is seen in none of the roles that a text calls for.")
    return " ".join(said)


def _seen(role: MeasuredRole, view: HeadView) -> str:
    reading, name = view.readings[role.name], role.display_name.lower()
    where = reading.describe_evidence(view.eligible_counts.get(role.name, 0), view.tokens)
    if reading.score is not None and reading.score < role.threshold * A_LITTLE:
        return (
            f"On this text its strong cells coincide with those of {name}, {where}; offline it scores {reading.score:.2f} there."
        )
    return f"On this text it is seen doing {name}, {where}."


def _not_seen(role: MeasuredRole, view: HeadView) -> str:
    reading, name = view.readings[role.name], role.display_name.lower()
    if reading.activation is None:
        return f"{role.measure.offline}: {_measure(role, view)}."
    if not reading.can_show:
        return f"Nothing on this text calls for {name}: {role.why_inactive}"
    if reading.usual is not None:
        low, high = (percent(share) for share in reading.usual)
        what = "far from usual" if reading.is_unusual else "as usual"
        return f"On this text {_measure(role, view)}: {what} ({low} to {high} on nine of ten ordinary texts)."
    if not role.measure.is_triggered:
        return f"On this text {_measure(role, view)}."
    place = reading.evidence[0]
    instead = place.describe_most_attended(view.tokens)
    most = f"the most it shows is {place.describe(view.tokens)}{instead and f'; {instead}'}"
    return f"On this text it is not seen doing {name}: {most}."


def _measure(role: Role, view: HeadView) -> str:
    """The number behind a role, as a clause."""
    reading = view.readings[role.name]
    return get_measured_role(role).measure_in(view.has_sink).phrase(reading.score, reading.activation, reading.chance)


def _largest_change(change: HeadChange) -> str:
    in_a, in_b = (figures(reading) for reading in (change.a, change.b))
    return f"{change.a.head.label} changes most: {change.role.display_name}, {in_a} in A and {in_b} in B."


def _do(names: Sequence[str], verb: str) -> str:
    """`Induction turns on`, `Induction and Diffuse turn on`; the verb is given as for one."""
    if len(names) == 1:
        return f"{names[0]} {verb}"
    word, rest = verb.split(" ", 1)
    plural = "are" if word == "is" else word.removesuffix("s")
    return f"{listed(names)} {plural} {rest}"
