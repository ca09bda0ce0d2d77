"""What the commands other than `score` do: each prints what it has to say and returns the exit code."""

import argparse
import sys
from pathlib import Path

from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_files import read_record, record_file_name
from headroles.errors import HeadRolesError, HubError, NoHeadCategoriesError
from headroles.hub.http import is_reachable
from headroles.hub.record_store import load_head_categories

from .checks import agreement, calibrate, validate
from .publish import model_docs as readme
from .publish.training_runs import read_points, update_runs
from .score import report_errors

# modules that are slow to import are imported by the command that needs them


def push_folder(args: argparse.Namespace) -> int:
    """Pushes the records of a folder, and their training runs; one that fails does not stop the others."""
    from .publish.record_push import push

    _check_hub()
    status = 0
    for path in sorted(args.folder.glob("*.json")):
        try:
            print(push(read_record(path), args.push, args.create_pr, args.dry_run))
        except (HeadRolesError, OSError) as error:
            status = report_errors([str(error)])
    runs = update_runs(read_points(args.folder), args.folder, args.push, args.create_pr, args.dry_run)
    return report_errors(runs) or status


def update_training(args: argparse.Namespace) -> int:
    """Makes the training run of a model from the records of its steps, and pushes it if asked to."""
    if args.push:
        _check_hub()
    return report_errors(update_runs([args.model], args.out, args.push or "", args.create_pr, args.dry_run))


def write_atlas(args: argparse.Namespace) -> int:
    """Writes the atlas of a folder and prints a summary; 1 if a record was left out or there is none."""
    from .publish import atlas_files as atlas

    text, faults = atlas.run(args.folder, args.figure)
    status = report_errors(faults)
    print(text)
    return status


def validate_record(args: argparse.Namespace) -> int:
    """Prints a model's record beside what is published of it; for the exit code see `validate.run`."""
    text, status = validate.run(args.model, find_record(args.model, args.out))
    print(text if status < 2 else f"error: {text}", file=sys.stdout if status < 2 else sys.stderr)
    return status


def compare_records(args: argparse.Namespace) -> int:
    """Prints how far two records agree."""
    a, b = (read_record(Path(name)) if Path(name).is_file() else load_head_categories(name) for name in (args.a, args.b))
    print(agreement.report(a, b))
    return 0


def try_verdicts(args: argparse.Namespace) -> int:
    """Prints how a record's verdicts do on new texts; 1 if they miss an aim, 2 if they cannot be tried."""
    try:
        text, status = calibrate.run(args.model, find_record(args.model, args.out), args.texts, args.untrained)
    except HeadRolesError as error:
        report_errors([str(error)])
        return 2
    print(text)
    return status


def draw_calibration(args: argparse.Namespace) -> int:
    """Draws how well the strongest excess tells texts that repeat a passage from null texts."""
    from .checks.calibration_figure import TEXTS, draw

    draw(args.models, TEXTS).savefig(args.out, dpi=110)
    return 0


def deploy_space(args: argparse.Namespace) -> int:
    """Uploads headroles to a Space, or says what that would do."""
    from .publish import deploy

    print((deploy.plan if args.dry_run else deploy.deploy)(args.space, args.dataset))
    return 0


def write_docs(args: argparse.Namespace) -> int:
    """Writes the lists of models into the documents."""
    readme.write_pages()
    return 0


def train_tiny(args: argparse.Namespace) -> int:
    """Trains the embedded model."""
    from .tiny.train import run

    run(args.corpus, args.out, args.work, args.device, args.seed)
    return 0


def find_record(model: str, folder: Path | None) -> HeadCategories | None:
    """Finds the record of a model; None if there is none.

    Args:
        model: its name.
        folder: where to look; None for what ships or was analysed on the page.

    Raises:
        InvalidRecordError: where the record is broken.
    """
    try:
        return read_record(folder / record_file_name(model)) if folder else load_head_categories(model)
    except (FileNotFoundError, NoHeadCategoriesError):
        return None


def _check_hub() -> None:
    if not is_reachable():
        raise HubError("The Hub cannot be reached, so nothing was pushed.")
