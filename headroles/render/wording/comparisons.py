"""What differs between two texts or two models, in words."""

from collections.abc import Sequence

from headroles.core.readings.comparison import MIN_CHANGE, HeadChange, ModelComparison, PromptComparison, RoleChange
from headroles.core.roles.roles import OTHER
from headroles.render.wording.bars import figures
from headroles.render.wording.catalog import message, plural
from headroles.render.wording.phrases import join_names, percent
from headroles.render.wording.states import CHANGE_MARKS, MARKS, ON_EVERY_TEXT, TRIGGERED_STATES


def describe_change(role: RoleChange) -> tuple[str, str]:
    """A mark and words for what a role does from text A to text B."""
    a, b = role.a.state, role.b.state
    if a == "scored offline":
        return MARKS[a], message(ON_EVERY_TEXT)
    if a == "not scored":
        return MARKS[a], message(a)
    if "unusual here" in (a, b) or "as usual" in (a, b):
        if a == b:
            return MARKS[a], message("{state} on both", state=message(a))
        return MARKS["unusual here"], message("{a}, then {b}", a=message(a), b=message(b))
    return CHANGE_MARKS[role.change], message(role.change)


def describe_prompt_comparison(comparison: PromptComparison) -> str:
    """Which roles turn on or off from text A to text B of one model, and which head changes most."""
    if comparison.a.prompt == comparison.b.prompt:
        return message("A and B are the same text, so nothing changes.")
    clauses = [*_turning_clauses(comparison), *_unusual_clauses(comparison)]
    roles = message("From A to B, {clauses}.", clauses="; ".join(clauses))
    if not comparison.heads:
        points = f"{MIN_CHANGE * 100:.0f}"
        return f"{roles} " + message("No head's evidence changes by {points} points or more.", points=points)
    return f"{roles} {_largest_change(comparison.heads[0])}"


def describe_model_comparison(comparison: ModelComparison) -> str:
    """How many heads of each of two models have a named role, and which roles are seen on their common text."""
    named = [role for role in comparison.roles if role.role != OTHER]
    heads_a, heads_b = (sum(side) for side in zip(*((role.a.total, role.b.total) for role in comparison.roles)))
    named_a, named_b = (sum(side) for side in zip(*((role.a.total, role.b.total) for role in named)))
    seen_a, seen_b = (
        [message(role.role.display_name) for role in named if side.role(role.role).state == "seen"]
        for side in (comparison.a, comparison.b)
    )
    groups = [
        ([name for name in seen_a if name in seen_b], message("in both")),
        ([name for name in seen_a if name not in seen_b], message("in A alone")),
        ([name for name in seen_b if name not in seen_a], message("in B alone")),
    ]
    clauses = [
        plural("{roles} is seen {where}", "{roles} are seen {where}", len(names), roles=join_names(names), where=where)
        for names, where in groups
        if names
    ]
    counts = message(
        "{named_a} of A's {heads_a} heads ({share_a}) and {named_b} of B's {heads_b} ({share_b}) have a named role.",
        named_a=named_a,
        heads_a=heads_a,
        share_a=percent(named_a / heads_a),
        named_b=named_b,
        heads_b=heads_b,
        share_b=percent(named_b / heads_b),
    )
    here = "; ".join(clauses) or message("no role that a text calls for is seen in either")
    return f"{counts} {message('On this text {clauses}.', clauses=here)}"


def _turning_clauses(comparison: PromptComparison) -> list[str]:
    """Which roles turn on, turn off and stay on, of those that a text can trigger."""
    triggered = [role for role in comparison.roles if {role.a.state, role.b.state} <= TRIGGERED_STATES]
    on, off, stay = (
        [message(role.role.display_name) for role in triggered if role.change == change]
        for change in ("turns on", "turns off", "stays on")
    )
    turning = []
    if on:
        turning.append(plural("{roles} turns on", "{roles} turn on", len(on), roles=join_names(on)))
    if off:
        turning.append(plural("{roles} turns off", "{roles} turn off", len(off), roles=join_names(off)))
    clauses = [message(" and ").join(turning) or message("no role turns on or off")]
    if stay:
        clauses.append(plural("{roles} stays on", "{roles} stay on", len(stay), roles=join_names(stay)))
    elif not turning:
        clauses.append(message("none is seen on either text"))
    return clauses


def _unusual_clauses(comparison: PromptComparison) -> list[str]:
    in_a = [message(role.role.display_name) for role in comparison.roles if role.a.is_unusual]
    in_b = [message(role.role.display_name) for role in comparison.roles if role.b.is_unusual]
    return [_unusual_clause(names, text) for names, text in ((in_a, "A"), (in_b, "B")) if names]


def _unusual_clause(names: Sequence[str], text: str) -> str:
    return plural("{roles} is unusual in {text}", "{roles} are unusual in {text}", len(names), roles=join_names(names), text=text)


def _largest_change(change: HeadChange) -> str:
    return message(
        "{head} changes most: {role}, {a} in A and {b} in B.",
        head=change.a.head.label,
        role=message(change.role.display_name),
        a=figures(change.a),
        b=figures(change.b),
    )
