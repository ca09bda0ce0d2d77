"""Scores every head of models and writes one JSON a model: `python -m analysis NAME_OR_FOLDER ... --out DIR`."""

import argparse
import os
import sys
from pathlib import Path

from tqdm import tqdm

from analysis.lens import make_record, open_bridge, score_model
from analysis.probes import SENTENCES, Recipe, make_probes
from headroles.categories import HeadCategories, record_file_name
from headroles.errors import HeadRolesError
from headroles.models import MODELS, LoadedModel, load_model
from headroles.roles import MEASURED_ROLES


def analyse(loaded: LoadedModel, recipe: Recipe, batch: int, device: str) -> HeadCategories:
    """A model's record, with a progress bar over the batches."""
    probes = list(make_probes(loaded, recipe, batch))
    bridge = open_bridge(loaded, device)
    scores = score_model(bridge, tqdm(probes, desc=loaded.name, unit="batch"))
    return make_record(loaded, scores, recipe)


def load_named(name_or_folder: str) -> LoadedModel:
    """A registered model, a local folder (called by the folder's name), or a hub id."""
    if name_or_folder in MODELS:
        return load_model(name_or_folder)
    folder = Path(name_or_folder)
    if folder.is_dir():
        return load_model(folder.resolve().name, folder.resolve())
    return load_model(name_or_folder, name_or_folder)


def write_record(record: HeadCategories, out: Path) -> Path:
    """Writes the record as one file, whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / record_file_name(record.model_name)
    partial = path.with_suffix(".partial")
    partial.write_text(record.to_json(), "utf-8")
    os.replace(partial, path)
    return path


def summary(record: HeadCategories) -> str:
    """One line a role: its best head and how many stand for it."""
    lines = []
    for role in MEASURED_ROLES:
        scores = {(layer, head): s for layer, row in enumerate(record.all_scores[role.name]) for head, s in enumerate(row)}
        (layer, head), best = max(scores.items(), key=lambda item: item[1])
        lines.append(f"  {role.name:16} best L{layer}H{head} {best:.3f}, {len(record.top_heads(role))} top heads")
    return "\n".join(lines)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    default = Recipe()
    parser = argparse.ArgumentParser(prog="python -m analysis", description=__doc__)
    parser.add_argument("models", nargs="+", metavar="NAME_OR_FOLDER", help=f"{', '.join(MODELS)}, a folder or a hub id")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the JSON files go")
    parser.add_argument("--repeated-sequences", type=positive, default=default.repeated_sequences, metavar="N")
    parser.add_argument("--repeat-length", type=positive, default=default.repeat_length, metavar="TOKENS")
    parser.add_argument("--sentences", type=positive, default=default.sentences, metavar="N", help=f"1 to {len(SENTENCES)}")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--batch", type=positive, default=10, metavar="N", help="texts in one forward")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 when every record is written, 2 after the first model that cannot be analysed."""
    args = parse_arguments(arguments)
    recipe = Recipe(args.repeated_sequences, args.repeat_length, args.sentences, args.seed)
    try:
        for name in args.models:
            record = analyse(load_named(name), recipe, args.batch, args.device)
            print(f"{write_record(record, args.out)}\n{summary(record)}")
    except HeadRolesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
