"""What heads write: all that is written adds up to the logits, on every architecture, and is what TransformerLens counts."""

from typing import Any

import pytest
import torch
from transformer_lens.tools.analysis import direct_logit_attribution

from analysis.pipeline.bridge import open_bridge
from headroles.core.heads import Head
from headroles.core.outputs.linear_norm import FITS
from headroles.core.registry import ARCHITECTURES
from headroles.errors import UnsupportedModelError
from headroles.models.interventions.ablator import open_outputs
from headroles.models.interventions.direct_effects import read_direct_effects
from headroles.models.loading.loader import LoadedModel
from headroles.models.reading.output_reader import OutputReader
from headroles.models.reading.pattern_reader import PatternReader
from tests.conftest import REPEATING, tables
from tests.fixtures.architectures import VOCABULARY, build, mark_thorough
from tests.fixtures.double import to_double

TABLE = "direct effects: how far the parts are from the logits, as a share of the largest one"
# what cannot be taken apart, by model type: their layers do not add to one stream, or mix values out of sight
REFUSED = {"openai-gpt": "its layer 0 adds", "zamba2": "its layer 1 adds", "codegen": "its values are not met"}
TEXT_IDS = torch.randint(1, VOCABULARY, (25,), generator=torch.Generator().manual_seed(3)).tolist()


@pytest.fixture(scope="module")
def tiny_outputs(explorer) -> OutputReader:
    return explorer._use("headroles-tiny", open_outputs)


def random_loaded(architecture: str, tiny: LoadedModel, **changes: Any) -> LoadedModel:
    return LoadedModel(f"random-{architecture}", build(architecture, **changes), tiny.tokenizer, "r")


@pytest.mark.parametrize("architecture", mark_thorough(ARCHITECTURES))
def test_embeddings_heads_mlps_and_biases_add_up_to_the_logits(architecture, tiny):
    loaded = random_loaded(architecture, tiny)
    reader = PatternReader(loaded)
    if architecture in REFUSED:
        with pytest.raises(UnsupportedModelError, match=f"^What the heads of .* write cannot be read.*{REFUSED[architecture]}"):
            open_outputs(reader)
        assert reader.read(TEXT_IDS[:8]).patterns.shape[-1] == 8  # patterns go on
        return
    outputs, words = open_outputs(reader), list(range(0, VOCABULARY, 97))
    with torch.no_grad():
        logits = loaded.model(input_ids=torch.tensor([TEXT_IDS])).logits[0, -1]
    stream, unembedding = outputs.read(TEXT_IDS), outputs.tokens_to_residual_directions(words)
    embedding, rest, biases = stream.other_parts(unembedding)
    total = stream.by_key(unembedding).sum((0, 1, 2)) + embedding + rest.sum(0) + biases + outputs.unembedding_bias(words)
    missed = float((total - outputs.centered_logits(logits)[words]).abs().max() / logits.abs().max())
    tables.setdefault(TABLE, []).append({"architecture": architecture, "gated": str(outputs._is_gated), "missed": missed})
    assert missed <= FITS
    assert torch.allclose(outputs.logits(stream), logits, atol=FITS * float(logits.abs().max()))


def test_a_residual_multiplier_a_logit_scale_and_biases_are_met(tiny):
    changes = {"residual_multiplier": 0.3, "logits_scaling": 4.0, "attention_bias": True}
    outputs = open_outputs(PatternReader(random_loaded("granite", tiny, **changes)))
    assert outputs.residual_map.scale == pytest.approx(0.25, abs=FITS)
    assert [writing.factor for writing in outputs.residual_map.output_layers] == pytest.approx([0.3] * 3, abs=FITS)


def test_a_heads_direct_effect_is_what_the_logit_loses_when_all_behind_it_is_frozen(in_double, tiny):
    """By hand: the head's part is taken out of the last residual stream, and the last norm keeps its scale."""
    loaded = LoadedModel("r", to_double(build("llama")), tiny.tokenizer, "r")
    outputs, last, model = open_outputs(PatternReader(loaded)), len(TEXT_IDS) - 1, to_double(build("llama"))
    mixed: dict[int, torch.Tensor] = {}
    for layer, block in enumerate(model.model.layers):
        block.self_attn.o_proj.register_forward_pre_hook(lambda _, args, layer=layer: mixed.update({layer: args[0][0, last]}))
    stream: list[torch.Tensor] = []
    model.model.norm.register_forward_pre_hook(lambda _, args: stream.append(args[0][0, last]))
    with torch.no_grad():
        model(input_ids=torch.tensor([TEXT_IDS]))
        found = outputs.read(TEXT_IDS).by_key(outputs.tokens_to_residual_directions([5, 700]))
        scale = (stream[0].pow(2).mean() + model.config.rms_norm_eps).rsqrt()
        for head in (Head(0, 0), Head(2, 3)):
            wide = slice(12 * head.index, 12 * head.index + 12)
            written = mixed[head.layer][wide] @ model.model.layers[head.layer].self_attn.o_proj.weight[:, wide].T
            logits = model.lm_head(written * scale * model.model.norm.weight)
            by_hand = (logits - logits.mean())[[5, 700]]
            assert torch.allclose(found[head.layer, head.index].sum(0), by_hand, atol=1e-6)


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "llama", "qwen2", "mistral"])
def test_transformer_lens_attributes_the_same_to_every_head(architecture, tiny):
    """Not Gemma 2 and others with a norm behind their heads: TransformerLens leaves it out, and its parts miss the logits."""
    outputs = open_outputs(PatternReader(random_loaded(architecture, tiny)))
    bridge = open_bridge(random_loaded(architecture, tiny))
    bridge.enable_compatibility_mode()
    with torch.no_grad():
        _, cache = bridge.run_with_cache(torch.tensor([TEXT_IDS]))
        theirs = direct_logit_attribution(bridge, answer_tokens=5, incorrect_tokens=700, pos=-1, unit="head", cache=cache)
    effects = outputs.read(TEXT_IDS).by_key(outputs.tokens_to_residual_directions([5, 700])).sum(2)
    ours = effects[..., 0] - effects[..., 1]
    assert theirs.labels[:-1] == [f"L{layer}H{head}" for layer in range(3) for head in range(4)]
    assert torch.allclose(ours.flatten(), theirs.attribution.flatten()[:-1], atol=1e-4)


def test_what_a_role_foretells_is_told_beside_the_favourite(explorer):
    writes = explorer.effects("headroles-tiny", REPEATING, role="induction")
    text = explorer.analyze("headroles-tiny", REPEATING)
    target = writes.expected_token or writes.top_token
    assert target.token == " queen"
    total = sum(map(sum, target.heads)) + target.embedding + target.rest + target.biases
    assert total == pytest.approx(target.logit, abs=FITS * 30)
    assert sum(writes.by_key) == pytest.approx(writes.total_effect(writes.top_token), abs=FITS * 30)
    assert set(writes.heads) <= {head.head for head in text.role("induction").heads}
    assert " queen" in [word.token for word in writes.raised]
    assert writes.raised[0].effect > 0 > writes.lowered[0].effect


def test_effects_of_a_text_are_the_same_whatever_else_stands_behind_the_query(tiny_outputs):
    ids = tiny_outputs.loaded.encode(REPEATING)
    alone = read_direct_effects(tiny_outputs, "", ids[:8], [Head(2, 2)])
    within = read_direct_effects(tiny_outputs, "", ids, [Head(2, 2)], query=7)
    assert alone.top_token.token_id == within.top_token.token_id
    assert alone.top_token.head_effect(Head(2, 2)) == pytest.approx(within.top_token.head_effect(Head(2, 2)), abs=1e-4)
    assert len(alone.by_key) == len(within.by_key[:8]) == 8
    assert not any(within.by_key[8:])


def test_the_output_side_is_opened_once_and_a_refusal_is_remembered(tiny):
    reader = PatternReader(random_loaded("llama", tiny))
    assert open_outputs(reader) is open_outputs(reader)
    refused = PatternReader(random_loaded("openai-gpt", tiny))
    messages = []
    for _ in range(2):
        with pytest.raises(UnsupportedModelError) as error:
            open_outputs(refused)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
