"""The card of a dataset of records: what it holds, how it was made, and how to cite it and add to it."""

from collections.abc import Mapping, Sequence

from headroles.core.readings.comparison import DEPTH_BINS
from headroles.core.records.head_categories import HeadCategories
from headroles.core.roles.roles import MeasuredRole, measured_roles
from headroles.errors import listed
from headroles.hub.dataset import ATLAS_PATH, RECORDS_FOLDER, RUNS_FOLDER

from .dataset_files import SCHEMA, escape_markdown, picture_path

CARD = "README.md"
LICENSE = "apache-2.0"
BEST_HEADS = 3  # a role
A_RECIPE = (True, 50)  # prepend_bos and repeat_length of any recipe, to see for which roles one tells the chance


def card(records: Sequence[HeadCategories], dataset: str) -> str:
    """The dataset's README.md: its contents, recipe, models with their pictures, citation, and how to add to it.

    Args:
        records: all of the dataset.
        dataset: `ORG/DATASET`.
    """
    records = sorted(records, key=lambda record: (record.model_name.lower(), record.model_name))
    sections = (
        _front_matter(),
        _introduction(dataset),
        _schema(),
        _recipe(records),
        "## Models\n\n" + "\n\n".join(_model(record) for record in records),
        _citation(dataset),
        _how_to_add(dataset),
    )
    return "\n\n".join(sections) + "\n"


def _front_matter() -> str:
    return f"""---
license: {LICENSE}
pretty_name: Roles of attention heads
tags:
- interpretability
- mechanistic-interpretability
- attention-heads
configs:
- config_name: default
  data_files:
  - split: train
    path: data/*.parquet
- config_name: atlas
  data_files:
  - split: train
    path: {ATLAS_PATH.rpartition("/")[0]}/*.parquet
---"""


def _introduction(dataset: str) -> str:
    return f"""# Roles of attention heads

How strongly every attention head of a language model plays each of {len(measured_roles())} roles. The source is one JSON file
for each model in `{RECORDS_FOLDER}/`. The table in `data/`, the pictures and this card are derived from it, and every push
writes them again: do not edit them by hand. `{RUNS_FOLDER}/`, if it exists, holds training runs: a file for each model, with
what its heads did at each recorded step.

```python
from datasets import load_dataset

rows = load_dataset("{dataset}", split="train")
best = rows.filter(lambda row: row["role"] == "induction" and row["is_top_head"])
```"""


def _schema() -> str:
    table = "\n".join(f"| `{name}` | {SCHEMA.field(name).type} | {text} |" for name, text in columns().items())
    atlas = (
        f'`atlas` (`load_dataset(..., "atlas")`) has one row for each model and role: which share of its heads reaches the '
        f"role's threshold, in all and in {DEPTH_BINS} slices of relative depth from the first layers to the last (null where "
        f"the model has no heads), and its best head. `{ATLAS_PATH}` holds the same for programs, a model a line."
    )
    return f"## Columns\n\nOne row for each head and role.\n\n| column | type | what it is |\n|---|---|---|\n{table}\n\n{atlas}"


def _recipe(records: Sequence[HeadCategories]) -> str:
    roles = "\n".join(
        f"| `{role.name}` | {role.measure.definition} | {role.threshold} | {role.source} |" for role in measured_roles()
    )
    made = "\n".join(_how_made(record) for record in records)
    return f"""## Recipe

Roles that need repetition are scored on random tokens `[BOS] + r + r`, with no token twice in `r`; the others on sentences.
A score is the mean over the texts of the mean over the eligible queries, where the role can show at all. Heads at or
above the threshold stand for a role: at most 8, and if most of them come from one layer, the best of other layers join them.

| role | score | threshold | described in |
|---|---|---|---|
{roles}

| model | revision | date | BOS | repeats x tokens | sentences | seed | dtype | torch | transformers | TransformerLens |
|---|---|---|---|---|---|---|---|---|---|---|
{made}"""


def _how_made(record: HeadCategories) -> str:
    recipe = record.recipe
    cells = (
        record.model_name,
        record.revision[:20],
        record.analysis_date,
        "yes" if recipe.prepend_bos else "no",
        f"{recipe.repeated_sequences} x {recipe.repeat_length}",
        recipe.sentences,
        recipe.seed,
        recipe.dtype,
        recipe.torch,
        recipe.transformers,
        recipe.transformer_lens or "-",
    )
    return "| " + " | ".join(escape_markdown(str(cell)) for cell in cells) + " |"


def _model(record: HeadCategories) -> str:
    best = "\n".join(f"| {role.display_name} | {_best_heads(record, role)} |" for role in measured_roles())
    name = escape_markdown(record.model_name)
    return f"""### {name}

{record.num_layers} layers of {record.num_heads} heads.

![What each head of {name} mainly does, by layer and head]({picture_path(name)})

| role | best heads |
|---|---|
{best}"""


def _best_heads(record: HeadCategories, role: MeasuredRole) -> str:
    if role not in record.scored_roles:
        return "not scored in this record"
    best = record.top_heads(role)[:BEST_HEADS]
    return ", ".join(f"{head.label} {record.score(role, head):.2f}" for head in best) or "none reaches the threshold"


def _citation(dataset: str) -> str:
    return f"""## How to cite

```bibtex
@misc{{headroles,
  title = {{headroles: roles of attention heads}},
  howpublished = {{\\url{{https://huggingface.co/datasets/{dataset}}}}}
}}
```

Name the commit of this dataset that you used, and the paper that describes the role."""


def _how_to_add(dataset: str) -> str:
    return f"""## How to add a model

In a checkout of headroles, with a token of yours in `HF_TOKEN`:

```bash
pip install '.[analysis]'
headroles-analysis ORG/NAME --out records --push {dataset} --create-pr
```

It scores every head and opens a pull request here. `--dry-run` shows first what would change; who may write to this dataset
leaves `--create-pr` out."""


def columns() -> Mapping[str, str]:
    """What each column of SCHEMA holds."""
    known = [role.name for role in measured_roles() if role.measure.chance_on_probes(*A_RECIPE) is not None]
    rest = [role.name for role in measured_roles() if role.name not in known]
    return {
        "model": "the Hub id, as in the JSON",
        "layer": "from 0",
        "head": "from 0; a query head where several share a key and a value",
        "role": ", ".join(role.name for role in measured_roles()),
        "score": "how strongly the head plays the role on the recipe's texts; 0 to 1 unless the role's measure says otherwise",
        "interval_low": "from where the score lies with 95 % confidence over texts such as the recipe's; null unless the head "
        "stands for the role",
        "interval_high": "up to where",
        "is_top_head": "whether the head stands for the role: it is one of `top_heads` in the JSON",
        "chance": "the score of a head that looks at all tokens so far alike. It follows exactly from the recipe for "
        f"{listed(known)}; for {listed(rest)} it depends on what the record does not say, such as how many tokens each sentence "
        "has, so it is null",
        "revision": "the commit of the model that was scored",
    }
