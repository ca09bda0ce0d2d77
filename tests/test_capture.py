"""PyVene's patterns against transformers' own, in batches, under threads, and what is refused."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from headroles.capture import PatternReader
from headroles.errors import UnsupportedModelError
from headroles.models import LoadedModel
from tests.conftest import PLAIN, REPEATING


def own_attentions(loaded: LoadedModel, ids: torch.Tensor) -> torch.Tensor:
    """transformers' `output_attentions` [batch, layer, head, query, key]; of an instance that PyVene never saw."""
    loaded.model.set_attn_implementation("eager")
    with torch.no_grad():
        return torch.stack(loaded.model(input_ids=ids, output_attentions=True).attentions, dim=1)


@pytest.mark.parametrize("prompt", [REPEATING, PLAIN, "a", "日本 \x00 <|endoftext|>"])
def test_the_embedded_models_patterns_equal_output_attentions_of_another_instance(tiny, fresh_tiny, prompt):
    ids = fresh_tiny.encode(prompt)
    ours = PatternReader(fresh_tiny).read(ids).patterns
    torch.testing.assert_close(ours, own_attentions(tiny, torch.tensor([ids]))[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_random_models_patterns_equal_output_attentions_of_another_instance(random_model, architecture):
    ids = torch.randint(1, 3072, (3, 40), generator=torch.Generator().manual_seed(0))
    ours = PatternReader(random_model(architecture)).read_batch(ids)
    torch.testing.assert_close(ours, own_attentions(random_model(architecture), ids), atol=1e-6, rtol=0)


def test_right_padding_leaves_real_rows_exactly_as_they_are(fresh_tiny):
    reader = PatternReader(fresh_tiny)
    ids = list(fresh_tiny.encode(PLAIN))
    padded = torch.tensor([ids + [9] * 20, [5] * (len(ids) + 20)])
    together = reader.read_batch(padded)[0, :, :, : len(ids), : len(ids)]
    torch.testing.assert_close(together, reader.read(ids).patterns, atol=1e-6, rtol=0)


def test_eight_threads_on_one_reader_get_what_one_gets(fresh_tiny):
    reader = PatternReader(fresh_tiny)
    rows = [list(torch.randint(1, 3000, (8 + n % 20,), generator=torch.Generator().manual_seed(n)).tolist()) for n in range(64)]
    alone = [reader.read(row).patterns for row in rows]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda row: reader.read(row).patterns, rows))
    assert all(torch.equal(one, other) for one, other in zip(alone, together))


def test_every_forward_holds_the_models_lock(fresh_tiny, monkeypatch):
    body = fresh_tiny.model.base_model
    forward, held = body.forward, []
    monkeypatch.setattr(body, "forward", lambda **inputs: (held.append(fresh_tiny.lock.locked()), forward(**inputs))[1])
    PatternReader(fresh_tiny).read((0, 1, 2))
    assert len(held) == 3  # finding the attention modules, the self-test, the text
    assert all(held)


def test_reading_again_and_again_leaves_no_hook_behind(fresh_tiny):
    reader = PatternReader(fresh_tiny)
    reader.read((0, 1, 2, 3))
    count = sum(len(module._forward_hooks) for module in fresh_tiny.model.modules())
    for _ in range(20):
        reader.read((0, 1, 2, 3))
    assert sum(len(module._forward_hooks) for module in fresh_tiny.model.modules()) == count


def test_a_model_without_replaceable_attention_is_refused_by_name(tiny):
    from transformers import BloomConfig, BloomForCausalLM

    bloom = BloomForCausalLM(BloomConfig(vocab_size=64, hidden_size=16, n_layer=2, n_head=2)).eval()
    with pytest.raises(UnsupportedModelError, match=r"little-bloom \(bloom\) cannot be read by headroles"):
        PatternReader(LoadedModel("little-bloom", bloom, tiny.tokenizer, "r"))


def test_a_model_that_looks_ahead_is_refused_by_the_self_test(random_model):
    loaded = random_model("gpt2")
    attention = loaded.model.transformer.h[1].attn
    attention.forward, forward = lambda x, **kw: forward(x, **{**kw, "attention_mask": None}), attention.forward
    attention.is_causal = False
    with pytest.raises(UnsupportedModelError, match=r"random-gpt2 \(gpt2\) cannot be read.*looks ahead"):
        PatternReader(loaded)


def test_the_probes_change_nothing_of_what_the_model_computes(tiny, fresh_tiny):
    ids = torch.tensor([fresh_tiny.encode(REPEATING)])
    PatternReader(fresh_tiny)
    assert any(isinstance(module, nn.Identity) for module in fresh_tiny.model.modules())
    tiny.model.set_attn_implementation("eager")
    with torch.no_grad():
        assert torch.equal(fresh_tiny.model(input_ids=ids).logits, tiny.model(input_ids=ids).logits)
