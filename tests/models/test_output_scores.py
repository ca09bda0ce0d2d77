"""Roles that patterns alone cannot show: the texts they are scored on, what is measured there, and which heads have them."""

import pytest
import torch

from headroles.core.evidence import Evidence
from headroles.core.heads import Head
from headroles.core.roles import ROLES, get_measured_role
from headroles.errors import InvalidInputError
from headroles.models.capture import PatternReader
from headroles.models.loading import LoadedModel
from headroles.models.opened import open_outputs
from headroles.models.output_probes import OutputProbe, name_probes, series_probes
from headroles.models.output_scores import effect_of, roles_of_outputs, score_outputs
from tests.conftest import random_attention
from tests.fixtures.architectures import build


@pytest.fixture(scope="module")
def reader(tiny) -> PatternReader:
    return PatternReader(LoadedModel(tiny.name, tiny.model, tiny.tokenizer, tiny.revision, lock=tiny.lock))


def test_three_roles_are_measured_on_what_heads_write():
    assert [role.name for role in roles_of_outputs()] == ["name_mover", "copy_suppression", "successor"]


def test_a_prompt_of_names_has_the_name_to_come_once_and_the_other_twice(tiny):
    probes = name_probes(tiny, 40)
    assert name_probes(tiny, 40) == probes != name_probes(tiny, 40, seed=1)
    orders = set()
    for probe in probes:
        texts = tiny.token_texts(probe.token_ids)
        assert probe.key is not None
        assert probe.token_ids[probe.key] == probe.target
        assert texts.count(texts[probe.key]) == 1
        twice = [text for text in texts if texts.count(text) == 2 and text[1:2].isupper()]
        assert len(set(twice)) == 1
        orders.add(probe.key < texts.index(twice[0]))
        assert texts[-1] == " to"
    assert orders == {True, False}


def test_a_series_stands_beside_the_same_words_in_an_order_that_leads_nowhere(tiny):
    probes = series_probes(tiny, 100)
    assert len(probes) > 20
    for probe in probes:
        assert probe.other is not None
        assert probe.other != probe.token_ids
        assert sorted(probe.other) == sorted(probe.token_ids)
        assert probe.target not in probe.token_ids


def test_a_vocabulary_without_such_words_has_no_such_texts_and_the_roles_are_not_scored(tiny, monkeypatch):
    monkeypatch.setattr("headroles.models.output_probes.NAMES", ("Xyzzyq", "Qwxzv", "Vbnmq", "Zzyx"))
    monkeypatch.setattr("headroles.models.output_probes.SERIES", (("Xyzzyq", "Qwxzv", "Vbnmq", "Zzyx"),))
    reader = PatternReader(LoadedModel("r", build("llama"), tiny.tokenizer, "r"))
    assert name_probes(tiny, 5) == series_probes(tiny, 5) == []
    assert score_outputs(reader, 5) == {}


def test_a_model_whose_output_side_is_unknown_is_not_scored_in_them(tiny):
    assert score_outputs(PatternReader(LoadedModel("r", build("openai-gpt"), tiny.tokenizer, "r")), 5) == {}


def test_the_effect_through_a_key_and_the_lift_over_another_order_are_what_effects_by_key_say(reader):
    outputs = open_outputs(reader)
    ids = reader.loaded.encode(" four, five, six,")
    other = reader.loaded.encode(" five, six, four,")
    written = outputs.read(ids).by_key(outputs.targets([99]))[..., 0]
    assert torch.equal(effect_of(outputs, OutputProbe(ids, 99, key=3)), written[:, :, 3])
    elsewhere = outputs.read(other).by_key(outputs.targets([99]))[..., 0]
    assert torch.allclose(effect_of(outputs, OutputProbe(ids, 99, other=other)), written.sum(-1) - elsewhere.sum(-1), atol=1e-6)


def test_copy_suppression_is_the_name_movers_measure_turned_round(reader):
    shares: list[float] = []
    found = score_outputs(reader, 5, on_progress=shares.append)
    assert torch.equal(found["name_mover"], -found["copy_suppression"])
    assert found["name_mover"].shape == (5, 4, 8)
    assert shares == sorted(shares)


def test_the_measure_needs_effects_and_fills_its_bar_from_nought(reader):
    measure = get_measured_role("name_mover").measure
    with pytest.raises(InvalidInputError, match="measured on what heads write"):
        measure(Evidence(random_attention(1, 2, length=4), torch.tensor([[1, 2, 3, 4]])))
    assert (measure.fill(-3.0), measure.fill(0.75), measure.fill(9.0)) == (0.0, 0.5, 1.0)
    assert "minus the direct effect" in get_measured_role("copy_suppression").measure.definition
    assert ROLES["successor"].example is None


@pytest.mark.slow
def test_smollm2_has_one_head_that_moves_names_one_that_suppresses_them_and_one_that_counts_on(real_reader):
    """Measured on 100 texts: L23H0 +1.39, L24H4 -1.27, L29H1 +0.36."""
    means = {name: values.mean(0) for name, values in score_outputs(real_reader, 12).items()}
    best = {name: Head(*divmod(int(table.argmax()), 9)) for name, table in means.items()}
    assert best == {"name_mover": Head(23, 0), "copy_suppression": Head(24, 4), "successor": Head(29, 1)}
    assert means["name_mover"].max() > 1.0
    assert means["copy_suppression"].max() > 0.9
