"""Makes the training run of a model out of the records of its revisions, such as ORG/NAME@step1000, in a folder.

The run is a file in `training/` of the folder, and of a dataset; a new revision adds its point to it.
"""

from collections.abc import Iterable
from pathlib import Path

from headroles.core.records.atomic_files import write_whole
from headroles.core.records.record_files import read_record
from headroles.core.surveys.training_builder import make_point, merge_points, points_to_lines, run_file_name, split_step
from headroles.core.surveys.training_run import TrainingPoint, parse_points, read_run_file
from headroles.errors import HeadRolesError, InvalidRecordError
from headroles.hub.training_store import RUNS_FOLDER


def models_with_steps(names: Iterable[str]) -> list[str]:
    """The models of which records with these names are steps, each once."""
    return list(dict.fromkeys(found[0] for name in names if (found := split_step(name))))


def read_points(folder: Path) -> dict[str, list[TrainingPoint]]:
    """The points that the records in a folder are, by model; what is no record of a step is left out."""
    points: dict[str, list[TrainingPoint]] = {}
    for path in sorted(folder.glob("*.json")):
        if "step" not in path.name and "~" not in path.name:  # a name that no file can have is cut, and a hash behind it
            continue
        try:
            record = read_record(path)
        except (InvalidRecordError, OSError):
            continue
        if split_step(record.model_name):
            point = make_point(record)
            points.setdefault(point.record.model_name, []).append(point)
    return points


def gather_points(model: str, new: Iterable[TrainingPoint], folder: Path) -> list[TrainingPoint]:
    """The points of a model's run in a folder, if there is one, and new ones, which replace those of their steps.

    Args:
        model: its name without a revision.
        new: points.
        folder: of the records.

    Raises:
        InvalidRecordError: where they make no run.
        OSError: where the file cannot be read.
    """
    path = folder / RUNS_FOLDER / run_file_name(model)
    return merge_points(parse_points(read_run_file(path), path.name, model) if path.exists() else [], new)


def write_run(points: list[TrainingPoint], folder: Path) -> Path:
    """Writes a run, whole or not at all, and returns its path.

    Args:
        points: of one model.
        folder: of the records.

    Raises:
        InvalidRecordError: where it would be longer than is read.
        OSError: where it cannot be written.
    """
    path = folder / RUNS_FOLDER / run_file_name(points[-1].record.model_name)
    write_whole(path, points_to_lines(points))
    return path


def update_runs(
    models: Iterable[str], folder: Path, push_to: str = "", create_pr: bool = False, dry_run: bool = False
) -> list[str]:
    """Brings runs up to date with the records in a folder, and a dataset with the runs; prints what came of each.

    Args:
        models: their names without a revision.
        folder: of the records.
        push_to: `ORG/DATASET`; empty for none.
        create_pr: opens a pull request instead.
        dry_run: writes and sends nothing.

    Returns:
        A sentence for each that failed, which does not stop the others.
    """
    found, failed = read_points(folder), []
    for model in models:
        try:
            points = gather_points(model, found.get(model, ()), folder)
            if not points:
                failed.append(f"There is no record of a step of {model} in {folder}, such as {model}@step1000.")
                continue
            print(_update(model, points, folder, push_to, create_pr, dry_run))
        except (HeadRolesError, OSError) as error:
            failed.append(str(error))
    return failed


def _update(model: str, points: list[TrainingPoint], folder: Path, push_to: str, create_pr: bool, dry_run: bool) -> str:
    """What came of a model's points, in lines for people."""
    from .run_push import push_run  # slow to import: not for who pushes nothing

    text = f"Training of {model}: {len(points)} recorded steps, {points[0].step:,} to {points[-1].step:,}"
    if len(points) > 1 and not dry_run:
        text += f", in {write_run(points, folder)}"
    pushed = push_run(points, push_to, create_pr, dry_run) if push_to else None
    if pushed is None and len(points) < 2:
        return f"Training of {model}: step {points[0].step:,} alone; a training run needs at least two steps"
    return f"{text}\n{pushed}" if pushed else text
