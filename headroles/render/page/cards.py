"""The cards -> HTML: one a role, with its heads and why it is or is not seen on this text."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from headroles.core.heads import Head
from headroles.core.readings.analysis import Analysis
from headroles.core.readings.head_readings import HeadReading, RoleReading, State
from headroles.core.records.head_categories import HeadCategories
from headroles.core.roles.literature import citation_text, published_claims
from headroles.core.roles.roles import OTHER, MeasuredRole, Role, get_measured_role, measured_roles
from headroles.core.text.edits import Edit
from headroles.core.text.phrases import listed
from headroles.render.html import render_template
from headroles.render.wording.bars import Bar, bar_of, figures, score_figures, second_figures
from headroles.render.wording.wording import NO_PROMPT, ON_EVERY_TEXT, describe_source

CARD_KINDS: Mapping[State, str] = MappingProxyType(
    {"seen": "is-active", "unusual here": "is-active is-unusual", "not seen": "is-grey", "not applicable": "is-grey"}
)
STRONGEST = 3  # heads that a card names before it is opened
MAX_OTHERS = 8  # heads that are not known for a role, as buttons


@dataclass(frozen=True)
class HeadLine:
    """A head in a card: a button with its number, `said` to screen readers, a second number, and what others know of it."""

    head: Head
    state: State
    bar: Bar
    number: str
    said: str
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
        repeats=listed([role.display_name for role in measured_roles() if role.requires_repetition]),
        weighed=listed([reading.role.display_name for reading in analysis.roles if reading.state == "scored offline"]),
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
        reason=reading.reason,
        heads=tuple(lines.values()),
        strongest=tuple(lines[head.head] for head in telling[:STRONGEST]),
        count=_count(reading, analysis.heads.counts(reading.role)),
        also=_also(reading),
        others=tuple(other.head for other in reading.other_heads[:MAX_OTHERS]),
        effect=reading.effect.describe if reading.effect else "",
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
    return NO_PROMPT


def _is_silent(reading: RoleReading) -> bool:
    return reading.state in ("not seen", "not applicable") and bool(reading.heads)


def _count(reading: RoleReading, mainly: int) -> str:
    """Why the list and the map's legend count differently; empty where they do not."""
    shown = len(reading.heads)
    if not shown or mainly == shown:
        return ""
    if mainly > shown:
        return f"The {shown} strongest of {mainly} heads that are mainly this."
    return f"{mainly} of these {shown} {'is' if mainly == 1 else 'are'} mainly this; the others do more of something else."


def _also(reading: RoleReading) -> str:
    if not reading.other_heads:
        return ""
    count = len(reading.other_heads)
    shown = f", the {MAX_OTHERS} strongest" if count > MAX_OTHERS else ""
    if reading.role == OTHER:
        return f"Away from where they rest ({count}{shown}):" if count > 1 else "Away from where it rests:"
    known = "heads that are not known for it" if count > 1 else "head that is not known for it"
    return f"Also seen here, {count} {known}{shown}:"


def _line(role: Role, reading: HeadReading, analysis: Analysis) -> HeadLine:
    return HeadLine(
        head=reading.head,
        state=reading.state,
        bar=bar_of(role, reading),
        number=figures(reading),
        said=f"{_said(reading)}. {analysis.describe_head(reading.head)}",
        second=second_figures(role, reading),
        known=citation_text(published_claims(analysis.model, reading.head, role)),
    )


def _said(reading: HeadReading) -> str:
    if reading.activation is None:
        return f"scored offline, {ON_EVERY_TEXT}"
    return f"on your text, {reading.state}; {score_figures(reading, with_interval=True)} on the probe texts"


Found = Mapping[MeasuredRole, tuple[Edit, Analysis] | None]


def render_edits(found: Found, analysis: Analysis) -> str:
    """For each role that is not seen, the smallest change of the visitor's own sentence that turns that, with what is then seen.

    Where none does, the text on which the role shows on this model. Empty where there is no such role.
    """
    rows = []
    for role, edit in found.items():
        prompt = offered_prompt(analysis.role(role), analysis.prompt)
        rows.append((role, edit[0] if edit else None, edit[1].role(role).reason if edit else "", prompt))
    return render_template("edits", rows=rows) if rows else ""


def render_record(record: HeadCategories) -> str:
    """One row a role with its heads, best first, each with its score and, where the record tells, its interval."""
    rows = [(role, [_told(record, role.name, head) for head in record.top_heads(role)]) for role in measured_roles()]
    scored = {role.name for role in record.scored_roles}
    return render_template("record", record=record, rows=rows, scored=scored)


def _told(record: HeadCategories, role: str, head: Head) -> str:
    """`L2H2 0.90 (0.88 to 0.92)`."""
    measure, interval = get_measured_role(role).measure, record.interval(role, head)
    between = "" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})"
    return f"{head.label} {measure.format_score(record.score(role, head))}{between}"
