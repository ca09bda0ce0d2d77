"""The files of a dataset that follow from its records: tables of rows, and a picture of every model."""

import io
import re

import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from headroles.core.readings.comparison import DEPTH_BINS
from headroles.core.records.head_categories import HeadCategories, Recipe
from headroles.core.records.record_files import record_file_name
from headroles.core.roles.roles import MeasuredRole
from headroles.core.surveys.atlas_entries import AtlasEntry
from headroles.hub.dataset import ATLAS_PATH
from headroles.render.figures.heatmaps import map_figure, to_png

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


def table_path(model_name: str) -> str:
    """Where a model's rows lie in the dataset."""
    return f"data/{record_file_name(model_name).removesuffix('.json')}.parquet"


def picture_path(model_name: str) -> str:
    """Where a model's role map lies in the dataset."""
    return f"pictures/{record_file_name(model_name).removesuffix('.json')}.png"


def atlas_path(model_name: str) -> str:
    """Where a model's rows of the atlas lie in the dataset, as a table."""
    return f"{ATLAS_PATH.rpartition('/')[0]}/{record_file_name(model_name).removesuffix('.json')}.parquet"


def rows(record: HeadCategories) -> pa.Table:
    """One row for each head and scored role, by layer, head and role; see `columns`."""
    chances = {role.name: chance(role, record.recipe) for role in record.scored_roles}
    return pa.Table.from_pylist([{**row, "chance": chances[str(row["role"])]} for row in record.rows()], SCHEMA)


def record_parquet(record: HeadCategories) -> bytes:
    """The rows as a Parquet file."""
    return _parquet(rows(record))


def atlas_parquet(entry: AtlasEntry) -> bytes:
    """A model's rows of the atlas, one a scored role, as a Parquet file."""
    return _parquet(pa.Table.from_pylist(list(entry.rows()), ATLAS_SCHEMA))


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def chance(role: MeasuredRole, recipe: Recipe) -> float | None:
    """What a head with uniform attention over all tokens so far scores in a role; None where the recipe alone does not say.

    Args:
        role: the role.
        recipe: of the record.
    """
    return role.measure.chance_on_probes(recipe.prepend_bos, recipe.repeat_length)


def role_map(record: HeadCategories) -> Figure:
    """Layers down, heads across: each cell has the colour and the shape of what the head mainly does."""
    return map_figure(escape_markdown(record.model_name), record.primary_roles)


def record_picture(record: HeadCategories) -> bytes:
    """The role map as a PNG file; the same record gives the same file."""
    return to_png(role_map(record))


def escape_markdown(text: str) -> str:
    """What cannot end a cell or a line of Markdown, nor start a tag, a link or code."""
    return re.sub(r"[^\w./:@+ -]", "?", text, flags=re.ASCII)
