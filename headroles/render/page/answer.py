"""The answer -> HTML: what goes on in a sentence, in plain words, and the sentence itself with the roles that are seen in it."""

import json
from dataclasses import dataclass

from headroles.core.readings.analysis import Analysis
from headroles.core.readings.head_readings import HeadReading, Mark, RoleReading
from headroles.core.roles.roles import RESTING_PLACE, RESTING_ROLE, Role, get_measured_role
from headroles.core.text.tokens import visible_text
from headroles.render.html import render_template
from headroles.render.wording.catalog import message, plural
from headroles.render.wording.evidence import describe_evidence
from headroles.render.wording.phrases import capitalized, join_names, percent, role_name

MAX_SENTENCES = 2  # roles with a sentence of their own


@dataclass(frozen=True)
class Token:
    """A token as it is shown, the roles that are seen at it, and for the script, who looks where."""

    text: str
    roles: tuple[Role, ...] = ()
    looks: str = ""


def render_answer(analysis: Analysis) -> str:
    """One or two sentences on what goes on, and the tokens, each with the marks of the roles that are seen at it."""
    tokens = [Token(visible_text(token)) for token in analysis.tokens]
    marks = [(reading.role, mark) for reading in analysis.roles for mark in reading.marks]
    for query in {mark.query for _, mark in marks}:
        here = [(role, mark) for role, mark in marks if mark.query == query]
        looks = json.dumps([_looks(role, mark) for role, mark in here], separators=(",", ":"), ensure_ascii=False)
        tokens[query] = Token(tokens[query].text, tuple(role for role, _ in here), looks)
    return render_template(
        "answer",
        tokens=tokens,
        answer=detection_text(analysis),
        aside=" ".join(_describe_unusual(analysis)),
        roles=dict.fromkeys(role for role, _ in marks),
    )


def answer_text(analysis: Analysis) -> str:
    """What goes on in a sentence as far as attention shows it: the roles that are seen, or why none is, and what is unusual."""
    return " ".join([detection_text(analysis), *_describe_unusual(analysis)])


def detection_text(analysis: Analysis) -> str:
    """The roles that are seen in a sentence, or why none is."""
    seen = sorted(_seen(analysis), key=lambda reading: -_most(reading).excess)
    sentences = [_describe_seen(reading, analysis) for reading in seen[:MAX_SENTENCES]]
    if others := [role_name(reading.role) for reading in seen[MAX_SENTENCES:]]:
        names = capitalized(join_names(others))
        sentences.append(plural("{roles} is seen too.", "{roles} are seen too.", len(others), roles=names))
    return " ".join(sentences) if seen else _describe_none(analysis)


def _seen(analysis: Analysis) -> list[RoleReading]:
    # a role that is always on is "seen" where nobody knows what is usual, which says nothing
    return [reading for reading in analysis.roles if reading.role.requires_repetition and reading.state == "seen"]


def _describe_seen(reading: RoleReading, analysis: Analysis) -> str:
    """`5 heads look at what followed an earlier copy of the token (induction), most clearly L2H2: “·a” → “·b”, 92% (3% ...)`."""
    heads, best = [head for head in reading.heads if head.is_active], _most(reading)
    values = {
        "head": best.head.label,
        "target": message(get_measured_role(reading.role).measure.target),
        "role": role_name(reading.role),
        "evidence": describe_evidence(best.evidence[0], analysis.tokens),
    }
    if reading.tokens == 1:
        return plural(
            "{head} looks at {target} ({role}), at {seen} of {called} tokens, the only one that calls for it: {evidence}.",
            "{count} heads look at {target} ({role}), most clearly {head} at the only token that calls for it: {evidence}.",
            len(heads),
            seen=best.detections,
            called=reading.tokens,
            **values,
        )
    return plural(
        "{head} looks at {target} ({role}), at {seen} of {called} tokens: {evidence}.",
        "{count} heads look at {target} ({role}), most clearly {head}: {evidence}.",
        len(heads),
        seen=best.detections,
        called=reading.tokens,
        **values,
    )


def _describe_none(analysis: Analysis) -> str:
    """Why no role that a text calls for is seen."""
    called = [reading for reading in analysis.roles if reading.role.requires_repetition and reading.heads]
    others = max(called, key=lambda reading: len(reading.other_heads), default=None)
    if others is not None and others.other_heads:
        return plural(
            "No head that is known for a role is seen in it here; {count} head that is not known for it is seen doing {role}.",
            "No head that is known for a role is seen in it here; {count} heads that are not known for it are seen doing {role}.",
            len(others.other_heads),
            role=role_name(others.role),
        )
    if any(reading.state == "not seen" for reading in called):
        return message(
            "Something comes twice here, but no head that is known for looking back at it does so more than it does anyway."
        )
    if called:
        return message("Nothing comes twice here that would call on the heads which look back at what was there before.")
    return message("No role that a text calls for is seen here.")


def _describe_unusual(analysis: Analysis) -> list[str]:
    """What is far from usual among the heads that are always on, and that others rest; nothing where the record does not say."""
    rest = analysis.role(RESTING_ROLE)
    sentences = []
    if rest.state == "as usual" and len(rest.heads) > 1 and not _seen(analysis):
        place, count = message(RESTING_PLACE), len(rest.heads)
        sentences.append(message("The {count} heads that rest most on {place} do so, as usual.", count=count, place=place))
    if unusual := [role_name(reading.role) for reading in analysis.roles if reading.is_unusual]:
        sentences.append(message("Far from usual here: some heads of {roles}.", roles=join_names(unusual)))
    return sentences


def _most(reading: RoleReading) -> HeadReading:
    return max((head for head in reading.heads if head.is_active), key=lambda head: head.excess)


def _looks(role: Role, mark: Mark) -> dict[str, object]:
    """For the script: the role, how many heads, and of the strongest which, the key, and its attention there and otherwise."""
    heads = [
        [head.layer, head.index, place.key, round(place.attention, 2), percent(place.attention), percent(place.control)]
        for head, place in mark.heads
    ]
    return {"role": role.name, "name": role.display_name, "color": role.color, "count": mark.count, "heads": heads}
