"""The marks of what a role or a head does on a text, and the texts that several parts of the page share."""

from collections.abc import Mapping
from types import MappingProxyType

from headroles.core.readings.comparison import Change
from headroles.core.readings.head_readings import State
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
CHANGE_MARKS: Mapping[Change, str] = MappingProxyType(
    {"turns on": "▲", "turns off": "▼", "stays on": MARKS["seen"], "stays off": MARKS["not seen"]}
)
TRIGGERED_STATES: frozenset[State] = frozenset({"seen", "not seen", "not applicable"})  # of roles that turn on and off
ON_EVERY_TEXT = deferred("the same on every text")
NO_PROMPT = deferred("None of the texts that are made to show it does so on this model.")
