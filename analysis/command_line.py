"""The command line of the analysis: one parser with a sub-command for each thing to do."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import torch

from headroles.core.records.record_files import record_file_name
from headroles.core.registry import MODELS
from headroles.models.probes.probe_texts import SENTENCES, ProbeSizes

from . import COMMAND, arguments
from .backends.backend import HERE, JOBS
from .checks import agreement, calibrate, validate
from .hub_query import HubQuery, search_hub
from .pipeline import sources
from .publish import training_runs as training
from .run_log import RETRY, expand_revisions, select_shard

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
SCORE = "score"  # the sub-command of a command line that names none
EXIT_CODES = (
    "Exit code: 0 if every model has its record, and the dataset too if --push was given; 1 if a model failed; "
    "2 for a wrong command line; 130 after Ctrl-C."
)


def parse(words: Sequence[str], search: Callable[[HubQuery], list[str]] = search_hub) -> argparse.Namespace:
    """The arguments of a command line; those of `score` have all their models listed, in `models`.

    Args:
        words: without the program's name; a line that begins with no sub-command is one of `score`.
        search: lists the models of a query of the Hub, once the rest of the command line is right.

    Raises:
        SystemExit: for a wrong command line, after saying what is wrong, or after the help.
        HeadRolesError: as `search` does.
    """
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="Scores the attention heads of language models and publishes the records.",
        epilog=f"`{COMMAND} MODEL ...` is short for `{COMMAND} {SCORE} MODEL ...`.",
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    score = _add_score(commands)
    for add in (_add_push, _add_atlas, _add_training, _add_validate, _add_compare, _add_calibrate, _add_project_commands):
        add(commands)
    if not words or words[0] not in ("-h", "--help", *commands.choices):
        words = [SCORE, *words]
    args = parser.parse_args(words)
    if args.command == SCORE:
        _check_options(score, args)
        args.models = _list_models(score, args, search)
    return args


def _add_score(commands: Commands) -> argparse.ArgumentParser:
    text = "score every head of models and write a JSON record for each"
    score = commands.add_parser(SCORE, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=EXIT_CODES)
    models = score.add_argument_group("models")
    named = f"{', '.join(MODELS)}, a folder, a GGUF file or a Hub id"
    models.add_argument("models", nargs="*", metavar="MODEL", help=named)
    models.add_argument("--all", action="store_true", help=f"all {len(MODELS)} models that have a name above")
    query = "hub:architecture=llama,max_size=500M,sort=downloads,limit=20"
    lists = f"a file with one name a line, or a query of the Hub: {query}"
    models.add_argument(
        "--models", dest="lists", type=arguments.models, action="append", default=[], metavar="FILE|QUERY", help=lists
    )
    _option(models, "--revisions", arguments.revisions, "A,B,...", "analyse each model at each of these, like NAME@A", [])
    _option(models, "--shard", arguments.shard, "I/N", "analyse only the I-th of N parts of the models, counted from 1")
    _option(models, "--name", arguments.model_name, "ORG/MODEL", "the name of the one model in its record")
    _add_outputs(score)
    _add_recipe(score)
    return score


def _add_outputs(score: argparse.ArgumentParser) -> None:
    output = score.add_argument_group("where it runs, and where records go")
    output.add_argument("--out", type=arguments.folder, required=True, metavar="DIR", help="folder of the records")
    output.add_argument("--again", action="store_true", help="also make records again that are up to date")
    _option(output, "--push", arguments.dataset_name, "ORG/DATASET", "dataset on the Hub to push every record to")
    _add_push_options(output, "only say what would be done; with --push, analyse and say what would change there")
    _option(output, "--log", Path, "FILE", f"write a JSON line for each model; FILE{RETRY} lists those to try again")
    text = "where to analyse: here, ray, ray:HOST:PORT, hf-jobs or hf-jobs:FLAVOR (default: here)"
    _option(output, "--on", arguments.backend, "PLACE", text, HERE)
    _option(output, "--package", arguments.requirement, "REQUIREMENT", "what a Hub job installs headroles from, for pip")
    _option(output, "--disk", arguments.gigabytes, "GB", "limit of the Hub cache; files of finished models are deleted")
    _option(output, "--limit", arguments.integer(1), "SECONDS", "stop a model that takes longer (default: no limit)")


def _add_recipe(score: argparse.ArgumentParser) -> None:
    recipe, sizes = score.add_argument_group("recipe"), ProbeSizes()
    _option(recipe, "--device", arguments.device, "DEVICE", "cpu, cuda or cuda:N (default: %(default)s)", "cpu")
    text = "of the weights; scores are always float32"
    recipe.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help=text)
    recipe.add_argument("--quick", action="store_true", help="score patterns alone: no calibration, no roles of what heads write")
    recipe.add_argument("--effects", action="store_true", help="also measure what is lost without the heads of each role")
    _option(recipe, "--batch", arguments.integer(1), "N", "texts in one forward pass (default: %(default)s)", 10)
    for field, kind, unit, text in (
        ("repeated_sequences", arguments.integer(1), "N", "number of random strings, each repeated once"),
        ("repeat_length", arguments.integer(2), "TOKENS", "length of such a string; shorter for a model with a short context"),
        ("sentences", arguments.integer(1, len(SENTENCES)), "N", f"number of sentences, 1 to {len(SENTENCES)}"),
        ("seed", arguments.integer(0, 2**63 - 1), "N", "seed of the random strings"),
        ("calibration", arguments.integer(1), "N", "texts of each length and kind that calibrate the verdicts"),
    ):
        _option(recipe, f"--{field.replace('_', '-')}", kind, unit, f"{text} (default: %(default)s)", getattr(sizes, field))


def _add_push(commands: Commands) -> None:
    push = _command(commands, "push", "Push the records of a folder to a dataset, and the training runs that they make up.")
    push.add_argument("folder", type=arguments.folder, metavar="FOLDER", help="folder of the records")
    push.add_argument("push", type=arguments.dataset_name, metavar="ORG/DATASET", help="dataset on the Hub")
    _add_push_options(push)


def _add_atlas(commands: Commands) -> None:
    atlas = _command(commands, "atlas", "Write the atlas of a folder of records: what share of heads plays each role.")
    atlas.add_argument("folder", type=arguments.folder, metavar="FOLDER", help="folder of the records")
    _option(atlas, "--figure", Path, "FILE", "also draw it: a PDF, PNG or SVG")


def _add_training(commands: Commands) -> None:
    command = _command(commands, "training", training.__doc__)
    command.add_argument("model", metavar="MODEL", help="without a revision, for instance EleutherAI/pythia-160m")
    command.add_argument("--out", type=arguments.folder, required=True, metavar="DIR", help="folder of the records and the run")
    _option(command, "--push", arguments.dataset_name, "ORG/DATASET", "dataset on the Hub to add the points to")
    _add_push_options(command)


def _add_validate(commands: Commands) -> None:
    command = _command(commands, "validate", validate.__doc__)
    command.add_argument("model", metavar="MODEL", help="the name in the record, for instance gpt2")
    _option(command, "--out", arguments.folder, "DIR", "folder of its record (default: shipped, or analysed on the page)")


def _add_compare(commands: Commands) -> None:
    command = _command(commands, "compare", agreement.__doc__)
    for name in ("a", "b"):
        command.add_argument(name, metavar="RECORD", help="a file, or the name of a model that has a record here")


def _add_calibrate(commands: Commands) -> None:
    command = _command(commands, "calibrate", calibrate.__doc__)
    command.add_argument("model", metavar="MODEL", help="a model that has a record here, or in the folder")
    _option(command, "--out", arguments.folder, "DIR", "folder of its record (default: shipped, or analysed on the page)")
    text = "try the architecture with fresh random weights, analysed first"
    command.add_argument("--untrained", action="store_true", help=text)
    _option(command, "--texts", arguments.integer(1), "N", "texts of each length and kind (default: %(default)s)", 16)
    figure = _command(commands, "calibration-figure", "Draw how well the strongest excess tells repeats from null texts.")
    figure.add_argument("models", nargs="+", metavar="MODEL")
    figure.add_argument("--out", type=Path, required=True, metavar="FILE")


def _add_project_commands(commands: Commands) -> None:
    deploy = _command(commands, "deploy", "Upload headroles to a Hugging Face Space.")
    deploy.add_argument("space", metavar="ORG/SPACE")
    deploy.add_argument("--dataset", default="", metavar="ORG/DATASET", help="dataset of the records")
    deploy.add_argument("--dry-run", action="store_true", help="only say what would be done")
    _command(commands, "docs", "Write the lists of models into README.md and docs/models.md.")
    tiny = _command(commands, "train-tiny", "Train the embedded model headroles-tiny again; a run that was stopped goes on.")
    tiny.add_argument("--corpus", type=Path, required=True, metavar="DIR", help="folder of .txt books with SOURCES.json")
    tiny.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the model, its record and its card")
    _option(tiny, "--work", Path, "DIR", "folder of the checkpoint (default: %(default)s)", Path("training"))
    _option(tiny, "--device", arguments.device, "DEVICE", "cpu, cuda or cuda:N (default: %(default)s)", "cpu")
    _option(tiny, "--seed", arguments.integer(0), "N", "seed of weights and batches (default: %(default)s)", 0)


def _command(commands: Commands, name: str, description: str | None) -> argparse.ArgumentParser:
    """A sub-command; its description keeps its line breaks, and the first line stands in the list of commands."""
    help_line = (description or "").splitlines()[0].rstrip(".")
    return commands.add_parser(
        name,
        help=f"{help_line[0].lower()}{help_line[1:]}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_push_options(command: argparse._ActionsContainer, dry_run: str = "only say what would change there") -> None:
    command.add_argument("--create-pr", action="store_true", help="push as a pull request, if you may not write to the dataset")
    command.add_argument("--dry-run", action="store_true", help=dry_run)


def _option(command: argparse._ActionsContainer, flag: str, kind: Callable, unit: str, text: str, default: object = None) -> None:
    command.add_argument(flag, type=kind, metavar=unit, help=text, default=default)


def _check_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends the program where options of `score` do not go together."""
    is_job = args.on.startswith(JOBS)
    device_index = torch.device(args.device).index or 0
    if args.device != "cpu" and args.on == HERE and device_index >= torch.cuda.device_count():
        parser.error(f"argument --device: torch sees no device {args.device} on this machine; leave --device out to use the CPU")
    if args.on != HERE and ":" in args.device:
        parser.error("argument --device: on a cluster every model has a GPU of its own, cuda:0; use --device cuda")
    if args.create_pr and not args.push:
        parser.error("--create-pr needs --push ORG/DATASET")
    if args.disk and args.on != HERE:
        parser.error("--disk limits the cache of this machine, so it needs --on here")
    if args.package and not is_job:
        parser.error("--package needs --on hf-jobs")
    if is_job and not args.push and not args.dry_run:
        parser.error("--on hf-jobs needs --push ORG/DATASET: a job pushes its record there, and this machine reads it back")
    if is_job and args.create_pr:
        parser.error("--create-pr does not work with --on hf-jobs; push to a dataset of your own, then use the command push")


def _list_models(parser: argparse.ArgumentParser, args: argparse.Namespace, search: Callable[[HubQuery], list[str]]) -> list[str]:
    """The models to score; ends the program where there are none, or two have one file."""
    if args.all == bool(args.models or args.lists):
        parser.error("name one model or more, or use --all instead")
    listed = [name for names in args.lists for name in (search(names) if isinstance(names, HubQuery) else names)]
    models = expand_revisions(list(MODELS) if args.all else [*args.models, *listed], args.revisions)
    if not models:
        parser.error("the lists of --models name no model")
    if args.name and len(models) > 1:
        parser.error("--name needs exactly one model")
    files: set[str] = set()
    for model in models:
        # some disks treat capitals and small letters alike
        file = record_file_name(args.name or sources.default_name(model)).lower()
        if file in files:
            parser.error(f"two of the models would be written to the same {file}")
        files.add(file)
    return select_shard(models, *args.shard) if args.shard else models
