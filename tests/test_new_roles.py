"""A new role is one value: two that only the tests know appear in every room, with no file touched for them."""

import csv
import io
import json
import re
from typing import NamedTuple

import pytest

from analysis.pipeline import pipeline
from analysis.publish import dataset_card
from analysis.publish import dataset_files as dataset
from headroles.core.readings.analysis import Analysis
from headroles.core.readings.comparison import compare_models, compare_prompts
from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_files import parse_record
from headroles.core.registry import EMBEDDED_FOLDER, EMBEDDED_MODEL
from headroles.core.roles.roles import ROLES, MeasuredRole, measured_roles
from headroles.explorer import Explorer
from headroles.models.loading.loader import load_model
from headroles.models.probes.probe_texts import ProbeSizes
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.scoring.sweep import analyze_model
from headroles.render.api.schema import analysis_result, categories_result, pattern_result
from headroles.render.files.exports import analysis_json, map_file, scores_csv
from headroles.render.page.cards import render_panel
from headroles.render.page.compare_models import render_model_comparison
from headroles.render.page.compare_texts import render_prompt_comparison
from headroles.render.page.head_page import render_head
from headroles.render.page.lessons import render_lessons
from headroles.render.page.model_map import render_map
from headroles.render.wording.role_states import describe_role
from headroles.settings import Settings
from tests.conftest import PLAIN, REPEATING
from tests.fixtures.extra_roles import KEEPS, TWO_BACK, registered

SMALL = ProbeSizes(repeated_sequences=2, repeat_length=10, sentences=3, calibration=0)
NEW = (TWO_BACK, KEEPS)


class House(NamedTuple):
    """What the rooms draw from, once the two roles are there."""

    explorer: Explorer
    record: HeadCategories
    plain: Analysis
    repeating: Analysis


def scored_by_lens() -> list[MeasuredRole]:
    """The roles that TransformerLens' patterns and weights score; what heads write is read through PyVene."""
    return [role for role in measured_roles() if role.measure.needs != "outputs"]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """The embedded model under another name, scored in all roles, and two texts on it."""
    home = tmp_path_factory.mktemp("home")
    folder = EMBEDDED_FOLDER
    with registered(*NEW):
        record = pipeline.score_with_lens(load_model(str(folder), folder), SMALL, batch=5, device="cpu")
        explorer = Explorer(Settings(any_model=True, home=home))
        explorer._store.save(record)
        plain, repeating = explorer.analyze_batch(str(folder), [PLAIN, REPEATING])
        yield House(explorer, record, plain, repeating)


def test_both_are_scored_offline_and_stand_in_the_record_that_reads_back(house):
    record = parse_record(house.record.to_json(), "it")
    assert [role.name for role in record.scored_roles] == [role.name for role in scored_by_lens()]
    scores = [score for row in record.all_scores[KEEPS.name] for score in row]
    assert min(scores) < 0 < max(scores)
    assert record.top_heads(KEEPS)
    assert record.top_heads(TWO_BACK)


def test_a_score_over_texts_has_an_interval_and_one_of_weights_has_none(house):
    assert set(house.record.intervals[TWO_BACK.name]) == set(house.record.top_heads(TWO_BACK))
    assert house.record.intervals[KEEPS.name] == {}


def test_the_score_of_weights_is_what_the_weights_themselves_give(house):
    model = load_model(EMBEDDED_MODEL).model
    layer, head, width = 2, 3, 32
    attention = model.get_submodule(f"gpt_neox.layers.{layer}.attention")
    value = attention.get_parameter("query_key_value.weight").view(8, 3, width, -1)[head, 2]  # query, key, value head by head
    output = attention.get_parameter("dense.weight")[:, head * width : (head + 1) * width]
    both = output @ value
    cosine = both.trace() / both.norm() / len(both) ** 0.5
    assert house.record.score(KEEPS, (layer, head)) == pytest.approx(cosine.item(), abs=1e-6)


def test_a_record_made_through_patterns_alone_does_not_score_weights_and_the_page_says_so(house):
    loaded = load_model(EMBEDDED_MODEL)
    record = analyze_model(PatternReader(loaded), SMALL)
    assert KEEPS.name not in record.all_scores
    assert TWO_BACK.name in record.all_scores


def test_a_reading_says_what_a_text_shows_and_what_stands_in_the_weights(house):
    two_back, keeps = house.plain.role("Two Back"), house.plain.role(KEEPS)
    assert two_back.applicable
    assert two_back.state in ("seen", "not seen")
    assert (keeps.state, keeps.is_active, keeps.applicable) == ("scored offline", False, False)
    assert describe_role(keeps, house.plain).startswith("Read from the weights, so it is the same on every text: ")
    assert all(reading.activation is None and reading.chance is None for reading in keeps.heads)


def test_both_are_on_cards_map_head_page_and_lessons(house):
    analysis = house.repeating
    view = house.explorer.view_head(analysis.model, REPEATING, analysis.role(KEEPS).heads[0].head, KEEPS)
    rooms = {
        "cards": render_panel(analysis),
        "map": render_map(analysis),
        "head page": render_head(view),
        "lessons": render_lessons(),
        "texts": render_prompt_comparison(compare_prompts(house.plain, analysis)),
        "models": render_model_comparison(compare_models(analysis, house.explorer.analyze(EMBEDDED_MODEL, REPEATING))),
    }
    for name, drawn in rooms.items():
        for role in NEW:
            assert role.display_name in drawn, (name, role.name)
        assert not re.search(r"\b(None|nan)\b", drawn), name


def test_a_role_that_a_model_was_never_scored_in_is_said_to_be_so(house):
    embedded = house.explorer.analyze(EMBEDDED_MODEL, REPEATING)
    assert embedded.role(TWO_BACK).state == "not scored"
    assert "Not scored in this record" in render_panel(embedded)
    assert embedded.heads.reading(TWO_BACK, "L1H6").score is None
    assert embedded.heads.reading(TWO_BACK, "L1H6").activation is not None
    view = house.explorer.view_head(EMBEDDED_MODEL, REPEATING, "L1H6", "Two Back")
    assert not re.search(r"\b(None|nan)\b", render_head(view))
    (said,) = [role["reason"] for role in analysis_result(embedded).model_dump()["roles"] if role["key"] == TWO_BACK.name]
    assert said.startswith("Not scored in this record")


def test_both_are_in_every_file_and_answer_for_programs(house):
    analysis = house.repeating
    rows = list(csv.DictReader(io.StringIO(scores_csv(analysis).content.decode())))
    assert {row["role"] for row in rows} == {role.name for role in measured_roles()}
    assert {row["activation"] for row in rows if row["role"] == KEEPS.name} == {""}
    assert [role["key"] for role in json.loads(analysis_json(analysis).content)["roles"]] == list(ROLES)
    assert map_file(analysis, "svg").content
    answer = analysis_result(analysis, all_heads=True).model_dump()
    assert set(answer["heads"][0]["roles"]) == {role.name for role in measured_roles()}
    assert answer["heads"][0]["roles"][KEEPS.name]["activation_score"] is None
    assert json.dumps(answer, allow_nan=False)
    assert {role["key"] for role in categories_result(house.record).model_dump()["roles"]} == set(ROLES)
    view = house.explorer.view_head(analysis.model, REPEATING, "L2H2")
    assert set(pattern_result(view).model_dump()["roles"]) == {role.name for role in measured_roles()}
    assert set(analysis.to_frame()["role"]) == {role.name for role in measured_roles()}


def test_both_are_in_the_dataset(house):
    table = dataset.rows(house.record)
    assert set(table["role"].to_pylist()) == {role.name for role in scored_by_lens()}
    card = dataset_card.card([house.record], "org/roles")
    for role in NEW:
        assert f"`{role.name}` | {role.measure.definition}" in card
    assert dataset.record_picture(house.record).startswith(b"\x89PNG")
