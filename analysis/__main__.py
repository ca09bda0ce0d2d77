"""Scores every head of models with TransformerLens, writes one JSON record a model, and pushes it to the Hub if asked to."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch

from headroles.core.records.atomic_files import clear_halves
from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_files import read_record, record_file_name
from headroles.errors import HeadRolesError, NoHeadCategoriesError
from headroles.hub.http import is_reachable, set_timeouts
from headroles.hub.record_store import load_head_categories
from headroles.models.model_pool import tame_glibc
from headroles.models.probes.probe_texts import ProbeSizes

from . import agreement, calibrate, validate
from .disk import Disk
from .framed import framed
from .machines import Machine
from .options import (
    parse_analyze,
    parse_atlas,
    parse_calibrate,
    parse_compare,
    parse_job,
    parse_push,
    parse_training,
    parse_validate,
)
from .places import HERE, JOBS, place_of, run_each
from .planning import forecast, plan_table, planned
from .runs import Outcome, Plan, attempt, is_remote
from .sweeps import Log
from .table import table
from .training import models_of, points_in, update_runs
from .work import JOB, plan_of_job

OUTPUT_TEXTS = 100  # of each role that is scored by what heads write
EFFECT_TEXTS = 10  # on which the heads of each role are taken out
STOPPED = 130  # as shells report a program that Ctrl-C ended


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit code; see `options.EXIT_CODES`, `validate.run` and `compare_records`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    set_timeouts()
    tame_glibc()
    if arguments[:1] == ["validate"]:
        return validate_record(parse_validate(arguments[1:]))
    if arguments[:1] == ["compare"]:
        return compare_records(parse_compare(arguments[1:]))
    if arguments[:1] == ["push"]:
        return push_folder(parse_push(arguments[1:]))
    if arguments[:1] == ["atlas"]:
        return write_atlas(parse_atlas(arguments[1:]))
    if arguments[:1] == ["training"]:
        return make_training(parse_training(arguments[1:]))
    if arguments[:1] == ["calibrate"]:
        return try_verdicts(parse_calibrate(arguments[1:]))
    if arguments[:1] == [JOB]:
        return do_job(parse_job(arguments[1:]))
    try:
        return analyze_models(parse_analyze(arguments))
    except HeadRolesError as error:  # of a query of the Hub, or of a place that nothing can be said of
        print(f"error: {error}", file=sys.stderr)
        return 1


def analyze_models(args: argparse.Namespace) -> int:
    """Analyses the models, or says what that takes; each failure is said at once, and a table at the end says how all went."""
    plan, place = plan_of(args), place_of(args.on, args.package or "", Disk(args.disk) if args.disk else None)
    if args.dry_run and not args.push:
        return show_plan(args.models, plan, place.machine())
    log = Log(args.log, {plan.called(model): model for model in args.models}) if args.log else None
    outcomes: list[Outcome] = []
    stopped = lost = False
    clear_halves(args.out)  # of a run that was killed
    try:
        if args.on.startswith(JOBS) or len(args.models) > 1:
            print(f"note: {forecast([planned(model, plan) for model in args.models], plan, place.machine())}", file=sys.stderr)
        with closing(run_each(args.models, plan, place)) as ended:
            for outcome in ended:
                outcome = push_record(outcome, args) if args.push else outcome
                outcomes.append(outcome)
                if log:
                    log.add(outcome)
                if outcome.status == "failed":
                    print(f"error: {outcome.reason}", file=sys.stderr)
                elif args.on != HERE:  # where no bar moves
                    print(f"{len(outcomes)} of {len(args.models)}: {outcome.model} {outcome.status}", file=sys.stderr)
    except HeadRolesError as error:  # of the place itself
        lost = True
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        stopped = True
        print(f"error: stopped after {len(outcomes)} of {len(args.models)} models", file=sys.stderr)
    if log and (left := log.close()):
        print(f"note: {left} lists what to try again: --models {left}", file=sys.stderr)
    if outcomes:
        places = {plan.called(model): number for number, model in enumerate(args.models)}
        print(table(sorted(outcomes, key=lambda outcome: places[outcome.model])))
    failed = lost or any(outcome.status == "failed" for outcome in outcomes)
    if not stopped and (models := models_of(outcome.model for outcome in outcomes if outcome.record)):
        failed |= say_failed(update_runs(models, args.out, args.push or "", args.create_pr, args.dry_run))
    return STOPPED if stopped else int(failed)


def plan_of(args: argparse.Namespace) -> Plan:
    """What is asked of every model; where many come from the Hub and it is away, that is said once, and nobody waits for it."""
    outputs = 0 if args.quick else OUTPUT_TEXTS
    calibration, effects = 0 if args.quick else args.calibration, EFFECT_TEXTS if args.effects else 0
    sizes = ProbeSizes(args.repeated_sequences, args.repeat_length, args.sentences, args.seed, calibration, effects, outputs)
    offline = sum(map(is_remote, args.models)) > 1 and not is_reachable()
    if offline:
        print("note: The Hub cannot be reached from here; of its models only those downloaded before are seen.", file=sys.stderr)
    dtype, name = getattr(torch, args.dtype), args.name or ""
    return Plan(args.out, sizes, args.batch, args.device, dtype, args.again, name, args.limit, offline)


def show_plan(models: Sequence[str], plan: Plan, machine: Machine) -> int:
    """Prints what a run would do, and take where it goes to; 0, or 1 where nothing can be said of a model."""
    found = [planned(model, plan) for model in models]
    if not plan.offline:  # else the one note says it
        for model in found:
            if model.reason:
                print(f"error: {model.reason}", file=sys.stderr)
    print(plan_table(found, plan, machine))
    return int(any(model.reason for model in found))


def do_job(args: argparse.Namespace) -> int:
    """Analyses a model where nobody reads the disk, and says how that went in lines for `framed.unframed`."""
    outcome = attempt(args.model, plan_of_job(args), None)
    print(*framed(outcome), sep="\n", flush=True)
    return int(outcome.status == "failed")


def push_folder(args: argparse.Namespace) -> int:
    """Pushes the records of a folder; one that fails stops none of the others. 0, or 1 when one failed."""
    from .push import push  # slow to import: not for who pushes nothing

    if not is_reachable():
        print("error: The Hub cannot be reached, so nothing was pushed.", file=sys.stderr)
        return 1
    failed = False
    for path in sorted(args.folder.glob("*.json")):
        try:
            print(push(read_record(path), args.push, args.create_pr, args.dry_run))
        except (HeadRolesError, OSError) as error:
            failed = True
            print(f"error: {error}", file=sys.stderr)
    runs = update_runs(points_in(args.folder), args.folder, args.push, args.create_pr, args.dry_run)
    return int(say_failed(runs) or failed)


def make_training(args: argparse.Namespace) -> int:
    """Makes the training run of a model out of the records of its steps, and pushes it if asked to; 0, or 1 when that failed."""
    if args.push and not is_reachable():
        print("error: The Hub cannot be reached, so nothing was pushed.", file=sys.stderr)
        return 1
    return int(say_failed(update_runs([args.model], args.out, args.push or "", args.create_pr, args.dry_run)))


def say_failed(errors: Sequence[str]) -> bool:
    """Prints what failed; whether anything did."""
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    return bool(errors)


def push_record(outcome: Outcome, args: argparse.Namespace) -> Outcome:
    """Pushes the record, new or not, and says so; where that fails, so did the model, but its record stays on this machine."""
    from .push import push  # slow to import: not for who pushes nothing

    if outcome.record is None:
        return outcome
    try:
        print(push(outcome.record, args.push, args.create_pr, args.dry_run))
    except HeadRolesError as error:
        return replace(outcome, status="failed", reason=str(error))
    return outcome


def validate_record(args: argparse.Namespace) -> int:
    """Prints a model's record beside what is published of it."""
    try:
        text, exit_code = validate.run(args.model, find_record(args.model, args.out))
    except HeadRolesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(text if exit_code < 2 else f"error: {text}", file=sys.stdout if exit_code < 2 else sys.stderr)
    return exit_code


def compare_records(args: argparse.Namespace) -> int:
    """Prints how far two records agree; 0, or 1 when they cannot be compared."""
    try:
        print(agreement.report(named_record(args.a), named_record(args.b)))
    except HeadRolesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def write_atlas(args: argparse.Namespace) -> int:
    """Writes the atlas of a folder and prints what it says; 0, or 1 when a record was left out or there is none."""
    from . import atlas  # slow to import: not for who draws nothing

    try:
        text, faults = atlas.run(args.folder, args.figure)
    except (HeadRolesError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    print(text)
    return int(bool(faults))


def try_verdicts(args: argparse.Namespace) -> int:
    """Prints how a record's verdicts do on texts that it was not calibrated on; 0, 1 when an aim is missed, or 2."""
    try:
        text, exit_code = calibrate.run(args.model, find_record(args.model, args.out), args.texts, args.untrained)
    except HeadRolesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(text)
    return exit_code


def named_record(name: str) -> HeadCategories:
    """The record in a file, or that of a model that ships with headroles or was analysed on the page.

    Raises:
        HeadRolesError: where there is none, or it is not valid.
    """
    return read_record(Path(name)) if Path(name).is_file() else load_head_categories(name)


def find_record(model: str, folder: Path | None) -> HeadCategories | None:
    """The record in the folder, or without one the embedded record or that of a model analysed on the page; None for none."""
    try:
        return read_record(folder / record_file_name(model)) if folder else load_head_categories(model)
    except (FileNotFoundError, NoHeadCategoriesError):
        return None


if __name__ == "__main__":
    sys.exit(main())
