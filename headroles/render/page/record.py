"""A model's record -> HTML: which heads stand for which role, with their scores."""

from headroles.core.heads import Head
from headroles.core.records.head_categories import HeadCategories
from headroles.core.roles.roles import get_measured_role, measured_roles
from headroles.render.html import draw


def render_record(record: HeadCategories) -> str:
    """One row a role with its heads, best first, each with its score and, where the record tells, its interval."""
    rows = [(role, [_told(record, role.name, head) for head in record.top_heads(role)]) for role in measured_roles()]
    scored = {role.name for role in record.scored_roles}
    return draw("record", record=record, rows=rows, scored=scored)


def _told(record: HeadCategories, role: str, head: Head) -> str:
    """`L2H2 0.90 (0.88 to 0.92)`."""
    measure, interval = get_measured_role(role).measure, record.interval(role, head)
    between = "" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})"
    return f"{head.label} {measure.figure(record.score(role, head))}{between}"
