"""The cards -> HTML: one a role, with its heads and why it is or is not seen on this text."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from headroles.core.heads import Head
from headroles.core.literature import credit, known_from
from headroles.core.readings import Analysis, HeadReading, RoleReading, State
from headroles.core.roles import Role, measured_roles
from headroles.core.words import listed
from headroles.render.bars import Bar, bar_of, score_figures
from headroles.render.html import draw
from headroles.render.wording import ON_EVERY_TEXT, describe_source, state_of, state_shown

CARD_KINDS: Mapping[State, str] = MappingProxyType({"active": "is-active", "not active": "is-grey"})


@dataclass(frozen=True)
class HeadLine:
    """A head in a card: a button with its number, `said` to screen readers, and what the literature knows of it."""

    head: Head
    state: State
    bar: Bar
    number: str
    said: str
    known: str


@dataclass(frozen=True)
class Card:
    """A role's card; `kind` is the class that greys or frames it."""

    role: Role
    kind: str
    state: State
    reason: str
    heads: tuple[HeadLine, ...]
    offers_prompt: bool


def render_panel(analysis: Analysis) -> str:
    """One card a role with its heads, why some are grey, and where the roles come from."""
    return draw(
        "cards",
        cards=[_card(reading, analysis.model) for reading in analysis.roles],
        repeats=listed([role.display_name for role in measured_roles() if role.requires_repetition]),
        weighed=listed([reading.role.display_name for reading in analysis.roles if reading.state == "in the weights"]),
        source=describe_source(analysis),
    )


def _card(reading: RoleReading, model: str) -> Card:
    state = state_shown(reading)
    kind = CARD_KINDS.get(state, "is-neutral")
    return Card(
        role=reading.role,
        kind=kind,
        state=state,
        reason=reading.reason,
        heads=tuple(_line(reading.role, head, model) for head in reading.heads),
        offers_prompt=kind == "is-grey" and bool(reading.heads),
    )


def _line(role: Role, reading: HeadReading, model: str) -> HeadLine:
    return HeadLine(
        head=reading.head,
        state=state_of(reading),
        bar=bar_of(role, reading),
        number=f"{reading.shown:.2f}",
        said=_said(reading),
        known=credit(known_from(model, reading.head, role)),
    )


def _said(reading: HeadReading) -> str:
    if reading.activation is None:
        return f"in its weights, {ON_EVERY_TEXT}"
    return f"on your text, {state_of(reading)}; {score_figures(reading)} on the probe texts"
