"""Roles that patterns alone cannot show: the texts they are scored on, what is measured there, and which heads have them."""

from typing import Any

import pytest
import torch

from headroles.core.heads import Head
from headroles.core.roles.measurement import Capture
from headroles.core.roles.roles import ROLES, get_measured_role
from headroles.errors import InvalidInputError
from headroles.models.interventions.ablator import open_outputs
from headroles.models.interventions.successor_weights import successor_hits
from headroles.models.loading.loader import LoadedModel
from headroles.models.probes.output_probes import OutputProbe, name_probes, repeat_probes, series_probes, successor_pairs
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.scoring.output_scores import OutputScores, output_roles, probe_effect, score_outputs
from tests.conftest import random_attention
from tests.fixtures.architectures import build
from tests.fixtures.known import known


@pytest.fixture(scope="module")
def reader(tiny) -> PatternReader:
    return PatternReader(LoadedModel(tiny.name, tiny.model, tiny.tokenizer, tiny.revision, lock=tiny.lock))


def test_three_roles_are_measured_on_what_heads_write():
    assert [role.name for role in output_roles()] == ["name_mover", "copy_suppression", "successor"]


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
        assert probe.contrast is not None
        assert probe.contrast != probe.token_ids
        assert sorted(probe.contrast) == sorted(probe.token_ids)
        assert probe.target not in probe.token_ids


def test_a_vocabulary_without_such_words_has_no_such_texts_and_the_roles_are_not_scored(tiny, monkeypatch):
    monkeypatch.setattr("headroles.models.probes.output_probes.NAMES", ("Xyzzyq", "Qwxzv", "Vbnmq", "Zzyx"))
    monkeypatch.setattr("headroles.models.probes.output_probes.SERIES", (("Xyzzyq", "Qwxzv", "Vbnmq", "Zzyx"),))
    reader = PatternReader(LoadedModel("r", build("llama"), tiny.tokenizer, "r"))
    assert name_probes(tiny, 5) == series_probes(tiny, 5) == successor_pairs(tiny) == []
    assert score_outputs(reader, 5) == OutputScores({}, {})


def test_a_model_whose_output_side_is_unknown_is_not_scored_in_them(tiny):
    found = score_outputs(PatternReader(LoadedModel("r", build("openai-gpt"), tiny.tokenizer, "r")), 5)
    assert found == OutputScores({}, {})


def test_the_effect_through_a_key_and_the_lift_over_another_order_are_what_effects_by_key_say(reader):
    outputs = open_outputs(reader)
    ids = reader.loaded.encode(" four, five, six,")
    other = reader.loaded.encode(" five, six, four,")
    written = outputs.read(ids).by_key(outputs.tokens_to_residual_directions([99]))[..., 0]
    assert torch.equal(probe_effect(outputs, OutputProbe(ids, 99, key=3)), written[:, :, 3])
    elsewhere = outputs.read(other).by_key(outputs.tokens_to_residual_directions([99]))[..., 0]
    assert torch.allclose(
        probe_effect(outputs, OutputProbe(ids, 99, contrast=other)), written.sum(-1) - elsewhere.sum(-1), atol=1e-6
    )


def test_copy_suppression_is_the_name_movers_measure_turned_round(reader):
    shares: list[float] = []
    found = score_outputs(reader, 5, on_progress=shares.append)
    for numbers in (found.scores, found.seconds):
        assert torch.equal(numbers["name_mover"], -numbers["copy_suppression"])
        assert numbers["name_mover"].shape == (5, 4, 8)
    assert shares == sorted(shares)


def test_the_measure_needs_effects_and_fills_its_bar_from_nought(reader):
    measure = get_measured_role("name_mover").measure
    with pytest.raises(InvalidInputError, match="measured on what heads write"):
        measure(Capture(random_attention(1, 2, length=4), torch.tensor([[1, 2, 3, 4]])))
    assert (measure.fill(-3.0), measure.fill(0.75), measure.fill(9.0)) == (0.0, 0.5, 1.0)
    assert "minus the direct effect" in get_measured_role("copy_suppression").measure.definition
    assert ROLES["successor"].example is None


def test_a_repeat_is_read_somewhere_in_its_second_half_with_the_token_that_came_next(tiny):
    probes = repeat_probes(tiny, 30)
    assert repeat_probes(tiny, 30) == probes != repeat_probes(tiny, 30, seed=1)
    start = len(tiny.bos)
    for probe in probes:
        string = probe.token_ids[start : start + 30]
        assert len(set(string)) == 30
        assert probe.token_ids[start + 30 :] == string[: len(probe.token_ids) - start - 30]
        assert known(probe.key) == probe.token_ids.index(probe.token_ids[-1]) + 1
        assert probe.token_ids[known(probe.key)] == probe.target
    assert len({len(probe.token_ids) for probe in probes}) > 10


def test_on_repeats_it_is_the_induction_heads_of_the_embedded_model_that_copy(reader, record):
    copied = score_outputs(reader, 12).seconds["name_mover"].mean(0)
    best = Head(*divmod(int(copied.argmax()), 8))
    assert best in record.top_heads("induction")
    assert copied.max() > 0.5


def test_pairs_of_a_series_are_words_of_one_token_each_and_next_to_each_other(tiny):
    texts = [tuple(tiny.token_texts(pair)) for pair in successor_pairs(tiny)]
    assert (" one", " two") in texts
    assert (" first", " second") in texts
    assert all(word[0] == following[0] == " " for word, following in texts)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_way_by_weights_alone_is_the_one_written_by_hand(kind, tiny):
    model = build(kind)
    loaded = LoadedModel("r", model, tiny.tokenizer, "r")
    pairs = successor_pairs(loaded)
    words = list(dict.fromkeys(token for pair in pairs for token in pair))
    tokens = torch.tensor([[*loaded.bos, *(word for word, _ in pairs)]])
    with torch.no_grad():
        raised = by_hand(kind, model, tokens)[..., words]
    right = torch.tensor([words.index(following) for _, following in pairs])
    expected = (raised[:, :, len(loaded.bos) :].argmax(-1) == right).float().permute(2, 0, 1)
    found = known(successor_hits(open_outputs(PatternReader(loaded))))
    assert torch.equal(found, expected)
    assert 0 < found.sum() < found.numel()


def by_hand(kind: str, model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """What each head raises, [layer, head, position, word]: of the first layer from the embedding, of others from its MLP's."""
    if kind == "llama":
        body, embedded = model.model, model.model.embed_tokens(tokens)
        effective = body.layers[0].mlp(body.layers[0].post_attention_layernorm(embedded))
        layers = [(layer.input_layernorm, layer.self_attn.v_proj, layer.self_attn.o_proj.weight.T) for layer in body.layers]
        gain, centre = body.norm.weight, False
    else:
        body = model.transformer
        embedded = body.wte(tokens) + body.wpe(torch.arange(tokens.shape[1]))
        effective = body.h[0].mlp(body.h[0].ln_2(embedded + body.h[0].attn.c_proj.bias))
        layers = [
            (block.ln_1, lambda x, block=block: block.attn.c_attn(x).chunk(3, -1)[2], block.attn.c_proj.weight)
            for block in body.h
        ]
        gain, centre = body.ln_f.weight, True
    heads, found = model.config.num_attention_heads, []
    for number, (norm, to_values, output) in enumerate(layers):
        values = to_values(norm(effective if number else embedded))[0]
        width = output.shape[0] // heads
        values = values.unflatten(-1, (-1, width)).repeat_interleave(heads * width // values.shape[-1], dim=1)
        written = torch.einsum("phd,hdm->hpm", values, output.unflatten(0, (heads, width)))
        if centre:
            written = written - written.mean(-1, keepdim=True)
        found.append(written * gain @ model.get_output_embeddings().weight.T)
    return torch.stack(found)


def test_a_forward_after_the_words_were_read_is_the_one_before(reader):
    outputs, ids = open_outputs(reader), reader.loaded.encode("The king and the queen")
    before = outputs.read(ids)
    successor_hits(outputs)
    after = outputs.read(ids)
    assert torch.equal(before.pattern, after.pattern)
    assert torch.equal(before.last, after.last)


@pytest.mark.slow
def test_smollm2_has_one_head_that_moves_names_one_that_suppresses_them_and_one_that_counts_on(real_reader):
    """Measured on 100 texts: L23H0 +1.39, L24H4 -1.27, L29H1 +0.36."""
    found = score_outputs(real_reader, 12)
    means = {name: values.mean(0) for name, values in found.scores.items()}
    best = {name: Head(*divmod(int(table.argmax()), 9)) for name, table in means.items()}
    assert best == {"name_mover": Head(23, 0), "copy_suppression": Head(24, 4), "successor": Head(29, 1)}
    assert means["name_mover"].max() > 1.0
    assert means["copy_suppression"].max() > 0.9
