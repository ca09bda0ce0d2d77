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

from . import COMMAND, agreement, calibrate, runs, validate
from .places import HERE

USAGE = f"""{COMMAND} NAME_OR_PATH ... --out DIR [options]
       {COMMAND} --all --out DIR [options]
       {COMMAND} validate MODEL [--out DIR]
       {COMMAND} compare RECORD RECORD
       {COMMAND} calibrate MODEL [--out DIR] [--untrained]"""
EXIT_CODES = (
    "Exit code: 0 when every model has its record, and the dataset too where it was to be pushed; 1 when one failed, "
    "2 for a wrong command line, 130 after Ctrl-C."
)
DESCRIPTION = "Scores every head of models, writes one JSON record a model, and pushes it to the Hub if asked to."


def parse_analyze(arguments: list[str]) -> argparse.Namespace:
    default = ProbeSizes()
    parser = argparse.ArgumentParser(prog=COMMAND, usage=USAGE, description=DESCRIPTION, epilog=EXIT_CODES)
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
    parser.add_argument(
        "--on", type=place, default=HERE, metavar="PLACE", help="where the work runs: here, ray or ray:HOST:PORT (default: here)"
    )
    parser.add_argument("--limit", type=whole(1), metavar="SECONDS", help="how long one model may take (default: any time)")
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
    if args.device != "cpu" and args.on == HERE and (torch.device(args.device).index or 0) >= torch.cuda.device_count():
        parser.error(f"argument --device: torch sees no device {args.device} on this machine; leave --device out to use the CPU")
    if args.on != HERE and ":" in args.device:
        parser.error("argument --device: on a cluster every model has a GPU of its own, cuda:0; say --device cuda")
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
