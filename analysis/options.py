"""The command lines of the analysis, and what may stand in them."""

import argparse
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from huggingface_hub.utils import HFValidationError, validate_repo_id

from headroles.core.record_files import record_file_name
from headroles.core.registry import MODELS
from headroles.models.probes import SENTENCES, ProbeSizes
from headroles.settings import BRANCH

from . import COMMAND, agreement, calibrate, runs, validate
from .places import HERE
from .sweeps import RETRY, read_names, shard, with_revisions

USAGE = f"""{COMMAND} NAME_OR_PATH ... --out DIR [options]
       {COMMAND} --all --out DIR [options]
       {COMMAND} --models FILE --out DIR [--revisions A,B,...] [--shard I/N] [--on ray] [--dry-run] [options]
       {COMMAND} push FOLDER ORG/DATASET [--create-pr] [--dry-run]
       {COMMAND} validate MODEL [--out DIR]
       {COMMAND} compare RECORD RECORD
       {COMMAND} calibrate MODEL [--out DIR] [--untrained]"""
EXIT_CODES = (
    "Exit code: 0 when every model has its record, and the dataset too where it was to be pushed; 1 when one failed, "
    "2 for a wrong command line, 130 after Ctrl-C."
)
DESCRIPTION = "Scores every head of models, writes one JSON record a model, and pushes it to the Hub if asked to."


def parse_analyze(arguments: list[str]) -> argparse.Namespace:
    """The command line of a run, its models listed out: files read, revisions and shards applied."""
    parser = argparse.ArgumentParser(prog=COMMAND, usage=USAGE, description=DESCRIPTION, epilog=EXIT_CODES)
    _add_what(parser)
    _add_where(parser)
    _add_recipe(parser)
    args = parser.parse_args(arguments)
    if args.device != "cpu" and args.on == HERE and (torch.device(args.device).index or 0) >= torch.cuda.device_count():
        parser.error(f"argument --device: torch sees no device {args.device} on this machine; leave --device out to use the CPU")
    if args.on != HERE and ":" in args.device:
        parser.error("argument --device: on a cluster every model has a GPU of its own, cuda:0; say --device cuda")
    if args.create_pr and not args.push:
        parser.error("--create-pr goes with --push ORG/DATASET")
    args.models = _models(parser, args)
    return args


def _add_what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", nargs="*", metavar="NAME_OR_PATH", help=f"{', '.join(MODELS)}, a folder, a GGUF file or a hub id"
    )
    parser.add_argument("--all", action="store_true", help=f"all {len(MODELS)} models that have a name above")
    parser.add_argument(
        "--models", dest="lists", type=names, action="append", default=[], metavar="FILE", help="a list of names, one a line"
    )
    parser.add_argument(
        "--revisions", type=revisions, default=[], metavar="A,B,...", help="each model at each of these, as NAME@A is one"
    )
    parser.add_argument("--shard", type=part, metavar="I/N", help="only the I-th of N parts of the models, from 1")
    parser.add_argument("--name", type=model_name, metavar="ORG/MODEL", help="what its record calls the one model")


def _add_where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=folder, required=True, metavar="DIR", help="where the records go")
    parser.add_argument("--again", action="store_true", help="also make records again that are finished and up to date")
    parser.add_argument("--push", type=dataset, metavar="ORG/DATASET", help="dataset on the Hub to push every record to")
    parser.add_argument("--create-pr", action="store_true", help="push as a pull request, where you may not write")
    parser.add_argument(
        "--dry-run", action="store_true", help="only say what would be done; with --push analyse, and say what would change there"
    )
    parser.add_argument(
        "--log",
        type=Path,
        metavar="FILE",
        help=f"a JSON line for every model that ended; FILE{RETRY} lists those to retry",
    )
    parser.add_argument(
        "--on", type=place, default=HERE, metavar="PLACE", help="where the work runs: here, ray or ray:HOST:PORT (default: here)"
    )
    parser.add_argument("--limit", type=whole(1), metavar="SECONDS", help="how long one model may take (default: any time)")


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    default = ProbeSizes()
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


def _models(parser: argparse.ArgumentParser, args: argparse.Namespace) -> list[str]:
    """What is to be run, or the end of the program with what is wrong."""
    listed = [name for file in args.lists for name in file]
    if args.all == bool(args.models or args.lists):
        parser.error("name one model or more, or --all instead")
    models = with_revisions(list(MODELS) if args.all else [*args.models, *listed], args.revisions)
    if not models:
        parser.error("the lists of --models name no model")
    if args.name and len(models) > 1:
        parser.error("--name goes with one model")
    files: set[str] = set()
    for model in models:
        # some disks do not tell capitals from small letters
        file = record_file_name(args.name or runs.name_of(model)).lower()
        if file in files:
            parser.error(f"two of the models would be written to the same {file}")
        files.add(file)
    return shard(models, *args.shard) if args.shard else models


def _command(name: str, told: str | None) -> argparse.ArgumentParser:
    """The parser of a command of its own, with its module's words as they are written."""
    return argparse.ArgumentParser(
        prog=f"{COMMAND} {name}", description=told, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def parse_push(arguments: list[str]) -> argparse.Namespace:
    parser = _command("push", "Pushes records that were made before.")
    parser.add_argument("folder", type=folder, metavar="FOLDER", help="where the records are")
    parser.add_argument("push", type=dataset, metavar="ORG/DATASET", help="dataset on the Hub")
    parser.add_argument("--create-pr", action="store_true", help="as a pull request, where you may not write")
    parser.add_argument("--dry-run", action="store_true", help="only say what would change there")
    return parser.parse_args(arguments)


def parse_validate(arguments: list[str]) -> argparse.Namespace:
    parser = _command("validate", validate.__doc__)
    parser.add_argument("model", metavar="MODEL", help="the name in the record, for instance gpt2")
    parser.add_argument("--out", type=folder, metavar="DIR", help="where its record is (default: embedded, or analysed here)")
    return parser.parse_args(arguments)


def parse_compare(arguments: list[str]) -> argparse.Namespace:
    parser = _command("compare", agreement.__doc__)
    for name in ("a", "b"):
        parser.add_argument(name, metavar="RECORD", help="a file, or the name of a model whose record is here")
    return parser.parse_args(arguments)


def parse_calibrate(arguments: list[str]) -> argparse.Namespace:
    parser = _command("calibrate", calibrate.__doc__)
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


def names(text: str) -> list[str]:
    try:
        return read_names(Path(text).read_text("utf-8"))
    except (OSError, UnicodeError):
        raise argparse.ArgumentTypeError(f"{text} cannot be read as a list of names") from None


def revisions(text: str) -> list[str]:
    found = [revision.strip() for revision in text.split(",")]
    if wrong := [revision for revision in found if not BRANCH.fullmatch(revision)]:
        raise argparse.ArgumentTypeError(f"{wrong[0][:100]!r} is no branch, tag or commit")
    return found


def part(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text[:100]!r} is no part I/N with I from 1 to N")
    return int(match[1]), int(match[2])


def place(text: str) -> str:
    """One of those that `place_of` knows; whether it can be reached is seen later."""
    if text != HERE and not re.fullmatch(r"ray(:[\w.\[\]:-]+:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text[:100]!r} is none of here, ray and ray:HOST:PORT")
    return text


def device(text: str) -> str:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is none of cpu, cuda and cuda:N")
    return text


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Reads whole numbers from `least` to `most`."""

    def read(text: str) -> int:
        number = int(text) if re.fullmatch(r"-?\d{1,19}", text) else None
        if number is None or number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"must be a whole number, {least} {'or more' if most is None else f'to {most}'}")
        return number

    return read
