"""What would let a role show that is not seen -> HTML."""

from collections.abc import Mapping

from headroles.core.edits import Edit
from headroles.core.readings import Analysis
from headroles.core.roles import MeasuredRole
from headroles.render.html import draw

Found = Mapping[MeasuredRole, tuple[Edit, Analysis] | None]


def render_edits(found: Found) -> str:
    """For each role that is not seen, the smallest change of the visitor's own sentence that turns that, with what is then seen.

    Empty where there is no such role.
    """
    rows = [(role, edit[0] if edit else None, edit[1].role(role).reason if edit else "") for role, edit in found.items()]
    return draw("edits", rows=rows) if rows else ""
