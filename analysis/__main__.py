"""Scores every head of models with TransformerLens, writes one JSON record a model, and pushes it to the Hub if asked to."""

import argparse
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from huggingface_hub.utils import HFValidationError, validate_repo_id

from headroles.core.record_files import read_record, record_file_name
from headroles.core.records import HeadCategories
from headroles.core.registry import MODELS
from headroles.core.whole_files import clear_halves
from headroles.errors import HeadRolesError, NoHeadCategoriesError
from headroles.hub.store import load_head_categories
from headroles.hub.talk import bound_waits
from headroles.models.pool import map_large_tensors
from headroles.models.probes import SENTENCES, ProbeSizes

from . import COMMAND, agreement, calibrate, runs, validate

USAGE = f"""{COMMAND} NAME_OR_PATH ... --out DIR [options]
       {COMMAND} --all --out DIR [options]
       {COMMAND} validate MODEL [--out DIR]
       {COMMAND} compare RECORD RECORD
       {COMMAND} calibrate MODEL [--out DIR] [--untrained]"""
EXIT_CODES = (
    "Exit code: 0 when every model has its record, and the dataset too where it was to be pushed; 1 when one failed, "
    "2 for a wrong command line, 130 after Ctrl-C."
)
OUTPUT_TEXTS = 100  # of each role that is scored by what heads write
EFFECT_TEXTS = 10  # on which the heads of each role are taken out
STOPPED = 130  # as shells report a program that Ctrl-C ended


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit code; see EXIT_CODES, `validate.run` and `compare_records`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    bound_waits()
    map_large_tensors()
    if arguments[:1] == ["validate"]:
        return validate_record(parse_validate(arguments[1:]))
    if arguments[:1] == ["compare"]:
        return compare_records(parse_compare(arguments[1:]))
    if arguments[:1] == ["calibrate"]:
        return try_verdicts(parse_calibrate(arguments[1:]))
    return analyze_models(parse_analyze(arguments))


def analyze_models(args: argparse.Namespace) -> int:
    """Analyses one model after the other; each failure is said at once, and a table at the end says how all went."""
    outputs = 0 if args.quick else OUTPUT_TEXTS
    calibration, effects = 0 if args.quick else args.calibration, EFFECT_TEXTS if args.effects else 0
    sizes = ProbeSizes(args.repeated_sequences, args.repeat_length, args.sentences, args.seed, calibration, effects, outputs)
    plan = runs.Plan(args.out, sizes, args.batch, args.device, getattr(torch, args.dtype), args.again, args.name or "")
    outcomes, stopped = [], False
    clear_halves(args.out)  # of a run that was killed
    try:
        for outcome in runs.run_each(args.models, plan):
            outcome = push_record(outcome, args) if args.push else outcome
            outcomes.append(outcome)
            if outcome.status == "failed":
                print(f"error: {outcome.reason}", file=sys.stderr)
    except KeyboardInterrupt:
        stopped = True
        print(f"error: stopped after {len(outcomes)} of {len(args.models)} models", file=sys.stderr)
    if outcomes:
        print(runs.table(outcomes))
    failed = any(outcome.status == "failed" for outcome in outcomes)
    return STOPPED if stopped else int(failed)


def push_record(outcome: runs.Outcome, args: argparse.Namespace) -> runs.Outcome:
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


def parse_analyze(arguments: list[str]) -> argparse.Namespace:
    default = ProbeSizes()
    parser = argparse.ArgumentParser(prog=COMMAND, usage=USAGE, description=__doc__, epilog=EXIT_CODES)
    parser.add_argument(
        "models", nargs="*", metavar="NAME_OR_PATH", help=f"{', '.join(MODELS)}, a folder, a GGUF file or a hub id"
    )
    parser.add_argument("--all", action="store_true", help=f"all {len(MODELS)} models that have a name above")
    parser.add_argument("--name", type=model_name, metavar="ORG/MODEL", help="what its record calls the one model")
    parser.add_argument("--out", type=folder, required=True, metavar="DIR", help="where the records go")
    parser.add_argument("--again", action="store_true", help="also make records again that are finished and up to date")
    parser.add_argument("--push", type=dataset, metavar="ORG/DATASET", help="dataset on the Hub to push every record to")
    parser.add_argument("--create-pr", action="store_true", help="push as a pull request, where you may not write")
    parser.add_argument("--dry-run", action="store_true", help="only say what a push would change there")
    parser.add_argument("--device", type=device, default="cpu", help="cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16"], default="float32", help="of the weights; scores are always float32"
    )
    parser.add_argument(
        "--quick", action="store_true", help="scores of patterns alone: no calibration, nothing of what heads write"
    )
    parser.add_argument("--effects", action="store_true", help="also what is lost without the heads of each role")
    parser.add_argument("--batch", type=whole(1), default=10, metavar="N", help="texts in one forward (default: %(default)s)")
    for name, kind, unit, text in (
        ("repeated_sequences", whole(1), "N", "random strings that repeat once"),
        ("repeat_length", whole(2), "TOKENS", "length of such a string; shorter where a model reads less"),
        ("sentences", whole(1, len(SENTENCES)), "N", f"sentences, 1 to {len(SENTENCES)}"),
        ("seed", whole(0, 2**63 - 1), "N", "what the random strings are drawn with"),
        ("calibration", whole(1), "N", "texts of each length and kind that verdicts are calibrated on"),
    ):
        flag, usual = f"--{name.replace('_', '-')}", getattr(default, name)
        parser.add_argument(flag, type=kind, default=usual, metavar=unit, help=f"{text} (default: %(default)s)")
    args = parser.parse_args(arguments)
    if args.all == bool(args.models):
        parser.error("name one model or more, or --all instead")
    if (args.create_pr or args.dry_run) and not args.push:
        parser.error("--create-pr and --dry-run go with --push ORG/DATASET")
    args.models = list(MODELS) if args.all else args.models
    if args.name and len(args.models) > 1:
        parser.error("--name goes with one model")
    # some disks do not tell capitals from small letters
    files = [record_file_name(args.name or runs.name_of(model)).lower() for model in args.models]
    if twice := next((file for file in files if files.count(file) > 1), None):
        parser.error(f"two of the models would be written to the same {twice}")
    return args


def parse_validate(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"{COMMAND} validate", description=validate.__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", metavar="MODEL", help="the name in the record, for instance gpt2")
    parser.add_argument("--out", type=folder, metavar="DIR", help="where its record is (default: embedded, or analysed here)")
    return parser.parse_args(arguments)


def parse_compare(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"{COMMAND} compare", description=agreement.__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    for name in ("a", "b"):
        parser.add_argument(name, metavar="RECORD", help="a file, or the name of a model whose record is here")
    return parser.parse_args(arguments)


def parse_calibrate(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"{COMMAND} calibrate", description=calibrate.__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", metavar="MODEL", help="a model whose record is here, or in the folder")
    parser.add_argument("--out", type=folder, metavar="DIR", help="folder of records to look in, instead of the usual places")
    parser.add_argument("--untrained", action="store_true", help="its architecture with fresh random weights, analysed first")
    parser.add_argument(
        "--texts", type=whole(1), default=16, metavar="N", help="texts of each length and kind (default: %(default)s)"
    )
    return parser.parse_args(arguments)


def folder(text: str) -> Path:
    if Path(text).exists() and not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a file, not a folder")
    return Path(text)


def model_name(text: str) -> str:
    if text not in MODELS:
        try:
            validate_repo_id(text)
        except HFValidationError:
            raise argparse.ArgumentTypeError(f"{text[:100]!r} is no name that a model has on the Hub, as ORG/MODEL") from None
    return text


def dataset(text: str) -> str:
    with suppress(HFValidationError):
        validate_repo_id(text)
        if "/" in text:
            return text
    raise argparse.ArgumentTypeError(f"{text[:100]!r} is no dataset on the Hub, as ORG/DATASET")


def device(text: str) -> str:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is none of cpu, cuda and cuda:N")
    if text != "cpu" and (torch.device(text).index or 0) >= torch.cuda.device_count():
        raise argparse.ArgumentTypeError(f"torch sees no device {text} on this machine; leave --device out to use the CPU")
    return text


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Reads whole numbers from `least` to `most`."""

    def read(text: str) -> int:
        number = int(text) if re.fullmatch(r"-?\d{1,19}", text) else None
        if number is None or number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"must be a whole number, {least} {'or more' if most is None else f'to {most}'}")
        return number

    return read


if __name__ == "__main__":
    sys.exit(main())
