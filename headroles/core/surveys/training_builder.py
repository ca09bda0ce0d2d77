"""A training run out of many records: of the revisions of one model that are called after their step, such as `step1000`.

So a run is made a revision at a time: a new record adds its point, or takes the place of the one of its step.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_files import record_file_name
from headroles.core.surveys.training_run import (
    MAX_POINTS,
    MAX_TRAINING_BYTES,
    TrainingPoint,
    TrainingRun,
    build_run,
    find_mismatch,
)
from headroles.errors import InvalidRecordError

# Pythia's `step1000`, SmolLM's `step-1000`, OLMo's `step1000-tokens4B`
REVISION = re.compile(r"step-?(?P<step>\d{1,12})(-tokens\d+[BMT]?)?", re.ASCII)
OF_VERDICTS = {"calibration": None, "effects": None}  # what the map and the curves of a run do not need, and is most of a record


def split_step(name: str) -> tuple[str, int] | None:
    """The model and the step that a record's name tells; None for one that tells no step.

    >>> split_step("EleutherAI/pythia-160m@step1000")
    ('EleutherAI/pythia-160m', 1000)
    """
    model, _, revision = name.rpartition("@")
    found = REVISION.fullmatch(revision)
    return (model, int(found["step"])) if model and found else None


def run_file_name(model_name: str) -> str:
    """`<org>__<name>.jsonl`, as `record_file_name` has it: one file a model."""
    return record_file_name(model_name) + "l"


def make_point(record: HeadCategories) -> TrainingPoint:
    """The point that a record of one revision is, without losses, which a record does not have.

    Raises InvalidRecordError where its name tells no step.
    """
    found = split_step(record.model_name)
    if found is None:
        raise InvalidRecordError(
            f"The record {record.model_name[:100]!r} is of no step of a training; its name must end in a revision, as @step1000."
        )
    model, step = found
    recipe = record.recipe.model_copy(update={"calibration_texts": None, "effect_texts": None})
    kept = record.model_dump(exclude_unset=True, exclude=set(OF_VERDICTS)) | {
        "model_name": model,
        "recipe": recipe.model_dump(exclude_unset=True, exclude_none=True) | {"transformer_lens": recipe.transformer_lens},
    }
    return TrainingPoint(step=step, losses={}, record=HeadCategories.model_validate(kept))


def merge_points(old: Iterable[TrainingPoint], new: Iterable[TrainingPoint]) -> list[TrainingPoint]:
    """All points in order, a new one in place of an old one of its step.

    Raises InvalidRecordError where they are not points of one run, or too many.
    """
    by_step = {point.step: point for point in old} | {point.step: point for point in new}
    points = [by_step[step] for step in sorted(by_step)]
    if len(points) > MAX_POINTS:
        raise InvalidRecordError(f"There are {len(points)} points; a training run may have {MAX_POINTS}.")
    for before, point in pairwise(points):
        if fault := find_mismatch(before, point):
            raise InvalidRecordError(
                f"Step {point.step} and step {before.step} of {before.record.model_name} make no training run: {fault}; "
                "analyse all its steps in the same way."
            )
    return points


def build_run_from_records(records: Iterable[HeadCategories]) -> TrainingRun:
    """The run that records of two revisions of one model or more make, whatever their order; it has no losses.

    Raises InvalidRecordError where they make none: a name without a step, two of one step, too few, or not of one model, one
    shape and one recipe.
    """
    points = list(map(make_point, records))
    if len({point.step for point in points}) < len(points):
        raise InvalidRecordError("Two of the records are of the same step.")
    if len(points) < 2:
        raise InvalidRecordError("A training run takes the records of two steps or more.")
    return build_run(merge_points((), points))


def points_to_lines(points: Sequence[TrainingPoint]) -> bytes:
    """The text of a run's file; `parse_points` reads it back. Raises InvalidRecordError where it would be longer than is read."""
    lines = (point.model_dump_json(exclude_unset=True) + "\n" for point in points)
    content = "".join(lines).encode()
    if len(content) > MAX_TRAINING_BYTES:
        raise InvalidRecordError(
            f"The training run of {points[0].record.model_name} would have {len(content):,} bytes; at most "
            f"{MAX_TRAINING_BYTES:,} are read, so leave some steps out."
        )
    return content
