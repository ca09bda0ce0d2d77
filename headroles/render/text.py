"""The visitor's text as the model reads it -> HTML."""

from headroles.core.readings import Analysis
from headroles.render.html import draw


def render_text(analysis: Analysis) -> str:
    """The tokens, and one line that says which roles are active on them."""
    active = [reading.role.display_name for reading in analysis.roles if reading.is_active]
    announced = f"Active on this text: {', '.join(active)}." if active else "No role is active on this text."
    return draw("text", analysis=analysis, announced=announced)
