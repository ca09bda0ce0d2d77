"""The cards -> HTML: one a role, with its heads and why it is or is not seen on this text."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from headroles.core.heads import Head
from headroles.core.readings.analysis import Analysis
from headroles.core.readings.head_readings import HeadReading, RoleReading, State
from headroles.core.records.head_categories import HeadCategories
from headroles.core.roles.literature import published_claims
from headroles.core.roles.roles import OTHER, MeasuredRole, Role, get_measured_role, measured_roles
from headroles.core.text.edits import Edit
from headroles.render.html import render_template
from headroles.render.wording.bars import Bar, figures, make_bar, score_figures, second_figures
from headroles.render.wording.catalog import message, plural
from headroles.render.wording.causes import describe_role_effect
from headroles.render.wording.head_sentences import describe_head
from headroles.render.wording.phrases import join_names
from headroles.render.wording.role_states import describe_role
from headroles.render.wording.sources import describe_claims, describe_source
from headroles.render.wording.states import NO_PROMPT, ON_EVERY_TEXT
from headroles.render.wording.texts import describe_edit

CARD_KINDS: Mapping[State, str] = MappingProxyType(
    {"seen": "is-active", "unusual here": "is-active is-unusual", "not seen": "is-grey", "not applicable": "is-grey"}
)
STRONGEST = 3  # heads that a card names before it is opened
MAX_OTHERS = 8  # heads that are not known for a role, as buttons


@dataclass(frozen=True)
class HeadLine:
    """A head in a card: a button with its number, what screen readers say, a second number, and what others know of it."""

    head: Head
    state: State
    bar: Bar
    number: str
    spoken: str
    second: str
    known: str


@dataclass(frozen=True)
class Card:
    """A role's card.

    `kind` is the class that greys or frames it, `count` says how many heads are not in the list, `effect` what is lost without
    them on the probe texts.

    `strongest` are the heads that are named before the card is opened, those first that are seen or unusual here. `others` are
    heads to open beside the role's own, and `also` the words before them. `prompt` is a text to try, empty for none;
    `no_prompt` says that none shows the role on this model.
    """

    role: Role
    kind: str
    state: State
    reason: str
    heads: tuple[HeadLine, ...]
    count: str
    also: str
    others: tuple[Head, ...]
    effect: str
    can_be_tested: bool
    prompt: str
    no_prompt: str
    strongest: tuple[HeadLine, ...]


def render_panel(analysis: Analysis) -> str:
    """One card a role with its heads, why some are grey, and where the roles come from."""
    return render_template(
        "cards",
        cards=[_card(reading, analysis) for reading in analysis.roles],
        repeats=join_names([role.display_name for role in measured_roles() if role.requires_repetition]),
        weighed=join_names([reading.role.display_name for reading in analysis.roles if reading.state == "scored offline"]),
        source=describe_source(analysis),
    )


def _card(reading: RoleReading, analysis: Analysis) -> Card:
    kind = CARD_KINDS.get(reading.state, "is-neutral")
    lines = {head.head: _line(reading.role, head, analysis) for head in reading.heads}
    telling = sorted(
        reading.heads, key=lambda head: (not head.is_unusual, not (head.is_triggered and head.is_active), -head.excess)
    )
    return Card(
        role=reading.role,
        kind=kind,
        state=reading.state,
        reason=describe_role(reading, analysis),
        heads=tuple(lines.values()),
        strongest=tuple(lines[head.head] for head in telling[:STRONGEST]),
        count=_count(reading, analysis.heads.counts(reading.role)),
        also=_also(reading),
        others=tuple(other.head for other in reading.other_heads[:MAX_OTHERS]),
        effect=describe_role_effect(reading.effect) if reading.effect else "",
        can_be_tested=bool(reading.heads),
        prompt=offered_prompt(reading, analysis.prompt),
        no_prompt=_no_prompt(reading),
    )


def offered_prompt(reading: RoleReading, prompt: str) -> str:
    """The text that is offered for a role: only of one that is not seen, and never what stands there already; else empty."""
    return reading.suggested_prompt if _is_silent(reading) and reading.suggested_prompt != prompt else ""


def _no_prompt(reading: RoleReading) -> str:
    if not _is_silent(reading) or reading.suggested_prompt or not reading.role.suggested_prompt:
        return ""
    return message(NO_PROMPT)


def _is_silent(reading: RoleReading) -> bool:
    return reading.state in ("not seen", "not applicable") and bool(reading.heads)


def _count(reading: RoleReading, mainly: int) -> str:
    """Why the list and the map's legend count differently; empty where they do not."""
    listed = len(reading.heads)
    if not listed or mainly == listed:
        return ""
    if mainly > listed:
        return message("The {listed} strongest of {total} heads that are mainly this.", listed=listed, total=mainly)
    return plural(
        "{count} of these {listed} is mainly this; the others do more of something else.",
        "{count} of these {listed} are mainly this; the others do more of something else.",
        mainly,
        listed=listed,
    )


def _also(reading: RoleReading) -> str:
    count = len(reading.other_heads)
    if not count:
        return ""
    strongest = message(", the {most} strongest", most=MAX_OTHERS) if count > MAX_OTHERS else ""
    if reading.role == OTHER:
        return plural("Away from where it rests:", "Away from where they rest ({count}{strongest}):", count, strongest=strongest)
    return plural(
        "Also seen here, {count} head that is not known for it{strongest}:",
        "Also seen here, {count} heads that are not known for it{strongest}:",
        count,
        strongest=strongest,
    )


def _line(role: Role, reading: HeadReading, analysis: Analysis) -> HeadLine:
    return HeadLine(
        head=reading.head,
        state=reading.state,
        bar=make_bar(role, reading),
        number=figures(reading),
        spoken=f"{_spoken(reading)}. {describe_head(analysis, reading.head)}",
        second=second_figures(role, reading),
        known=describe_claims(published_claims(analysis.model, reading.head, role)),
    )


def _spoken(reading: HeadReading) -> str:
    if reading.activation is None:
        return message("scored offline, {same}", same=message(ON_EVERY_TEXT))
    score = score_figures(reading, with_interval=True)
    return message("on your text, {state}; {score} on the probe texts", state=message(reading.state), score=score)


Found = Mapping[MeasuredRole, tuple[Edit, Analysis] | None]


def render_edits(found: Found, analysis: Analysis) -> str:
    """For each role that is not seen, the smallest change of the visitor's own sentence that turns that, with what is then seen.

    Where none does, the text on which the role shows on this model. Empty where there is no such role.
    """
    rows = []
    for role, edit in found.items():
        prompt = offered_prompt(analysis.role(role), analysis.prompt)
        if edit is None:
            rows.append((role, None, "", "", prompt))
        else:
            changed, then = edit
            rows.append((role, changed, describe_edit(changed), describe_role(then.role(role), then), prompt))
    return render_template("edits", rows=rows) if rows else ""


def render_record(record: HeadCategories) -> str:
    """One row a role with its heads, best first, each with its score and, where the record tells, its interval."""
    rows = [(role, [_score(record, role.name, head) for head in record.top_heads(role)]) for role in measured_roles()]
    scored = {role.name for role in record.scored_roles}
    return render_template("record", record=record, rows=rows, scored=scored)


def _score(record: HeadCategories, role: str, head: Head) -> str:
    """`L2H2 0.90 (0.88 to 0.92)`."""
    measure, interval = get_measured_role(role).measure, record.interval(role, head)
    score = f"{head.label} {measure.format_score(record.score(role, head))}"
    return (
        score
        if interval is None
        else message("{score} ({low:.2f} to {high:.2f})", score=score, low=interval[0], high=interval[1])
    )
