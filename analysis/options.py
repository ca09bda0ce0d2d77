"""The command lines of the analysis."""

import argparse
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import torch

from headroles.core.records.record_files import record_file_name
from headroles.core.registry import MODELS
from headroles.models.probes.probe_texts import SENTENCES, ProbeSizes

from . import COMMAND, agreement, calibrate, runs, training, validate
from .option_values import dataset, device, folder, gigabytes, model_name, names, package, part, place, revisions, whole
from .places import HERE, JOBS
from .queries import Query, found
from .sweeps import RETRY, shard, with_revisions
from .work import JOB

USAGE = f"""{COMMAND} NAME_OR_PATH ... --out DIR [options]
       {COMMAND} --all --out DIR [options]
       {COMMAND} --models FILE|QUERY --out DIR [--revisions A,B,...] [--shard I/N] [--on PLACE] [--dry-run] [options]
       {COMMAND} push FOLDER ORG/DATASET [--create-pr] [--dry-run]
       {COMMAND} atlas FOLDER [--figure FILE]
       {COMMAND} training MODEL --out DIR [--push ORG/DATASET] [--create-pr] [--dry-run]
       {COMMAND} validate MODEL [--out DIR]
       {COMMAND} compare RECORD RECORD
       {COMMAND} calibrate MODEL [--out DIR] [--untrained]"""
DTYPES = ["float32", "bfloat16"]
EXIT_CODES = (
    "Exit code: 0 when every model has its record, and the dataset too where it was to be pushed; 1 when one failed, "
    "2 for a wrong command line, 130 after Ctrl-C."
)
DESCRIPTION = "Scores every head of models, writes one JSON record a model, and pushes it to the Hub if asked to."


def parse_analyze(arguments: list[str], ask: Callable[[Query], list[str]] = found) -> argparse.Namespace:
    """The command line of a run, its models listed out: files read, queries asked, revisions and shards applied.

    Args:
        ask: what names the models of a query, once all else in the command line is right.

    Raises what `ask` raises.
    """
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
    if args.disk and args.on != HERE:
        parser.error("--disk is of this machine, and goes with --on here")
    if args.package and not args.on.startswith(JOBS):
        parser.error("--package goes with --on hf-jobs")
    args.models = _models(parser, args, ask)
    return args


def _add_what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", nargs="*", metavar="NAME_OR_PATH", help=f"{', '.join(MODELS)}, a folder, a GGUF file or a hub id"
    )
    parser.add_argument("--all", action="store_true", help=f"all {len(MODELS)} models that have a name above")
    parser.add_argument(
        "--models",
        dest="lists",
        type=names,
        action="append",
        default=[],
        metavar="FILE|QUERY",
        help="a list of names, one a line, or what the Hub has: hub:architecture=llama,max_size=500M,sort=downloads,limit=20",
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
        "--on",
        type=place,
        default=HERE,
        metavar="PLACE",
        help="where the work runs: here, ray, ray:HOST:PORT, hf-jobs or hf-jobs:FLAVOR (default: here)",
    )
    parser.add_argument(
        "--package",
        type=package,
        metavar="REQUIREMENT",
        help="where a job gets headroles, as pip names it",
    )
    parser.add_argument(
        "--disk", type=gigabytes, metavar="GB", help="what the Hub's cache may take; what this run is done with makes room"
    )
    parser.add_argument("--limit", type=whole(1), metavar="SECONDS", help="how long one model may take (default: any time)")


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    default = ProbeSizes()
    parser.add_argument("--device", type=device, default="cpu", help="cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the weights; scores are always float32")
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


def _models(parser: argparse.ArgumentParser, args: argparse.Namespace, ask: Callable[[Query], list[str]]) -> list[str]:
    """What is to be run, or the end of the program with what is wrong."""
    if args.all == bool(args.models or args.lists):
        parser.error("name one model or more, or --all instead")
    listed = [name for names in args.lists for name in (ask(names) if isinstance(names, Query) else names)]
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
    parser = _command("push", "Pushes records that were made before, and the training runs that they are.")
    parser.add_argument("folder", type=folder, metavar="FOLDER", help="where the records are")
    parser.add_argument("push", type=dataset, metavar="ORG/DATASET", help="dataset on the Hub")
    parser.add_argument("--create-pr", action="store_true", help="as a pull request, where you may not write")
    parser.add_argument("--dry-run", action="store_true", help="only say what would change there")
    return parser.parse_args(arguments)


def parse_training(arguments: list[str]) -> argparse.Namespace:
    parser = _command("training", training.__doc__)
    parser.add_argument("model", metavar="MODEL", help="without a revision, for instance EleutherAI/pythia-160m")
    parser.add_argument("--out", type=folder, required=True, metavar="DIR", help="where the records are, and the run goes")
    parser.add_argument("--push", type=dataset, metavar="ORG/DATASET", help="dataset on the Hub to add the points to")
    parser.add_argument("--create-pr", action="store_true", help="as a pull request, where you may not write")
    parser.add_argument("--dry-run", action="store_true", help="only say what would change")
    return parser.parse_args(arguments)


def parse_job(arguments: list[str]) -> argparse.Namespace:
    parser = _command(JOB, "Does what a job of the Hub is told to: its log ends with the record.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--name", type=str, required=True)
    parser.add_argument("--batch", type=whole(1), required=True)
    parser.add_argument("--device", type=device, required=True)
    parser.add_argument("--dtype", choices=DTYPES, required=True)
    for field in fields(ProbeSizes):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=whole(0), required=True)
    return parser.parse_args(arguments)


def parse_atlas(arguments: list[str]) -> argparse.Namespace:
    parser = _command("atlas", "Writes the atlas of a folder of records: which share of heads plays which role, over its models.")
    parser.add_argument("folder", type=folder, metavar="FOLDER", help="where the records are")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw it as well: a PDF, PNG or SVG")
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
