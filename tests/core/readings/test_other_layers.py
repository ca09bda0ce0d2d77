"""Layers without an attention pattern: what a record, a text's readings and a comparison say of a model that has some."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from headroles.core.heads import Attention, Head
from headroles.core.readings.analysis import Analysis, RecordSource
from headroles.core.readings.analyze import analyze_attention
from headroles.core.readings.comparison import compare_models, compare_prompts, heads_by_depth
from headroles.core.readings.verdicts import read_heads
from headroles.core.records.compatibility import ModelIdentity, check_belongs, check_shape, make_identity
from headroles.core.records.head_categories import HeadCategories, Recipe
from headroles.core.records.record_builder import build_record
from headroles.core.records.record_files import parse_record
from headroles.core.registry import EMBEDDED_MODEL, MODELS
from headroles.core.roles.roles import measured_roles
from headroles.core.roles.scoring import measure_heads
from headroles.errors import InvalidInputError, InvalidRecordError
from headroles.summary import get_active_head_summary
from tests.conftest import random_attention

OTHERS = {0: "linear attention", 2: "linear attention", 3: "convolution"}
IDS = (5, 6, 7, 5, 6, 7, 5)
SOURCE = RecordSource("analysed here", "2026-01-01", "r")


def recipe(**changes: Any) -> Recipe:
    usual: dict[str, Any] = {"transformer_lens": None, "transformers": "5", "torch": "2", "dtype": "float32", "seed": 0}
    usual |= {"prepend_bos": False, "tokenizer_sha256": "t", "repeated_sequences": 1, "repeat_length": 8, "sentences": 1}
    return Recipe(**{**usual, **changes})


def mixed_record(seed: int = 0, **changes: Any) -> HeadCategories:
    """Of six layers, three of which have patterns: 1, 4 and 5."""
    generator = torch.Generator().manual_seed(seed)
    scores = {role.name: torch.rand(3, 2, generator=generator) for role in measured_roles()}
    return build_record(
        scores, model_name="mixed", revision="r", date="2026-01-01", recipe=recipe(), **{"other_layers": OTHERS, **changes}
    )


def mixed_attention(seed: int = 0) -> Attention:
    patterns = random_attention(3, 2, length=len(IDS), seed=seed)
    return Attention("mixed", IDS, tuple("abcabca"), patterns, windows=(None,) * 4 + (3, None), other_layers=OTHERS)


def mixed_analysis(seed: int = 0) -> Analysis:
    return analyze_attention("abcabca", mixed_attention(seed), mixed_record(), SOURCE)


def test_heads_carry_the_numbers_of_their_layers_in_the_model():
    attention, record = mixed_attention(), mixed_record()
    assert (attention.num_layers, attention.layers, record.layers) == (6, (1, 4, 5), (1, 4, 5))
    assert [head.label for head in record.heads()] == ["L1H0", "L1H1", "L4H0", "L4H1", "L5H0", "L5H1"]
    assert torch.equal(attention.pattern(Head(4, 1)), attention.patterns[1, 1])
    for table in record.all_scores.values():
        assert [len(row) for row in table] == [0, 2, 0, 0, 2, 2]
    for role in record.scored_roles:
        assert {head.layer for head in record.top_heads(role)} <= {1, 4, 5}
    assert {row["layer"] for row in record.rows()} == {1, 4, 5}


@pytest.mark.parametrize("ask", [lambda: mixed_attention().pattern(Head(3, 1)), lambda: mixed_record().primary_role("L3H1")])
def test_a_head_in_a_layer_without_a_pattern_is_refused_with_the_layers_that_have_one(ask):
    with pytest.raises(
        InvalidInputError, match=r"^Layer 3 has no attention pattern, so there is no L3H1; layers 1, 4 and 5 have one\.$"
    ):
        ask()
    with pytest.raises(InvalidInputError, match=r"L3H1; layers 1, 4 and 5 have one"):
        mixed_analysis().heads.reading("induction", "L3H1")


def test_layers_without_a_pattern_must_be_in_the_model():
    with pytest.raises(InvalidInputError, match="The model has 4 layers, but layer 4 are said to have no pattern"):
        Attention("m", (1, 2), ("a", "b"), random_attention(3, 1, length=2), other_layers={4: "convolution"})


def test_such_a_record_comes_back_as_it_was_written():
    record = mixed_record()
    assert parse_record(record.to_json(), "it") == record
    assert json.loads(record.to_json())["all_scores"]["induction"][0] == []


def test_a_record_of_a_model_whose_layers_are_alike_says_nothing_of_all_this(record):
    shipped = (MODELS[EMBEDDED_MODEL].source / f"{EMBEDDED_MODEL}.json").read_text("utf-8")  # type: ignore[operator]
    assert json.loads(record.to_json()) == json.loads(shipped)
    assert "sink" not in record.to_json()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda data: data["all_scores"]["diffuse"].__setitem__(0, [0.5, 0.5]),
            "leave out other layers than those of other roles",
        ),
        (lambda data: data["all_scores"]["diffuse"].__setitem__(1, []), "leave out other layers|has another score"),
        (lambda data: data["all_scores"]["diffuse"].__setitem__(1, [0.5]), "are not 6 layers x 2 heads"),
        (lambda data: data["all_scores"].update({name: [[]] * 6 for name in data["all_scores"]}), "no layer has scores"),
        (
            lambda data: data["categories"]["diffuse"].update(top_heads=[{"layer": 3, "head": 0, "score": 0.5}]),
            "lies in a layer without scores",
        ),
    ],
)
def test_a_record_that_contradicts_itself_on_its_layers_is_refused(change, reason):
    data = json.loads(mixed_record().to_json())
    change(data)
    with pytest.raises(InvalidRecordError, match=reason):
        parse_record(json.dumps(data), "it")


def test_a_record_serves_only_a_model_with_patterns_in_the_same_layers():
    record = mixed_record()
    check_shape(record, "m", 6, 2, OTHERS)
    with pytest.raises(
        InvalidRecordError, match="are for attention patterns in layers 1, 4 and 5, but those of m are in other layers"
    ):
        check_shape(record, "m", 6, 2)
    assert make_identity(record) == ModelIdentity("mixed", "r", 6, 2, False, "t", (0, 2, 3))
    check_belongs(record, make_identity(record))
    with pytest.raises(InvalidRecordError, match="in other layers"):
        check_belongs(record, replace(make_identity(record), other_layers=(0, 2, 4)))
    with pytest.raises(InvalidRecordError, match="for heads without a learned sink, but mixed is with one"):
        check_belongs(record, replace(make_identity(record), has_sink=True))


def test_each_layer_is_read_as_it_is_alone_under_its_own_window():
    attention, record = mixed_attention(), mixed_record()
    table = read_heads(attention, record)
    for row, layer in enumerate(attention.layers):
        alone = measure_heads(attention.patterns[row][None], torch.tensor([IDS]), window=3 if layer == 4 else None)
        for role, measured in alone.items():
            assert table.activations[role][layer] == pytest.approx(tuple(measured.values[0].tolist()), abs=1e-6)
            assert table.chances[role][layer] == pytest.approx(float(measured.chance[0]))
    assert [len(row) for row in table.primary] == [0, 2, 0, 0, 2, 2]
    assert (table.num_heads, table.layers) == (2, (1, 4, 5))
    assert sum(map(table.counts, {role for row in table.primary for role in row})) == 6
    assert len(table.heads()) == 6


def test_comparisons_count_the_heads_there_are():
    a, b = mixed_analysis(0), mixed_analysis(1)
    assert sum(heads_by_depth(a)) == 6
    assert heads_by_depth(a)[0] == 0  # the first layer has no heads
    changed = compare_prompts(a, replace(b, prompt="other"))
    assert {change.a.head.layer for change in changed.heads} <= {1, 4, 5}
    compared = compare_models(a, replace(b, model="another"))
    assert sum(role.a.share for role in compared.roles) == pytest.approx(1)
    assert {row["layer"] for row in a.rows()} == {1, 4, 5}


def test_patterns_as_the_library_gives_them_find_their_layers(monkeypatch):
    """`output_attentions` holds those of the layers alone that have one."""
    monkeypatch.setattr("headroles.summary.load_head_categories", lambda _: mixed_record())
    attention = mixed_attention()
    unwindowed = replace(attention, windows=())
    given = {"token_ids": list(IDS), "patterns": attention.patterns}
    assert get_active_head_summary(given, "mixed") == get_active_head_summary(unwindowed, "mixed")
