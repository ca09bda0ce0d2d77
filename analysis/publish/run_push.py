"""A model's training run into a dataset repo on the Hub: its new points beside those that are there, in one file."""

from collections.abc import Iterator, Sequence

from headroles.core.records.record_files import MAX_RECORD_BYTES, parse_record
from headroles.core.surveys.training_builder import make_point, merge_points, points_to_lines, run_file_name
from headroles.core.surveys.training_run import MAX_TRAINING_BYTES, TrainingPoint, parse_points
from headroles.errors import InvalidRecordError
from headroles.hub.dataset import RECORDS_FOLDER, RUNS_FOLDER

from .dataset_push import Change, DatasetPush, PushResult, RepoSnapshot


def push_run(points: Sequence[TrainingPoint], repo: str, create_pr: bool = False, dry_run: bool = False) -> PushResult | None:
    """Adds the points of a model's run to those that a dataset has, each in place of the one of its step.

    If the dataset has no run of the model yet, its records of the model's steps are points too, so many machines can push one
    step each. Points that are there already make no commit.

    Args:
        points: of one model, at least one.
        repo: `ORG/DATASET`.
        create_pr: opens a pull request instead, for those who may not write there.
        dry_run: says what would change, and sends nothing.

    Returns:
        What the push came to; None where all points together are one step, which is not a run yet.

    Raises:
        InvalidRecordError: when the points make no run with those that are there, or those cannot be read.
        InvalidInputError: as `record_push.push` does.
        HubError: as `record_push.push` does.
    """
    model = points[-1].record.model_name
    path = f"{RUNS_FOLDER}/{run_file_name(model)}"
    count = 0

    def changes(snapshot: RepoSnapshot) -> Change:
        nonlocal count
        old, others = _run_points(model, path, snapshot), []
        if old is None:
            old, others = [], list(_record_points(model, snapshot))
        new = merge_points((*old, *others), points)
        count = len(new)
        files = {} if count < 2 or new == old else {path: points_to_lines(new)}
        return files, _difference(old, points)

    pushed = DatasetPush(model, "Training", repo, create_pr, dry_run).run(changes)
    return pushed if count > 1 else None


def _run_points(model: str, path: str, snapshot: RepoSnapshot) -> list[TrainingPoint] | None:
    """The points of the model's run in the dataset; None where it has none."""
    if (file := snapshot.files.get(path)) is None:
        return None
    name = f"of {model} in {snapshot.repo}"
    content = snapshot.read(path, MAX_TRAINING_BYTES)
    if content is None:
        raise InvalidRecordError(f"The training run {name} has {file.size:,} bytes; at most {MAX_TRAINING_BYTES:,} are read.")
    return list(parse_points(content, name, model))


def _record_points(model: str, snapshot: RepoSnapshot) -> Iterator[TrainingPoint]:
    """The points that the dataset's records of the model's steps are."""
    for path in snapshot.files:
        folder, _, name = path.rpartition("/")
        if folder != RECORDS_FOLDER or "step" not in name or (content := snapshot.read(path, MAX_RECORD_BYTES)) is None:
            continue
        try:
            point = make_point(parse_record(content, name))
        except InvalidRecordError:
            continue
        if point.record.model_name == model:
            yield point


def _difference(old: Sequence[TrainingPoint], new: Sequence[TrainingPoint]) -> list[str]:
    before = {point.step: point for point in old}
    changed = [point.step for point in new if point != before.get(point.step)]
    steps = {
        "adds": [f"{step:,}" for step in changed if step not in before],
        "changes": [f"{step:,}" for step in changed if step in before],
    }
    return [f"  {verb} step {', '.join(named)}" for verb, named in steps.items() if named]
