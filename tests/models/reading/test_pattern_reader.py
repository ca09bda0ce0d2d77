"""PyVene's patterns against transformers' own, in batches, under threads, and what is refused."""

import logging
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from headroles.core.heads import sink_mass
from headroles.errors import UnsupportedModelError
from headroles.models.loading.loader import LoadedModel
from headroles.models.reading.pattern_reader import PatternReader
from tests.conftest import PLAIN, REPEATING
from tests.fixtures.architectures import build
from tests.fixtures.double import ROUNDING, to_double


def own_attentions(loaded: LoadedModel, ids: torch.Tensor) -> torch.Tensor:
    """transformers' `output_attentions` [batch, layer, head, query, key]; of an instance that PyVene never saw."""
    loaded.model.set_attn_implementation("eager")
    with torch.no_grad():
        return torch.stack(loaded.model(input_ids=ids, output_attentions=True).attentions, dim=1)


@pytest.mark.parametrize("prompt", [REPEATING, PLAIN, "a", "日本 \x00 <|endoftext|>"])
def test_the_embedded_models_patterns_equal_output_attentions_of_another_instance(tiny, fresh_tiny, prompt):
    ids = fresh_tiny.encode(prompt)
    ours = PatternReader(fresh_tiny).read(ids).patterns
    assert torch.equal(ours, own_attentions(tiny, torch.tensor([ids]))[0])  # the same sums in the same order


def test_right_padding_leaves_real_rows_exactly_as_they_are(in_double, fresh_tiny):
    to_double(fresh_tiny.model)
    reader = PatternReader(fresh_tiny)
    ids = list(fresh_tiny.encode(PLAIN))
    padded = torch.tensor([ids + [9] * 20, [5] * (len(ids) + 20)])
    together = reader.read_batch(padded)[0, :, :, : len(ids), : len(ids)]
    torch.testing.assert_close(together, reader.read(ids).patterns, atol=ROUNDING, rtol=0)


def test_eight_threads_on_one_reader_get_what_one_gets(fresh_tiny):
    reader = PatternReader(fresh_tiny)
    rows = [list(torch.randint(1, 3000, (8 + n % 20,), generator=torch.Generator().manual_seed(n)).tolist()) for n in range(64)]
    alone = [reader.read(row).patterns for row in rows]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda row: reader.read(row).patterns, rows))
    assert all(torch.equal(one, other) for one, other in zip(alone, together))


def test_what_was_read_before_stays_as_it_is_and_holds_no_more_than_itself(fresh_tiny):
    """The patterns are kept in caches: nothing read later may write into them, and no text may keep its neighbours alive."""
    reader = PatternReader(fresh_tiny)
    first = reader.read((0, 5, 7, 9)).patterns
    before = first.clone()
    others = list(reader.read_texts([(0, 9, 7, 5), (0, 8, 6), (0, 3, 3, 3)]))
    assert torch.equal(first, before)
    for patterns in (first, *(attention.patterns for attention in others)):
        assert patterns.is_contiguous()
        assert patterns.untyped_storage().nbytes() == patterns.numel() * patterns.element_size()


def test_a_forward_that_failed_leaves_nothing_to_the_next(fresh_tiny, monkeypatch):
    reader = PatternReader(fresh_tiny)
    expected = reader.read((0, 1, 2, 3)).patterns
    last = fresh_tiny.model.base_model.layers[-1]
    with monkeypatch.context() as broken:
        broken.setattr(last, "forward", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            reader.read((0, 1, 2, 3, 4, 5))
    assert torch.equal(reader.read((0, 1, 2, 3)).patterns, expected)


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


UNREADABLE = {
    "falcon": ({"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}, "no module of it puts out"),
    "mamba": ({"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}, "no module of it puts out"),
    "bamba": (
        {"attn_layer_indices": []},
        "no module of it puts out attention patterns",
    ),
    "diffllama": (
        {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
        "some of its attention modules are used several times in one forward",
    ),
    "granite_swa": (
        {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0},
        "its learned sinks do not show in its attention patterns",
    ),
    "bert": (
        {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
        "its layer 0 looks ahead",
    ),
    "xlnet": ({"d_model": 48, "n_layer": 2, "n_head": 4, "d_inner": 32}, "it gives 4 attention patterns for 2 layers"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("architecture", UNREADABLE)
def test_a_model_without_causal_patterns_in_every_layer_is_refused_by_name(tiny, architecture):
    shape, reason = UNREADABLE[architecture]
    loaded = LoadedModel(f"little-{architecture}", build(architecture, **shape), tiny.tokenizer, "r")
    with pytest.raises(
        UnsupportedModelError, match=rf"little-{architecture} \({architecture}\) cannot be read by headroles: .*({reason})"
    ):
        PatternReader(loaded)


def test_patterns_from_other_layers_than_the_config_says_are_refused(random_model):
    loaded = random_model("lfm2")
    vars(loaded)["other_layers"] = {1: "convolution", 2: "convolution"}
    with pytest.raises(UnsupportedModelError, match="its attention patterns come from layer 1, but its config names layer 0"):
        PatternReader(loaded)


def test_a_row_above_1_is_refused_beside_a_sink_too(random_model, monkeypatch):
    loaded = random_model("gpt_oss")
    file = sys.modules[type(loaded.model).__module__]
    eager = file.eager_attention_forward

    def doubled(*args, **kwargs):
        output, weights = eager(*args, **kwargs)
        return output, weights * 2

    monkeypatch.setattr(file, "eager_attention_forward", doubled)
    with pytest.raises(UnsupportedModelError, match=r"its layer 0 (holds values from|has a row whose sum is .* above 1)"):
        PatternReader(loaded)


def test_the_sink_takes_what_the_models_own_softmax_gives_it(in_double, random_model):
    """Told by the sinks alone: far below every score they take nothing, and rows sum to 1."""
    loaded = random_model("gpt_oss")
    to_double(loaded.model)
    reader, ids = PatternReader(loaded), torch.arange(1, 21)[None]
    assert float(sink_mass(reader.read_layers(ids)).max()) > 0.1
    for layer in loaded.model.model.layers:
        layer.self_attn.sinks.data.fill_(-1e4)
    torch.testing.assert_close(reader.read_layers(ids).sum(-1), torch.ones(3, 1, 4, 20).double(), atol=ROUNDING, rtol=0)


def test_nothing_is_logged_of_kernels_that_are_not_there(random_model, caplog, capfd):
    for architecture in ("qwen3_5_text", "jamba", "bamba", "lfm2", "recurrent_gemma"):
        PatternReader(random_model(architecture)).read((0, 1, 2, 3))
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert "falling back" not in "".join(capfd.readouterr())


def test_an_encoder_decoder_is_refused_by_name(tiny):
    from transformers import T5Config, T5ForConditionalGeneration

    model = T5ForConditionalGeneration(T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=2)).eval()
    with pytest.raises(UnsupportedModelError, match=r"little \(t5\) cannot be read by headroles: it is an encoder-decoder"):
        PatternReader(LoadedModel("little", model, tiny.tokenizer, "r"))


def test_a_layer_that_looks_beyond_its_window_is_refused(random_model, monkeypatch):
    loaded = random_model("llama")
    monkeypatch.setattr(type(loaded), "windows", (None, 12, None))
    with pytest.raises(UnsupportedModelError, match="its layer 1 looks beyond its window of 12 tokens"):
        PatternReader(loaded)


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
