"""A model's training run into a dataset repo on the Hub: its new points beside those that are there, in one file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headroles.core.records.record_files import MAX_RECORD_BYTES, parse_record
from headroles.core.surveys.training_builder import make_point, merge_points, points_to_lines, run_file_name
from headroles.core.surveys.training_run import MAX_TRAINING_BYTES, TrainingPoint, parse_points
from headroles.errors import InvalidRecordError
from headroles.hub.dataset import RECORDS, RUNS

from .pushing import Listing, Push, Pushed


def push_run(points: Sequence[TrainingPoint], repo: str, create_pr: bool = False, dry_run: bool = False) -> Pushed | None:
    """Adds the points of a model's run to those that a dataset has, each in place of the one of its step.

    Where it has no run yet, its records of the model's steps are points too: so many machines can push a step each. Points that
    are there already make no commit. None where all together are one step, which is no run yet. For the rest see `push.push`.

    Raises:
        InvalidRecordError: when the points make no run with those that are there, or those that are there cannot be read.
        InvalidInputError, HubError: as `push.push` does.
    """
    push = _RunPush(points, repo, create_pr, dry_run)
    pushed = push.run()
    return None if push.is_short else pushed


@dataclass(frozen=True)
class _State:
    """The dataset at one commit: its files, and the points of the model's run there, or of its records where there is none."""

    listing: Listing
    points: Sequence[TrainingPoint]
    of_records: Sequence[TrainingPoint] = ()


class _RunPush(Push[_State]):
    what = "Training"

    def __init__(self, points: Sequence[TrainingPoint], repo: str, create_pr: bool, dry_run: bool) -> None:
        super().__init__(points[-1].record.model_name, repo, create_pr, dry_run)
        self._points, self._path = points, f"{RUNS}/{run_file_name(self._model)}"
        self.is_short = False

    def _read(self, listing: Listing) -> _State:
        file = listing.files.get(self._path)
        if file is None:
            return _State(listing, (), list(self._points_of_records(listing)))
        told = f"of {self._model} in {self._repo}"
        if file.size > MAX_TRAINING_BYTES:
            raise InvalidRecordError(f"The training run {told} has {file.size:,} bytes; at most {MAX_TRAINING_BYTES:,} are read.")
        return _State(listing, parse_points(self._content(file, listing), told, self._model))

    def _points_of_records(self, listing: Listing) -> Iterator[TrainingPoint]:
        for path, file in listing.files.items():
            folder, _, name = path.rpartition("/")
            if folder != RECORDS or "step" not in name or file.size > MAX_RECORD_BYTES:
                continue
            try:
                point = make_point(parse_record(self._content(file, listing), name))
            except InvalidRecordError:
                continue
            if point.record.model_name == self._model:
                yield point

    def _changed_files(self, state: _State) -> dict[str, bytes]:
        points = merge_points((*state.points, *state.of_records), self._points)
        self.is_short = len(points) < 2
        return {} if self.is_short or points == list(state.points) else {self._path: points_to_lines(points)}

    def _difference(self, state: _State) -> list[str]:
        before = {point.step: point for point in state.points}
        told = {"adds": [], "changes": []}
        for point in self._points:
            if point != before.get(point.step):
                told["changes" if point.step in before else "adds"].append(f"{point.step:,}")
        return [f"  {what} step {', '.join(steps)}" for what, steps in told.items() if steps]
