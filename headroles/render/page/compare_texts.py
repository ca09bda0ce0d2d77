"""Two texts on one model, side by side -> HTML."""

from dataclasses import dataclass

from headroles.core.heads import Head
from headroles.core.readings.comparison import MIN_CHANGE, HeadChange, PromptComparison, RoleChange
from headroles.core.readings.head_readings import HeadReading, RoleReading
from headroles.core.roles.roles import Role, get_measured_role
from headroles.render.html import render_template
from headroles.render.wording.bars import Bar, figures, make_bar
from headroles.render.wording.comparisons import describe_change, describe_prompt_comparison


@dataclass(frozen=True)
class StateCell:
    """What a role does on one text: its state, and the strongest of its heads in words."""

    reading: RoleReading
    detail: str


@dataclass(frozen=True)
class ChangeRow:
    """A role on both texts, and a mark and words for what it does from A to B."""

    role: Role
    turned: bool
    a: StateCell
    b: StateCell
    sign: str
    change: str


@dataclass(frozen=True)
class SideBar:
    """One head on one text, `a` or `b`: its bar, its number, and what screen readers hear after it."""

    side: str
    head: Head
    bar: Bar
    number: str
    said: str


@dataclass(frozen=True)
class ChangedHead:
    """A head in the role in which it changed most; `sides` on A and on B."""

    role: Role
    head: Head
    sign: str
    points: float
    sides: tuple[SideBar, SideBar]


def render_prompt_comparison(comparison: PromptComparison) -> str:
    """Both texts, what each role does on them, and the heads that changed most with buttons that open them."""
    readings = [reading for role in comparison.roles for reading in (role.a, role.b)]
    return render_template(
        "compare_texts",
        summary=describe_prompt_comparison(comparison),
        a=comparison.a,
        b=comparison.b,
        roles=[_change_row(role) for role in comparison.roles],
        some_not_applicable=any(reading.state == "not applicable" for reading in readings),
        heads=[_changed_head(change) for change in comparison.heads],
        least_points=MIN_CHANGE * 100,
    )


def _change_row(role: RoleChange) -> ChangeRow:
    sign, change = describe_change(role)
    return ChangeRow(role.role, _turned(role), _state_cell(role.a), _state_cell(role.b), sign, change)


def _turned(role: RoleChange) -> bool:
    return role.a.state != role.b.state and {role.a.state, role.b.state} != {"not seen", "not applicable"}


def _state_cell(reading: RoleReading) -> StateCell:
    strongest = reading.strongest
    if reading.state == "not scored":
        return StateCell(reading, "")
    if strongest is None:
        return StateCell(reading, "no such head")
    return StateCell(reading, "" if reading.state == "not applicable" else f"{strongest.head.label} {figures(strongest)}")


def _changed_head(change: HeadChange) -> ChangedHead:
    return ChangedHead(
        role=change.role,
        head=change.a.head,
        sign="▲ +" if change.evidence > 0 else "▼ −",
        points=abs(change.evidence) * 100,
        sides=(
            _side_bar("a", change.role, change.a),
            _side_bar("b", change.role, change.b),
        ),
    )


def _side_bar(side: str, role: Role, reading: HeadReading) -> SideBar:
    # where uniform attention is what a role is, there is no chance to compare with
    by_chance = reading.can_show and reading.baseline is not None and get_measured_role(role).measure.beats_uniform
    bar = make_bar(role, reading, by_chance)
    said = f", {bar.chance_words}" if by_chance else "" if reading.can_show else " not applicable"
    return SideBar(side, reading.head, bar, figures(reading), said)
