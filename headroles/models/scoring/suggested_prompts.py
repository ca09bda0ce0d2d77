"""Whether the texts that are made to show a role do so on a model, by its own record."""

from headroles.core.readings.detection import is_seen
from headroles.core.records.calibration import Triggered
from headroles.core.records.head_categories import HeadCategories
from headroles.models.reading.pattern_reader import PatternReader


def find_prompts(reader: PatternReader, record: HeadCategories) -> dict[str, str]:
    """For each role that a text triggers and that is calibrated and has heads, by name: the first of its prompts on which it is
    seen, each read alone as a visitor's text is; empty where it is on none."""
    found: dict[str, str] = {}
    for role in record.scored_roles:
        if not isinstance(record.calibrations.get(role.name), Triggered) or not record.top_heads(role):
            continue
        readable = (prompt for prompt in role.prompts if reader.loaded.reads(prompt))
        shows = (prompt for prompt in readable if is_seen(role, reader.read(reader.loaded.encode(prompt)), record))
        found[role.name] = next(shows, "")
    return found
