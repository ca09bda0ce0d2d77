"""What a role or a head does on a text, in a mark and a word."""

from collections.abc import Mapping
from types import MappingProxyType

from headroles.core.readings.head_readings import HeadReading, State
from headroles.render.wording.catalog import deferred

MARKS: Mapping[State, str] = MappingProxyType(
    {
        "seen": "●",
        "not seen": "○",
        "not applicable": "–",
        "as usual": "≈",
        "unusual here": "≠",
        "scored offline": "◆",
        "not scored": "–",
        "not a role": "–",
    }
)
TRIGGERED_STATES: frozenset[State] = frozenset({"seen", "not seen", "not applicable"})  # of roles that turn on and off
ON_EVERY_TEXT = deferred("the same on every text")
NO_PROMPT = deferred("None of the texts that are made to show it does so on this model.")


def get_state(reading: HeadReading) -> State:
    """What a head does in a role on a text."""
    if reading.activation is None:
        return "scored offline"
    if not reading.can_show:
        return "not applicable"
    if reading.usual is not None:
        return "unusual here" if reading.is_unusual else "as usual"
    return "seen" if reading.is_active else "not seen"
