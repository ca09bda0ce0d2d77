"""What the dataset shows of its records: their rows, a picture of every model, the card. All of it follows from the JSON."""

import io
import re
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from headroles.core.readings.comparison import DEPTH_BINS
from headroles.core.records.head_categories import HeadCategories, Recipe
from headroles.core.records.record_files import record_file_name
from headroles.core.roles.roles import MeasuredRole, measured_roles
from headroles.core.surveys.atlas_entries import AtlasEntry
from headroles.core.text.phrases import listed
from headroles.hub.dataset import ATLAS, RECORDS, RUNS
from headroles.render.figures.heatmaps import map_figure, to_png

CARD = "README.md"
LICENSE = "apache-2.0"
BEST_HEADS = 3  # a role, in the card
SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("layer", pa.int32()),
        ("head", pa.int32()),
        ("role", pa.string()),
        ("score", pa.float64()),
        ("interval_low", pa.float64()),
        ("interval_high", pa.float64()),
        ("is_top_head", pa.bool_()),
        ("chance", pa.float64()),
        ("revision", pa.string()),
    ]
)
A_RECIPE = (True, 50)  # prepend_bos and repeat_length of any recipe, to see for which roles one tells the chance

ATLAS_SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("revision", pa.string()),
        ("family", pa.string()),
        ("parameters", pa.int64()),
        ("num_layers", pa.int32()),
        ("num_heads", pa.int32()),
        ("role", pa.string()),
        ("threshold", pa.float64()),
        ("heads", pa.int32()),
        ("share", pa.float64()),
        ("best_layer", pa.int32()),
        ("best_head", pa.int32()),
        ("best_score", pa.float64()),
        ("interval_low", pa.float64()),
        ("interval_high", pa.float64()),
        *((f"share_at_depth_{number}", pa.float64()) for number in range(1, DEPTH_BINS + 1)),
    ]
)


def columns() -> Mapping[str, str]:
    """What each column of SCHEMA holds."""
    told = [role.name for role in measured_roles() if role.measure.chance_on_probes(*A_RECIPE) is not None]
    rest = [role.name for role in measured_roles() if role.name not in told]
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
        f"{listed(told)}; for {listed(rest)} it depends on what the record does not say, such as how many tokens each sentence "
        "has, so it is null",
        "revision": "the commit of the model that was scored",
    }


def table_path(model_name: str) -> str:
    """Where a model's rows lie in the dataset."""
    return f"data/{record_file_name(model_name).removesuffix('.json')}.parquet"


def picture_path(model_name: str) -> str:
    """Where a model's role map lies in the dataset."""
    return f"pictures/{record_file_name(model_name).removesuffix('.json')}.png"


def atlas_path(model_name: str) -> str:
    """Where a model's rows of the atlas lie in the dataset, as a table."""
    return f"{ATLAS.rpartition('/')[0]}/{record_file_name(model_name).removesuffix('.json')}.parquet"


def rows(record: HeadCategories) -> pa.Table:
    """One row for each head and scored role, by layer, head and role; see `columns`."""
    chances = {role.name: chance(role, record.recipe) for role in record.scored_roles}
    return pa.Table.from_pylist([{**row, "chance": chances[str(row["role"])]} for row in record.rows()], SCHEMA)


def to_parquet(record: HeadCategories) -> bytes:
    """The rows as a Parquet file."""
    return _parquet(rows(record))


def atlas_to_parquet(entry: AtlasEntry) -> bytes:
    """A model's rows of the atlas, one a scored role, as a Parquet file."""
    return _parquet(pa.Table.from_pylist(list(entry.rows()), ATLAS_SCHEMA))


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def chance(role: MeasuredRole, recipe: Recipe) -> float | None:
    """What a head with uniform attention over all tokens so far scores in a role; None where the recipe alone does not tell."""
    return role.measure.chance_on_probes(recipe.prepend_bos, recipe.repeat_length)


def role_map(record: HeadCategories) -> Figure:
    """Layers down, heads across: each cell has the colour and the shape of what the head mainly does."""
    return map_figure(_plain(record.model_name), record.primary_roles)


def to_picture(record: HeadCategories) -> bytes:
    """The role map as a PNG file; the same record gives the same file."""
    return to_png(role_map(record))


def card(records: Sequence[HeadCategories], dataset: str) -> str:
    """The dataset's README.md: what it holds, how it was made, every model with its picture, how to cite it and add to it."""
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
    path: {ATLAS.rpartition("/")[0]}/*.parquet
---"""


def _introduction(dataset: str) -> str:
    return f"""# Roles of attention heads

How strongly every attention head of a language model plays each of {len(measured_roles())} roles. One JSON file a model in
`{RECORDS}/` is the source; the table in `data/`, the pictures and this card are derived from it, and every push writes them
again: edit none of them by hand. `{RUNS}/`, where it is there, holds training runs: a file a model, with what its heads did at
each of its recorded steps.

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
        f"the model has no heads), and its best head. `{ATLAS}` holds the same for programs, a model a line."
    )
    return f"## Columns\n\nOne row for each head and role.\n\n| column | type | what it is |\n|---|---|---|\n{table}\n\n{atlas}"


def _recipe(records: Sequence[HeadCategories]) -> str:
    roles = "\n".join(
        f"| `{role.name}` | {role.measure.definition} | {role.threshold} | {role.source} |" for role in measured_roles()
    )
    made = "\n".join(_how_made(record) for record in records)
    return f"""## Recipe

Roles that need repetition are scored on random tokens `[BOS] + r + r`, no token twice in `r`; the others on English sentences.
A score is the mean over the texts of the mean over the eligible queries, those at which the role can show at all. Heads at or
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
    return "| " + " | ".join(_plain(str(cell)) for cell in cells) + " |"


def _model(record: HeadCategories) -> str:
    best = "\n".join(f"| {role.display_name} | {_best_heads(record, role)} |" for role in measured_roles())
    name = _plain(record.model_name)
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


def _plain(text: str) -> str:
    """What cannot end a cell or a line of Markdown, nor start a tag, a link or code."""
    return re.sub(r"[^\w./:@+ -]", "?", text, flags=re.ASCII)
