"""The visitor's text as the model reads it -> HTML."""

from headroles.core.readings import Analysis
from headroles.render.html import draw


def render_text(analysis: Analysis) -> str:
    """The tokens, and one line that says which roles are seen on them."""
    seen = [reading.role.display_name for reading in analysis.roles if reading.state == "seen"]
    unusual = [reading.role.display_name for reading in analysis.roles if reading.is_unusual]
    announced = f"Seen on this text: {', '.join(seen)}." if seen else "No role that a text calls for is seen on this one."
    if unusual:
        announced += f" Unusual here: {', '.join(unusual)}."
    return draw("text", analysis=analysis, announced=announced)
