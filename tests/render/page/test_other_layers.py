"""Layers without a pattern, and learned sinks: the words of the page, pictures and programs."""

import json
import re
from dataclasses import replace

import pytest
import torch

from headroles.core.heads import Head
from headroles.core.readings.analysis import Analysis, HeadView
from headroles.core.readings.comparison import compare_models
from headroles.core.readings.verdicts import read_head
from headroles.core.registry import EMBEDDED_MODEL
from headroles.render.api.schema import analysis_result, categories_result, pattern_result
from headroles.render.files.exports import analysis_json, heatmap_file, map_file, scores_csv
from headroles.render.page.cards import render_panel
from headroles.render.page.compare_models import render_model_comparison
from headroles.render.page.head_page import render_head
from headroles.render.page.model_map import render_map
from tests.conftest import PLAIN
from tests.core.readings.test_other_layers import mixed_analysis, mixed_record
from tests.fixtures.map_cells import cells_of

LAYERS = "3 of 6 layers have attention patterns; the others (convolution and linear attention) have none."


def sink_view(analysis: Analysis, head: Head) -> HeadView:
    """A head of that analysis whose sink takes half of every row."""
    primary = analysis.heads.primary_role(head)
    expected = torch.zeros(7, 7, dtype=torch.bool)
    pattern = torch.tril(torch.ones(7, 7)) / torch.arange(2, 16, 2)[:, None]
    readings = read_head(analysis.heads, head)
    where = {"num_layers": 6, "num_heads": 2, "head": head, "role": primary, "primary": primary, "pattern": pattern}
    some = {"expected": expected, "readings": readings, "other_layers": analysis.other_layers, "has_sink": True}
    return HeadView("mixed", "abcabca", analysis.tokens, **where, **some)


def test_the_map_draws_no_head_where_there_is_none_and_names_what_is_there_instead():
    html = render_map(mixed_analysis())
    assert [(cell.layer, cell.head) for cell in cells_of(html)] == [(layer, head) for layer in (1, 4, 5) for head in (0, 1)]
    named = {0: "linear attention", 2: "linear attention", 3: "convolution"}
    gaps = re.findall(r'hr-map-gap" role="rowheader">([^<]+)<', html)
    assert gaps == [f"layer {layer}: {kind}, no pattern" for layer, kind in named.items()]
    assert re.findall(r'hr-map-layer" role="rowheader">(\d+)<', html) == ["1", "4", "5"]
    assert LAYERS in html
    assert "6 heads of mixed" in html


def test_layers_of_one_kind_in_a_row_share_a_gap():
    analysis = replace(mixed_analysis(), other_layers=dict.fromkeys((0, 2, 3), "state space"))
    assert "layers 2 to 3: state space, no pattern" in render_map(analysis)


def test_kinds_of_layers_are_text():
    analysis = replace(mixed_analysis(), other_layers=dict.fromkeys((0, 2, 3), "<script>"))
    assert "<script>" not in render_map(analysis) + render_panel(analysis)


def test_of_a_model_whose_layers_are_alike_nothing_is_said(explorer):
    analysis = explorer.analyze(EMBEDDED_MODEL, PLAIN)
    assert "have none" not in render_map(analysis) + render_panel(analysis)
    assert "sink" not in render_map(analysis)
    assert {"other_layers", "learned_sink"}.isdisjoint(analysis_result(analysis).model_dump())


def test_the_neighbours_of_a_head_are_the_next_heads_there_are():
    view = sink_view(mixed_analysis(), Head(4, 0))
    assert (view.previous, view.next) == (Head(1, 1), Head(4, 1))
    assert sink_view(mixed_analysis(), Head(1, 0)).previous is None
    assert sink_view(mixed_analysis(), Head(5, 1)).next is None


def test_programs_get_true_numbers_and_what_the_others_are():
    result = analysis_result(mixed_analysis(), all_heads=True).model_dump()
    assert result.get("other_layers") == {"0": "linear attention", "2": "linear attention", "3": "convolution"}
    assert [(head["layer"], head["head"]) for head in result["heads"]] == [(n, h) for n in (1, 4, 5) for h in (0, 1)]
    record = categories_result(mixed_record()).model_dump()
    assert [len(row) for row in record["primary_roles"]] == [0, 2, 0, 0, 2, 2]
    assert [len(row) for row in record["roles"][0]["scores"]] == [0, 2, 0, 0, 2, 2]
    assert json.loads(analysis_json(mixed_analysis()).content)["other_layers"]["3"] == "convolution"
    assert {line.split(",")[1] for line in scores_csv(mixed_analysis()).content.decode().splitlines()[1:]} == {"1", "4", "5"}


def test_pictures_leave_such_layers_blank_and_say_so():
    picture = map_file(mixed_analysis(), "svg", Head(4, 1)).content.decode()
    assert LAYERS in picture
    with pytest.raises(Exception, match="Layer 3 has no attention pattern"):
        map_file(mixed_analysis(), "svg", Head(3, 1))


def test_two_models_are_compared_by_the_heads_they_have():
    a = mixed_analysis()
    html = render_model_comparison(compare_models(a, replace(mixed_analysis(1), model="other")))
    assert html.count("3 of 6 layers × 2 heads") == 2
    assert "no layer of that model with attention patterns lies there" in html


def test_a_learned_sink_is_named_wherever_its_head_is_shown():
    analysis = replace(mixed_analysis(), has_sink=True)
    view = sink_view(analysis, Head(4, 0))
    took = "on average 50% of the attention went to the head's learned sink, which is no token"
    assert took in render_head(view).replace("&#39;", "'")
    assert "Each head has a learned sink beside the tokens" in render_map(analysis)
    assert analysis_result(analysis).model_dump().get("learned_sink") is True
    assert pattern_result(view).model_dump().get("sink") == pytest.approx([0.5] * 7)
    assert "learned sink" in heatmap_file(view, "svg").content.decode()
    assert "sink" not in pattern_result(replace(view, has_sink=False)).model_dump()


def test_a_head_that_rests_on_its_sink_is_said_to():
    analysis = mixed_analysis()
    view = sink_view(analysis, Head(4, 0))
    resting = replace(view.readings["positional"], activation=0.9, is_active=True)
    idle = {name: replace(reading, is_active=False, activation=0.0) for name, reading in view.readings.items()}
    said = render_head(replace(view, readings={**idle, "positional": resting}))
    assert "the first token or the learned sink" in said
    assert "This model was given such a place" in said
