"""What would let a role show that is not seen -> HTML."""

from collections.abc import Mapping

from headroles.core.readings.analysis import Analysis
from headroles.core.roles.roles import MeasuredRole
from headroles.core.text.edits import Edit
from headroles.render.html import draw
from headroles.render.page.cards import offered_prompt

Found = Mapping[MeasuredRole, tuple[Edit, Analysis] | None]


def render_edits(found: Found, analysis: Analysis) -> str:
    """For each role that is not seen, the smallest change of the visitor's own sentence that turns that, with what is then seen.

    Where none does, the text on which the role shows on this model. Empty where there is no such role.
    """
    rows = []
    for role, edit in found.items():
        prompt = offered_prompt(analysis.role(role), analysis.prompt)
        rows.append((role, edit[0] if edit else None, edit[1].role(role).reason if edit else "", prompt))
    return draw("edits", rows=rows) if rows else ""
