"""The rows, pictures and card of a dataset, held to the records that they follow from."""

import io
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image

from analysis.publish.dataset_card import card
from analysis.publish.dataset_files import (
    ATLAS_SCHEMA,
    SCHEMA,
    atlas_parquet,
    atlas_path,
    chance,
    picture_path,
    record_parquet,
    record_picture,
    role_map,
    rows,
    table_path,
)
from headroles.core.heads import Head
from headroles.core.records.head_categories import HeadCategories, Recipe
from headroles.core.records.record_builder import build_record
from headroles.core.roles.measurement import Capture
from headroles.core.roles.roles import ROLES, get_measured_role, measured_roles
from headroles.core.surveys.atlas_entries import make_entry
from headroles.models.probes.probe_texts import ProbeSizes, make_probes
from headroles.models.scoring.sweep import make_recipe
from headroles.render.figures.heatmaps import CELL_INCHES, MAP_DOTS_PER_INCH
from tests.conftest import uniform_attention


def make(name: str = "org/m", layers: int = 3, heads: int = 4, seed: int = 0, **recipe: object) -> HeadCategories:
    """A record with random scores."""
    generator = torch.Generator().manual_seed(seed)
    how = {"transformer_lens": None, "transformers": "5.23.0", "torch": "2.13.0", "dtype": "float32", "seed": 0}
    how |= {"prepend_bos": False, "tokenizer_sha256": "0" * 64, "repeated_sequences": 50, "repeat_length": 50, "sentences": 20}
    return build_record(
        {role.name: torch.rand(layers, heads, generator=generator) for role in measured_roles()},
        model_name=name,
        revision="0123456789" * 4,
        date="2026-02-16",
        recipe=Recipe.model_validate({**how, **recipe}),
    )


def test_every_head_has_one_row_a_role_with_what_the_record_says(record):
    found = rows(record).to_pylist()
    assert len(found) == record.num_layers * record.num_heads * len(measured_roles())
    seen = set()
    for row in found:
        role, head = ROLES[row["role"]], Head(row["layer"], row["head"])
        seen.add((role.name, head))
        assert row["score"] == record.score(role, head)
        assert row["is_top_head"] == (head in record.top_heads(role))
        assert (row["model"], row["revision"]) == (record.model_name, record.revision)
    assert len(seen) == len(found)
    assert sum(row["is_top_head"] for row in found) == sum(len(record.top_heads(role)) for role in measured_roles()) > 0


def test_a_parquet_file_holds_the_rows_and_is_the_same_each_time(record):
    table = pq.read_table(io.BytesIO(record_parquet(record)))
    assert table.equals(rows(record))
    assert table.schema == SCHEMA
    assert record_parquet(record) == record_parquet(record)


def test_the_atlas_view_of_a_record_holds_its_rows_and_is_the_same_each_time(record):
    entry = make_entry(record)
    table = pq.read_table(io.BytesIO(atlas_parquet(entry)))
    assert table.schema == ATLAS_SCHEMA
    assert table.to_pylist() == list(entry.rows())
    assert atlas_parquet(entry) == atlas_parquet(entry)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("repeat_length", [8, 23])
def test_chance_is_what_a_uniform_head_scores_on_the_very_probes(random_model, tiny, architecture, repeat_length):
    """Where chance is not given, uniform heads of two tokenizers score differently: the recipe does not tell."""
    loaded = tiny if architecture == "llama" else random_model(architecture)
    recipe = ProbeSizes(repeated_sequences=3, repeat_length=repeat_length, sentences=4, calibration=0)
    said = make_recipe(loaded, recipe)
    told = 0
    for probe in make_probes(loaded, recipe):
        uniform = uniform_attention(probe.token_ids.shape[1])[None, None].expand(len(probe.token_ids), -1, -1, -1)
        for role in probe.roles:
            if (expected := chance(role, said)) is not None:
                measured = role.measure(Capture(uniform, probe.token_ids, probe.lengths, delimiters=probe.delimiters))
                assert measured.chance.tolist() == pytest.approx([expected] * len(probe.token_ids), abs=1e-6)
                assert measured.values.flatten().tolist() == pytest.approx([expected] * len(probe.token_ids), abs=1e-6)
                told += 1
    assert told == 3


def test_chance_counts_the_bos_and_is_not_made_up():
    without, with_bos = (make(prepend_bos=bos, repeat_length=2).recipe for bos in (False, True))
    assert chance(get_measured_role("induction"), without) == pytest.approx((1 / 3 + 1 / 4) / 2)
    assert chance(get_measured_role("duplicate_token"), with_bos) == pytest.approx((1 / 4 + 1 / 5) / 2)
    assert [chance(get_measured_role(name), without) for name in ("previous_token", "positional")] == [None, None]


def test_every_role_has_a_shape_of_its_own_inside_its_square():
    assert len({role.shape for role in ROLES.values()}) == len(ROLES)
    assert all(0 <= place <= 1 for role in ROLES.values() for corner in role.shape for place in corner)


def test_a_cell_has_the_colour_of_what_its_head_mainly_does(record):
    figure = role_map(record)
    image = Image.open(io.BytesIO(record_picture(record))).convert("RGB")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    for head in record.heads():
        x, y = axes.transData.transform((head.index, head.layer))
        pixel = bytes(np.asarray(image)[image.height - 1 - round(y), round(x)])
        assert f"#{pixel.hex()}" == record.primary_role(head).color


def test_a_picture_is_the_same_each_time_and_names_how_many_heads_do_what(record):
    assert record_picture(record) == record_picture(record)
    (legend,) = role_map(record).legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert sum(int(text.rsplit(": ")[1]) for text in texts) == record.num_layers * record.num_heads
    assert [text.split(":")[0] for text in texts] == [role.display_name for role in ROLES.values()]


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (48, 25), (128, 128)])
def test_a_picture_of_any_model_can_be_looked_at(layers, heads):
    width, height = Image.open(io.BytesIO(record_picture(make(layers=layers, heads=heads)))).size
    assert max(width, height) < 1500
    assert min(width, height) > MAP_DOTS_PER_INCH * CELL_INCHES


def test_the_card_names_every_model_once_with_its_picture_in_the_order_of_names():
    records = [make("org/zebra"), make("gpt2", seed=1), make("org/Ant", seed=2)]
    text = card(records, "org/data")
    assert re.findall(r"^### (.*)$", text, re.MULTILINE) == ["gpt2", "org/Ant", "org/zebra"]
    for record in records:
        assert text.count(f"]({picture_path(record.model_name)})") == 1
        assert text.count(f"| {record.model_name} |") == 1
    assert card(records[::-1], "org/data") == text


def test_the_cards_front_matter_points_the_viewer_to_the_tables():
    metadata = yaml.safe_load(card([make()], "org/data").split("---\n")[1])
    paths = {config["config_name"]: [file["path"] for file in config["data_files"]] for config in metadata["configs"]}
    assert paths == {"default": ["data/*.parquet"], "atlas": ["atlas/*.parquet"]}
    assert re.fullmatch(r"data/[^/]*\.parquet", table_path("org/m"))
    assert re.fullmatch(r"atlas/[^/]*\.parquet", atlas_path("org/m"))
    assert metadata["license"] == "apache-2.0"


def test_the_card_describes_every_column_and_role_and_how_to_cite_and_add(record):
    text = card([record], "org/data")
    for name in SCHEMA.names:
        assert f"| `{name}` |" in text
    for role in measured_roles():
        assert role.source in text
        best = [f"{head.label} {record.score(role, head):.2f}" for head in record.top_heads(role)[:1]]
        assert f"| {role.display_name} | {(best or ['none reaches the threshold'])[0]}" in text
    assert "https://huggingface.co/datasets/org/data" in text
    assert "--push org/data --create-pr" in text


def test_a_role_that_no_head_plays_is_said_so():
    record = make()
    weak = {name: torch.full((3, 4), 0.1) for name in record.all_scores}
    record = build_record(weak, model_name="m", revision="r", date=record.analysis_date, recipe=record.recipe)
    assert card([record], "org/data").count("none reaches the threshold") == len(measured_roles())


def test_what_a_foreign_record_says_cannot_break_the_card():
    record = make(dtype="<script>|\n# x", torch="[a](http://b)").model_copy(update={"revision": "`|\n\n---"})
    text = card([record], "org/data")
    assert not re.search(r"<script|\(http://b|^# x|`\|", text, re.MULTILINE)
    (line,) = re.findall(r"^\| org/m \|.*$", text, re.MULTILINE)
    assert line.count("|") == 12
