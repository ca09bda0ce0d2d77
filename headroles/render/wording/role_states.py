"""What a role does on a text, in one or two sentences: which of its heads are seen, or why none is."""

from collections.abc import Sequence

from headroles.core.readings.analysis import Analysis
from headroles.core.readings.head_readings import HeadReading, RoleReading
from headroles.core.roles.roles import OTHER, MeasuredRole, get_measured_role
from headroles.render.wording.catalog import message, plural
from headroles.render.wording.evidence import describe_detection, describe_miss, describe_most_attended
from headroles.render.wording.phrases import percent, role_name
from headroles.render.wording.texts import describe_respelled_repeat


def describe_role(reading: RoleReading, analysis: Analysis) -> str:
    """Says why a role is not seen on a text, or how many of its heads are.

    Args:
        reading: the role's reading, one of `analysis.roles`.
        analysis: what it is part of.
    """
    if reading.role == OTHER:
        return _unnamed_heads(reading, analysis)
    return describe_measured_role(reading, analysis.tokens)


def describe_measured_role(reading: RoleReading, tokens: Sequence[str]) -> str:
    """Says the same of a measured role, which needs no more of the analysis than the texts of the tokens.

    Args:
        reading: the role's reading.
        tokens: the texts of the tokens; a token without one is named by its position.
    """
    role = get_measured_role(reading.role)
    if reading.state == "not scored":
        return message("Not scored in this record: analyse the model again to see its {role} heads.", role=role_name(role))
    if not reading.heads:
        return _no_heads(reading, role)
    if reading.state == "scored offline":
        heads = plural("{count} {role} head", "{count} {role} heads", len(reading.heads), role=role_name(role))
        return message("{how}: {heads}.", how=message(role.measure.offline), heads=heads)
    if reading.missing:
        return _not_visible(reading, role, tokens)
    if not role.measure.is_triggered:
        return _always_on(reading)
    return _seen(reading, tokens) if reading.state == "seen" else _not_seen(reading, tokens)


def _no_heads(reading: RoleReading, role: MeasuredRole) -> str:
    threshold = f"{role.threshold:.1f}"
    none = message(
        "No head of this model reaches the {role} threshold of {threshold}.", role=role_name(role), threshold=threshold
    )
    others = len(reading.other_heads)
    if not others:
        return none
    also = plural(
        "{count} of its heads is seen in it here all the same.", "{count} of its heads are seen in it here all the same.", others
    )
    return f"{none} {also}"


def _not_visible(reading: RoleReading, role: MeasuredRole, tokens: Sequence[str]) -> str:
    if reading.missing == "no control":
        why = message("no token that calls for it has others to be compared with; write a little more around it.")
    else:
        why = message(role.why_inactive)
    again = describe_respelled_repeat(tokens) if role.measure.is_triggered and reading.missing == "no query" else ""
    return f"{message('Not visible here: {why}', why=why)} {again}".rstrip()


def _seen(reading: RoleReading, tokens: Sequence[str]) -> str:
    seen = [head for head in reading.heads if head.is_active]
    best = max(seen, key=lambda head: head.excess)
    return plural(
        "{count} of {total} {role} heads is seen doing it, most clearly {head} {where}.",
        "{count} of {total} {role} heads are seen doing it, most clearly {head} {where}.",
        len(seen),
        total=len(reading.heads),
        role=role_name(reading.role),
        head=best.head.label,
        where=describe_detection(best, reading.tokens, tokens),
    )


def _not_seen(reading: RoleReading, tokens: Sequence[str]) -> str:
    called = plural(
        "{count} token calls for it, but no {role} head looks there more than such heads do on texts that repeat nothing.",
        "{count} tokens call for it, but no {role} head looks there more than such heads do on texts that repeat nothing.",
        reading.tokens,
        role=role_name(reading.role),
    )
    return f"{called} {_closest(reading, tokens)}".rstrip()


def _closest(reading: RoleReading, tokens: Sequence[str]) -> str:
    """The head that does most of a role that is not seen, and where it looks instead."""
    closest = max(reading.heads, key=lambda head: head.excess)
    evidence, label = closest.evidence[0], closest.head.label
    if closest.excess > 0:
        return message("The most is {head} at {evidence}.", head=label, evidence=describe_miss(evidence, tokens))
    instead = describe_most_attended(evidence, tokens)
    return message("The closest is {head}: {instead}.", head=label, instead=instead) if instead else ""


def _always_on(reading: RoleReading) -> str:
    total, name = len(reading.heads), role_name(reading.role)
    if reading.state in ("seen", "not seen"):
        return plural(
            "{count} of {total} {role} heads is doing it on this text; what is usual for them on such a text, the record does "
            "not tell.",
            "{count} of {total} {role} heads are doing it on this text; what is usual for them on such a text, the record does "
            "not tell.",
            sum(head.is_active for head in reading.heads),
            total=total,
            role=name,
        )
    if reading.state == "as usual":
        return plural(
            "{count} {role} head. It is where it usually is on ordinary texts.",
            "{count} {role} heads. All are where they usually are on ordinary texts.",
            total,
            role=name,
        )
    unusual = [head for head in reading.heads if head.is_unusual]
    return plural(
        "{count} of {total} {role} heads is far from usual, {most}.",
        "{count} of {total} {role} heads are far from usual, {most}.",
        len(unusual),
        total=total,
        role=name,
        most=_farthest(max(unusual, key=lambda head: head.distance)),
    )


def _farthest(reading: HeadReading) -> str:
    low, high = reading.usual or (0.0, 1.0)
    return message(
        "{head} most: {share} here, {low} to {high} on nine of ten ordinary texts",
        head=reading.head.label,
        share=percent(reading.activation or 0.0),
        low=percent(low),
        high=percent(high),
    )


def _unnamed_heads(reading: RoleReading, analysis: Analysis) -> str:
    """The heads without a role, and those that are away from where they rest for no reason that is known."""
    heads = analysis.heads
    rest = message(
        "{count} of {total} heads reach no role's threshold; they do work that these roles do not name.",
        count=heads.counts(OTHER),
        total=len(heads.heads()),
    )
    if not reading.other_heads:
        return rest
    farthest = reading.other_heads[0]
    away = plural(
        "{count} head of the model usually rests on the first token, and not here, where no role says why ({head} {share}, "
        "usually {low} or more).",
        "{count} heads of the model usually rest on the first token, and not here, where no role says why ({head} {share}, "
        "usually {low} or more).",
        len(reading.other_heads),
        head=farthest.head.label,
        share=percent(farthest.activation or 0.0),
        low=percent((farthest.usual or (0.0, 1.0))[0]),
    )
    return f"{rest} {away}"
