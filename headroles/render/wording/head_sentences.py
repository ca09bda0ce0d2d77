"""What a head is in a model, and what it does on a text, in words."""

from collections.abc import Mapping

from headroles.core.heads import Head, as_head
from headroles.core.readings.analysis import Analysis, HeadView
from headroles.core.roles.measures import Measure
from headroles.core.roles.roles import (
    RESTING,
    RESTING_PLACE,
    RESTING_ROLE,
    MeasuredRole,
    Role,
    get_measured_role,
    measured_roles,
)
from headroles.render.wording.catalog import message
from headroles.render.wording.evidence import describe_detection, describe_miss
from headroles.render.wording.phrases import percent, role_name, with_article

A_LITTLE = 0.5  # of a role's threshold: from there on a head is said to do a little of it


def describe_head(analysis: Analysis, head: Head | str | tuple[int, int]) -> str:
    """What a head is in the model, whatever the text: its roles and where it rests.

    Args:
        analysis: any analysis of the model.
        head: a head, `"L2H3"` or `(2, 3)`.

    Raises:
        InvalidInputError: for a head outside the model.
    """
    head = as_head(head)
    primary = analysis.heads.primary_role(head)  # raises for a head outside
    scores = {name: table[head.layer][head.index] for name, table in analysis.heads.scores.items()}
    return describe_scores(head, primary, scores, analysis.has_sink)


def describe_head_view(view: HeadView) -> str:
    """What a head mainly does in the model, and what it does on this text."""
    scores = {name: reading.score for name, reading in view.readings.items()}
    return f"{describe_scores(view.head, view.primary, scores, view.has_sink)} {_on_text(view)}"


def describe_scores(head: Head, primary: Role, scores: Mapping[str, float | None], has_sink: bool = False) -> str:
    """`L18H6 is mainly an induction head (0.90); rests on the first token when nothing repeats (0.98); also a little ...`.

    Args:
        head: which head.
        primary: what it mainly is.
        scores: its score in each measured role, by name; None, or nothing, where the record does not hold one.
        has_sink: whether each head of the model has a learned sink.
    """
    known = {name: score for name, score in scores.items() if score is not None}
    clauses = [_main_clause(head, primary, known)]
    for role in measured_roles():
        if role.rests_on and role != primary and known.get(role.name, 0.0) >= RESTING:
            clauses.append(_rest_clause(role, primary, known[role.name], has_sink))
    for role in measured_roles():
        score = known.get(role.name, 0.0)
        if role.is_content and role != primary and score >= role.threshold * A_LITTLE:
            clauses.append(_side_clause(role, score))
    return f"{'; '.join(clauses)}."


def _main_clause(head: Head, primary: Role, scores: Mapping[str, float]) -> str:
    if primary.name not in scores:
        return message("{head} reaches no role's threshold in this model", head=head.label)
    score = get_measured_role(primary).measure.format_score(scores[primary.name])
    return message(
        "{head} is mainly {a_role} head ({score})", head=head.label, a_role=with_article(role_name(primary)), score=score
    )


def _rest_clause(role: MeasuredRole, primary: Role, score: float, has_sink: bool) -> str:
    where = _resting_place(has_sink) if role == RESTING_ROLE else message(role.rests_on)
    if primary.requires_repetition:
        return message("rests on {where} when nothing repeats ({score:.2f})", where=where, score=score)
    return message("rests on {where} when it has nothing to do ({score:.2f})", where=where, score=score)


def _side_clause(role: MeasuredRole, score: float) -> str:
    name, number = role_name(role), role.measure.format_score(score)
    if score >= role.threshold:
        return message("also {a_role} ({score})", a_role=with_article(name), score=number)
    return message("also a little {role} ({score})", role=name, score=number)


def _resting_place(has_sink: bool) -> str:
    place = message(RESTING_PLACE)
    return message("{place} or the learned sink", place=place) if has_sink else place


def _on_text(view: HeadView) -> str:
    """What the head does on the text: the roles it is seen in, the one it is looked at for, and whether it rests."""
    seen = [role for role in measured_roles() if view.readings[role.name].evidence and view.readings[role.name].is_active]
    sentences = [_seen(role, view) for role in seen]
    wanted = view.role if view.role.name in view.readings else None
    if wanted is not None and wanted not in seen:
        sentences.append(_not_seen(get_measured_role(wanted), view))
    rest = view.readings[RESTING_ROLE.name].activation or 0.0
    if wanted != RESTING_ROLE and not seen and rest >= RESTING:
        where = _resting_place(view.has_sink)
        sentences.append(
            message("On this text it rests: {share} of its attention lies on {where}.", share=percent(rest), where=where)
        )
    return " ".join(sentences) or message("On this text it is seen in none of the roles that a text calls for.")


def _seen(role: MeasuredRole, view: HeadView) -> str:
    reading, name = view.readings[role.name], role_name(role)
    where = describe_detection(reading, view.eligible_counts.get(role.name, 0), view.tokens)
    if reading.score is not None and reading.score < role.threshold * A_LITTLE:
        return message(
            "On this text its strong cells coincide with those of {role}, {where}; offline it scores {score:.2f} there.",
            role=name,
            where=where,
            score=reading.score,
        )
    return message("On this text it is seen doing {role}, {where}.", role=name, where=where)


def _not_seen(role: MeasuredRole, view: HeadView) -> str:
    reading, name = view.readings[role.name], role_name(role)
    if reading.activation is None:
        return message("{how}: {number}.", how=message(role.measure.offline), number=_number_clause(role, view))
    if not reading.can_show:
        return message("Nothing on this text calls for {role}: {why}", role=name, why=message(role.why_inactive))
    if reading.usual is not None:
        return _beside_usual(role, view, *reading.usual)
    if not role.measure.is_triggered:
        return message("On this text {number}.", number=_number_clause(role, view))
    most = describe_miss(reading.evidence[0], view.tokens)
    return message("On this text it is not seen doing {role}: the most it shows is {most}.", role=name, most=most)


def _beside_usual(role: MeasuredRole, view: HeadView, low: float, high: float) -> str:
    numbers = {"number": _number_clause(role, view), "low": percent(low), "high": percent(high)}
    if view.readings[role.name].is_unusual:
        return message("On this text {number}: far from usual ({low} to {high} on nine of ten ordinary texts).", **numbers)
    return message("On this text {number}: as usual ({low} to {high} on nine of ten ordinary texts).", **numbers)


def _number_clause(role: MeasuredRole, view: HeadView) -> str:
    reading = view.readings[role.name]
    return measure_clause(role.measure_in(view.has_sink), reading.score, reading.activation, reading.chance)


def measure_clause(measure: Measure, score: float | None, activation: float | None, chance: float | None) -> str:
    """The number behind a role on a text, as a clause: the measure's own `phrase`, filled in.

    Args:
        measure: of the role.
        score: offline, in the measure's unit.
        activation: on the text, 0 to 1.
        chance: a uniform head's activation, 0 to 1.
    """
    return message(
        measure.phrase,
        share=percent(activation or 0.0),
        chance=percent(chance or 0.0),
        score=score or 0.0,
        negated=-(score or 0.0),
    )
