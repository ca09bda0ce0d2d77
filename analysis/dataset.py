"""What the dataset shows of its records: their rows, a picture of every model, the card. All of it follows from the JSON."""

import io
import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from types import MappingProxyType

import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from headroles.core.heads import Head
from headroles.core.records import HeadCategories, Recipe, record_file_name
from headroles.core.roles import MEASURED_ROLES, EntropyOfRows, Role
from headroles.hub.dataset import RECORDS
from headroles.render.heatmaps import map_figure, to_png

CARD = "README.md"
LICENSE = "apache-2.0"
BEST_HEADS = 3  # a role, in the card
COLUMNS: Mapping[str, tuple[pa.DataType, str]] = MappingProxyType(
    {
        "model": (pa.string(), "the Hub id, as in the JSON"),
        "layer": (pa.int32(), "from 0"),
        "head": (pa.int32(), "from 0; a query head where several share a key and a value"),
        "role": (pa.string(), f"{', '.join(role.name for role in MEASURED_ROLES)}"),
        "score": (pa.float64(), "0 to 1, how strongly the head plays the role on the recipe's texts"),
        "is_top_head": (pa.bool_(), "whether the head stands for the role: it is one of `top_heads` in the JSON"),
        "chance": (
            pa.float64(),
            "the score of a head that looks at all tokens so far alike. For induction and duplicate_token it follows exactly "
            "from the recipe; for diffuse it is 1 by definition; for previous_token and positional it depends on how many "
            "tokens each sentence has, which the record does not say, so it is null",
        ),
        "revision": (pa.string(), "the commit of the model that was scored"),
    }
)
SCHEMA = pa.schema([(name, kind) for name, (kind, _) in COLUMNS.items()])


def table_path(model_name: str) -> str:
    """Where a model's rows lie in the dataset."""
    return f"data/{record_file_name(model_name).removesuffix('.json')}.parquet"


def picture_path(model_name: str) -> str:
    """Where a model's role map lies in the dataset."""
    return f"pictures/{record_file_name(model_name).removesuffix('.json')}.png"


def rows(record: HeadCategories) -> pa.Table:
    """One row for each head and measured role, by layer, head and role; see COLUMNS."""
    top_heads = {role.name: set(record.top_heads(role)) for role in MEASURED_ROLES}
    chances = {role.name: chance(role, record.recipe) for role in MEASURED_ROLES}
    cells = [(head, role) for head in record.heads() for role in MEASURED_ROLES]
    columns = {
        "model": [record.model_name] * len(cells),
        "layer": [head.layer for head, _ in cells],
        "head": [head.index for head, _ in cells],
        "role": [role.name for _, role in cells],
        "score": [record.score(role, head) for head, role in cells],
        "is_top_head": [head in top_heads[role.name] for head, role in cells],
        "chance": [chances[role.name] for _, role in cells],
        "revision": [record.revision] * len(cells),
    }
    return pa.table(columns, SCHEMA)


def to_parquet(record: HeadCategories) -> bytes:
    """The rows as a Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(rows(record), buffer, compression="zstd")
    return buffer.getvalue()


def chance(role: Role, recipe: Recipe) -> float | None:
    """What a head with uniform attention over all tokens so far scores in a role; None where the recipe alone does not tell.

    A repeated text is [BOS] + r + r, and no token comes twice in r: each query of the second r expects one key of those it sees.
    """
    if isinstance(role.measure, EntropyOfRows):
        return 1.0
    if not role.requires_repetition:
        return None
    second_copy = recipe.prepend_bos + recipe.repeat_length
    return fmean(1 / (query + 1) for query in range(second_copy, second_copy + recipe.repeat_length))


def role_map(record: HeadCategories) -> Figure:
    """Layers down, heads across: each cell has the colour and the shape of what the head mainly does."""
    primary = [
        [record.primary_role(Head(layer, index)) for index in range(record.num_heads)] for layer in range(record.num_layers)
    ]
    return map_figure(_plain(record.model_name), primary)


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
---"""


def _introduction(dataset: str) -> str:
    return f"""# Roles of attention heads

How strongly every attention head of a language model plays each of {len(MEASURED_ROLES)} roles. One JSON file a model in
`{RECORDS}/` is the source; the table in `data/`, the pictures and this card are derived from it, and every push writes them
again: edit none of them by hand.

```python
from datasets import load_dataset

rows = load_dataset("{dataset}", split="train")
best = rows.filter(lambda row: row["role"] == "induction" and row["is_top_head"])
```"""


def _schema() -> str:
    columns = "\n".join(f"| `{name}` | {kind} | {text} |" for name, (kind, text) in COLUMNS.items())
    return f"## Columns\n\nOne row for each head and role.\n\n| column | type | what it is |\n|---|---|---|\n{columns}"


def _recipe(records: Sequence[HeadCategories]) -> str:
    roles = "\n".join(f"| `{role.name}` | {_measure(role)} | {role.threshold} | {role.source} |" for role in MEASURED_ROLES)
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


def _measure(role: Role) -> str:
    if isinstance(role.measure, EntropyOfRows):
        return "entropy of the attention over the tokens so far, as a share of the largest one possible"
    return f"share of attention on {role.looks_at}"


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
    best = "\n".join(f"| {role.display_name} | {_best_heads(record, role)} |" for role in MEASURED_ROLES)
    name = _plain(record.model_name)
    return f"""### {name}

{record.num_layers} layers of {record.num_heads} heads.

![What each head of {name} mainly does, by layer and head]({picture_path(name)})

| role | best heads |
|---|---|
{best}"""


def _best_heads(record: HeadCategories, role: Role) -> str:
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
