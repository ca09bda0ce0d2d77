"""Two roles that only the tests know: all parts of the page draw them as it draws the others, and one not scored says so."""

import csv
import io
import re
from collections.abc import Iterator

import pytest
import torch

from headroles.core.heads import Attention, Head
from headroles.core.readings.analysis import Analysis, HeadView, RecordSource
from headroles.core.readings.comparison import compare_models, compare_prompts
from headroles.core.readings.verdicts import read_head, read_heads, read_roles
from headroles.core.records.head_categories import HeadCategories
from headroles.core.roles.roles import ROLES
from headroles.render.api.schema import analysis_result, categories_result
from headroles.render.files.exports import map_file, scores_csv
from headroles.render.html import render_template
from headroles.render.page.cards import render_panel
from headroles.render.page.compare_models import render_model_comparison
from headroles.render.page.compare_texts import render_prompt_comparison
from headroles.render.page.head_page import render_head
from headroles.render.page.lessons import make_lesson, render_lessons
from headroles.render.page.model_map import render_map
from headroles.render.wording.states import MARKS, ON_EVERY_TEXT
from tests.conftest import random_attention
from tests.fixtures.extra_roles import KEEPS, TWO_BACK, registered
from tests.fixtures.map_cells import cells_of
from tests.fixtures.outline import Outline

BEST, WORST = Head(1, 2), Head(0, 1)  # of the role in the weights


@pytest.fixture
def added() -> Iterator[None]:
    """The house with the two roles, before what is left over."""
    with registered(TWO_BACK, KEEPS):
        yield


def record_with(record: HeadCategories, *names: str) -> HeadCategories:
    """A record of 2 x 3 heads that scores the roles of those names alone; one head reaches each new role's threshold."""
    low, below = [[0.0] * 3] * 2, KEEPS.threshold - 0.1
    scores = {
        TWO_BACK.name: [[0.9, 0.0, 0.0], [0.0, 0.0, 0.0]],
        KEEPS.name: [[below, -0.8, below], [below, below, 0.7]],
    }
    tops = {TWO_BACK.name: [(Head(0, 0), 0.9)], KEEPS.name: [(BEST, 0.7), (WORST, -0.8)]}
    categories = {
        name: {
            **{"display_name": name, "description": name, "icon": "copy", "requires_repetition": False},
            "top_heads": [{"layer": head.layer, "head": head.index, "score": score} for head, score in tops.get(name, ())],
        }
        for name in names
    }
    known = record.model_dump(exclude={"calibration"})
    changed = {"schema_version": 2, "num_layers": 2, "num_heads": 3, "categories": categories, "second_scores": None}
    return HeadCategories.model_validate({**known, **changed, "all_scores": {name: scores.get(name, low) for name in names}})


def read(record: HeadCategories, seed: int = 0, prompt: str = "a text", model: str = "m") -> Analysis:
    patterns = random_attention(2, 3, length=6, seed=seed)
    attention = Attention(model, tuple(range(6)), tuple("abcdef"), patterns)
    table = read_heads(attention, record)
    source = RecordSource("embedded", "2026-01-01", "r")
    return Analysis(model, prompt, attention.tokens, source, 2, 3, read_roles(table, record), table)


def view(record: HeadCategories, head: Head) -> HeadView:
    patterns = random_attention(2, 3, length=6)
    attention = Attention("m", tuple(range(6)), tuple("abcdef"), patterns)
    primary = record.primary_role(head)
    readings = read_head(read_heads(attention, record), head)
    expected = primary.expected_keys(torch.arange(6))
    return HeadView(
        *("m", "a text", attention.tokens, 2, 3, head, primary, primary),
        *(attention.pattern(head), expected, readings),
    )


@pytest.fixture
def full(added, record) -> HeadCategories:
    return record_with(record, "previous_token", TWO_BACK.name, KEEPS.name)


def test_a_card_for_each_with_its_mark_and_its_heads(full):
    drawn = render_panel(read(full))
    two_back, weighed, silent = (card(drawn, name) for name in (TWO_BACK.name, KEEPS.name, "induction"))
    assert f"{MARKS['not seen']} <span>not seen</span>" in two_back
    assert f'data-try="{TWO_BACK.name}"' in two_back
    assert f"{MARKS['scored offline']} <span>scored offline</span>" in weighed
    assert weighed.count(f'<span class="hr-dot" aria-hidden="true">{MARKS["scored offline"]}</span>') == 2
    assert "data-try" not in weighed
    assert f'data-out="{KEEPS.name}"' in weighed
    assert f"{MARKS['not scored']} <span>not scored</span>" in silent
    assert "is-neutral" in weighed
    assert "is-neutral" in silent
    assert "marks what is scored offline and not read on your text: Keeps Directions." in drawn


def test_the_mark_of_the_weights_is_explained_only_where_it_stands(added, record):
    assert "marks what is scored offline" not in render_panel(read(record_with(record, TWO_BACK.name)))


def test_a_bar_runs_from_the_least_to_the_most_that_a_score_can_be(full):
    weighed = card(render_panel(read(full)), KEEPS.name)
    assert re.findall(r"hr-fill. style=.width:([\d.]+)%", weighed) == ["85.0", "10.0"]  # 0.7 and -0.8 between -1 and 1
    assert re.findall(r"hr-number.>([^<]+)<", weighed) == ["0.70", "-0.80"]
    assert "hr-chance" not in weighed


def test_the_map_has_their_shapes_their_filters_and_cells_that_say_what_they_are(full):
    drawn = render_map(read(full))
    outline = Outline(drawn)
    assert [button["data-filter"] for _, button in outline.elements if "data-filter" in button][-3:] == [
        TWO_BACK.name,
        KEEPS.name,
        "other",
    ]
    cells = cells_of(drawn)
    assert {cell.role for cell in cells} == {TWO_BACK.name, KEEPS.name, "other"}
    assert {f"hr-{cell.role}" for cell in cells} < set(re.findall(r'<symbol id="(hr-\w+)"', drawn))
    (best,) = [cell for cell in cells if (cell.layer, cell.head) == (BEST.layer, BEST.index)]
    assert best.told == f"{BEST.label}: Keeps Directions (score 0.70), {ON_EVERY_TEXT}"
    assert best.filling == 0.85
    assert f"1 head, {MARKS['scored offline']} scored offline" in outline.text
    assert f"0 heads, {MARKS['not scored']} not scored" in outline.text


def test_a_heads_page_has_a_row_for_each_and_a_dash_where_there_is_no_number(full):
    rows = table(render_head(view(full, BEST)))
    assert rows["Keeps Directions"] == ["–", "–", "0.70", f"{MARKS['scored offline']} by its score"]
    assert rows["Induction"][2] == "–"
    assert table(render_head(view(full, WORST)))["Keeps Directions"] == ["–", "–", "-0.80", f"{MARKS['not seen']} no"]
    assert "Outlined: the cells that <b>Two Back</b>" in render_head(view(full, Head(0, 0)))


def test_two_texts_change_nothing_in_the_weights_and_nothing_that_is_not_scored(full):
    compared = compare_prompts(read(full), read(full, 1, "another"))
    rows = table(render_prompt_comparison(compared))
    weighed = f"{MARKS['scored offline']} scored offline {BEST.label} 0.70"
    assert rows["Keeps Directions"] == [weighed, weighed, f"{MARKS['scored offline']} {ON_EVERY_TEXT}"]
    assert rows["Induction"] == [f"{MARKS['not scored']} not scored"] * 3
    assert "Keeps Directions" not in {change.role.display_name for change in compared.heads}
    assert "Not applicable" not in render_prompt_comparison(compared)


def test_two_models_count_the_heads_of_both(full):
    drawn = render_model_comparison(compare_models(read(full), read(full, 1, model="n")))
    said = plain(drawn)
    assert f"A1 17%{MARKS['scored offline']} scored offline" in said
    assert f"A0 0%{MARKS['not scored']} not scored" in said
    assert f"{MARKS['unusual here']} unusual here, {MARKS['scored offline']} scored offline." in said


def test_each_has_a_lesson_with_a_picture_where_it_has_one(added):
    assert render_lessons().count("data-lesson=") == len(ROLES)
    assert "hr-lesson-picture" in render_template("lesson", lesson=make_lesson(TWO_BACK))
    assert "Filled: four at two; five at three; six at four." in render_template("lesson", lesson=make_lesson(TWO_BACK))
    assert "<figure" not in render_template("lesson", lesson=make_lesson(KEEPS))
    assert "<button" not in render_template("lesson", lesson=make_lesson(KEEPS))


def test_files_and_programs_get_each_with_nothing_where_there_is_no_number(full):
    analysis = read(full)
    rows = {
        (row["layer"], row["head"], row["role"]): row
        for row in csv.DictReader(io.StringIO(scores_csv(analysis).content.decode()))
    }
    weighed, silent = rows["1", "2", KEEPS.name], rows["1", "2", "induction"]
    assert (weighed["score"], weighed["chance"]) == ("0.7", "")
    assert (silent["score"], silent["is_active"]) == ("", "false")
    roles = {role["key"]: role for role in analysis_result(analysis, all_heads=True).model_dump()["roles"]}
    assert [head["score"] for head in roles[KEEPS.name]["heads"]] == [0.7, -0.8]
    assert roles[KEEPS.name]["heads"][0]["activation_score"] is None
    assert {role["key"]: role["scores"] for role in categories_result(full).model_dump()["roles"]}["induction"] == []
    assert "Keeps Directions: 1" in map_file(analysis, "svg").content.decode()


def card(panel: str, role: str) -> str:
    found = re.search(rf'<section class="[^"]*" data-role="{role}".*?</section>', panel)
    assert found
    return found[0]


def table(drawn: str) -> dict[str, list[str]]:
    """The texts of each row's cells, by its header."""
    rows = re.findall(r'<tr[^>]*><th scope="row">(.*?)</th>(.*?)</tr>', drawn)
    return {plain(header): [plain(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", cells)] for header, cells in rows}


def plain(drawn: str) -> str:
    return " ".join(Outline(drawn).text.split())
