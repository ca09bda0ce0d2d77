"""The answer -> HTML: what goes on in a sentence, in plain words, and the sentence itself with the roles that are seen in it."""

import json
from dataclasses import dataclass

from headroles.core.readings.analysis import Analysis
from headroles.core.readings.head_readings import HeadReading, Mark, RoleReading
from headroles.core.roles.roles import RESTING_PLACE, RESTING_ROLE, Role, get_measured_role
from headroles.core.text.tokens import visible_text
from headroles.render.html import render_template
from headroles.render.wording.evidence import describe_evidence
from headroles.render.wording.phrases import join_names, percent

FEW_SAID = 2  # roles that are told one by one


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
        aside=" ".join(_tell_unusual(analysis)),
        roles=dict.fromkeys(role for role, _ in marks),
    )


def answer_text(analysis: Analysis) -> str:
    """What goes on in a sentence as far as attention shows it: the roles that are seen, or why none is, and what is unusual."""
    return " ".join([detection_text(analysis), *_tell_unusual(analysis)])


def detection_text(analysis: Analysis) -> str:
    """The roles that are seen in a sentence, or why none is."""
    seen = sorted(_seen(analysis), key=lambda reading: -_most(reading).excess)
    said = [_tell_seen(reading, analysis) for reading in seen[:FEW_SAID]]
    if seen[FEW_SAID:]:
        names = join_names([reading.role.display_name.lower() for reading in seen[FEW_SAID:]])
        said.append(f"{names[:1].upper()}{names[1:]} {'is' if len(seen) == FEW_SAID + 1 else 'are'} seen too.")
    return " ".join(said) if seen else _tell_none(analysis)


def _seen(analysis: Analysis) -> list[RoleReading]:
    # a role that is always on is "seen" where nobody knows what is usual, which says nothing
    return [reading for reading in analysis.roles if reading.role.requires_repetition and reading.state == "seen"]


def _tell_seen(reading: RoleReading, analysis: Analysis) -> str:
    """`5 heads look at what followed an earlier copy of the token (induction), most clearly L2H2: “·a” → “·b”, 92% (3% ...)`."""
    heads, best = [head for head in reading.heads if head.is_active], _most(reading)
    role, target = reading.role.display_name.lower(), get_measured_role(reading.role).measure.target
    who = f"{len(heads)} heads look" if len(heads) > 1 else f"{best.head.label} looks"
    clearly = f"most clearly {best.head.label}" if len(heads) > 1 else f"at {best.seen_at} of {reading.tokens} tokens"
    if reading.tokens == 1:
        clearly += " at the only token that calls for it" if len(heads) > 1 else ", the only one that calls for it"
    return f"{who} at {target} ({role}), {clearly}: {describe_evidence(best.evidence[0], analysis.tokens)}."


def _tell_none(analysis: Analysis) -> str:
    """Why no role that a text calls for is seen."""
    called = [reading for reading in analysis.roles if reading.role.requires_repetition and reading.heads]
    others = max(
        (reading for reading in called if reading.other_heads), key=lambda reading: len(reading.other_heads), default=None
    )
    if others is not None:
        count, name = len(others.other_heads), others.role.display_name.lower()
        do = "heads that are not known for it are" if count > 1 else "head that is not known for it is"
        return f"No head that is known for a role is seen in it here; {count} {do} seen doing {name}."
    if any(reading.state == "not seen" for reading in called):
        return "Something comes twice here, but no head that is known for looking back at it does so more than it does anyway."
    if called:
        return "Nothing comes twice here that would call on the heads which look back at what was there before."
    return "No role that a text calls for is seen here."


def _tell_unusual(analysis: Analysis) -> list[str]:
    """What is far from usual among the heads that are always on, and that others rest where nothing else goes on; nothing where
    nobody knows."""
    rest = analysis.role(RESTING_ROLE)
    said = []
    if rest.state == "as usual" and len(rest.heads) > 1 and not _seen(analysis):
        said.append(f"The {len(rest.heads)} heads that rest most on {RESTING_PLACE} do so, as usual.")
    unusual = [reading.role.display_name.lower() for reading in analysis.roles if reading.is_unusual]
    if unusual:
        said.append(f"Far from usual here: some heads of {join_names(unusual)}.")
    return said


def _most(reading: RoleReading) -> HeadReading:
    return max((head for head in reading.heads if head.is_active), key=lambda head: head.excess)


def _looks(role: Role, mark: Mark) -> dict[str, object]:
    """For the script: the role, how many heads, and of the strongest which, the key, and its attention there and otherwise."""
    heads = [
        [head.layer, head.index, place.key, round(place.attention, 2), percent(place.attention), percent(place.control)]
        for head, place in mark.looks
    ]
    return {"role": role.name, "name": role.display_name, "color": role.color, "count": mark.count, "heads": heads}
