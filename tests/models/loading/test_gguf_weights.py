"""GGUF files of every architecture that is read, against the models that they were written from."""

import math
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from transformers import PreTrainedModel

from headroles.errors import ModelLoadError
from headroles.explorer import Explorer
from headroles.hub.gguf import read_gguf
from headroles.hub.gguf_config import ARCHITECTURES
from headroles.hub.repository import inspect
from headroles.models.loading.loader import attention_windows, load_model
from headroles.models.reading.pattern_reader import PatternReader
from headroles.settings import Settings
from tests.conftest import REPEATING
from tests.fixtures.architectures import CONTEXT, build
from tests.fixtures.gguf_files import ARCHITECTURE_OF, Contents, byte_level, contents_of, llama3_factors, roughened, write

pytestmark = pytest.mark.usefixtures("one_thread")


def stretched(factor: float = 4.0, base: float = 500_000.0) -> dict[str, Any]:
    return {"rope_type": "linear", "factor": factor, "rope_theta": base}


def based(base: float, turned: float = 1.0) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": base, "partial_rotary_factor": turned}


LLAMA3 = {"rope_type": "llama3", "rope_theta": 10_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3["original_max_position_embeddings"] = 64
# six layers of a window and one without, as Gemma 3 has them
SEVEN = {"num_hidden_layers": 7, "layer_types": [*["sliding_attention"] * 5, "full_attention", "sliding_attention"]}
GEMMA3_ROPE = {"sliding_attention": based(10_000.0), "full_attention": stretched(8.0, 1_000_000.0)}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, its embeddings used twice": ("llama", {"tie_word_embeddings": True}),
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama of heads twice as wide": ("llama", {"head_dim": 24}),
    "llama, all heads with keys of their own": ("llama", {"num_key_value_heads": 4}),
    "llama, its positions stretched evenly": ("llama", {"rope_parameters": stretched()}),
    "llama 3.1": ("llama", {"rope_parameters": LLAMA3}),
    "mistral": ("mistral", {"sliding_window": None, "rope_parameters": based(1_000_000.0)}),
    "qwen2": ("qwen2", {"rope_parameters": based(1_000_000.0)}),
    "qwen2, its embeddings used twice": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {"rope_parameters": based(1_000_000.0)}),
    "qwen3, its embeddings used twice": ("qwen3", {"head_dim": 8, "tie_word_embeddings": True}),
    "gemma2": ("gemma2", {}),
    "gemma2 of other caps": ("gemma2", {"head_dim": 8, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 5.0}),
    "gemma3": ("gemma3_text", {**SEVEN, "rope_parameters": {**GEMMA3_ROPE, "full_attention": based(1_000_000.0)}}),
    "gemma3, its positions stretched where there is no window": ("gemma3_text", {**SEVEN, "rope_parameters": GEMMA3_ROPE}),
    "phi3": ("phi3", {}),
    "phi3, half of each head turned, no window": ("phi3", {"sliding_window": None, "rope_parameters": based(10_000.0, 0.5)}),
    "gpt2": ("gpt2", {}),
    "gpt2 of another inner width": ("gpt2", {"n_inner": 64, "layer_norm_epsilon": 0.01}),
    "bloom": ("bloom", {}),
    "bloom of six heads, no power of two": ("bloom", {"n_head": 6}),
    "stablelm": ("stablelm", {}),
    "stablelm, attention and MLP side by side": ("stablelm", {"use_parallel_residual": True, "use_qkv_bias": True}),
    "starcoder2": ("starcoder2", {"rope_parameters": based(999_999.0)}),
    "starcoder2 without biases": ("starcoder2", {"use_bias": False, "tie_word_embeddings": False}),
}


def made(name: str) -> PreTrainedModel:
    model_type, changes = CASES[name]
    return roughened(build(model_type, **changes))


@pytest.fixture(scope="module")
def tokenizer(tiny) -> dict[str, Any]:
    """The keys of the embedded model's tokenizer."""
    return {**byte_level(tiny.tokenizer), "tokenizer.ggml.add_bos_token": True}


@pytest.fixture
def llama(tokenizer) -> Contents:
    return contents_of(build("llama")).has(tokenizer)


def test_every_architecture_that_is_read_is_tried_here():
    assert {ARCHITECTURE_OF.get(model_type, model_type) for model_type, _ in CASES.values()} == set(ARCHITECTURES)


@pytest.mark.parametrize("name", CASES)
def test_a_file_gives_the_logits_and_patterns_of_the_model_it_was_written_from(name, tmp_path, tokenizer):
    original = made(name)
    if original.config.model_type != "bloom":  # has one way to attend only
        original.set_attn_implementation("eager")
    loaded = load_model("m", write(tmp_path / "m.gguf", contents_of(original).has(tokenizer)))
    ids = loaded.encode(REPEATING)
    with torch.no_grad():
        expected = original(input_ids=torch.tensor([ids]), output_attentions=True)
        logits = loaded.model(input_ids=torch.tensor([ids])).logits
    # the same numbers, in the same sums, in the same order
    assert torch.equal(logits, expected.logits)
    assert torch.equal(PatternReader(loaded).read(ids).patterns, torch.stack(expected.attentions, dim=1)[0])
    assert attention_windows(loaded.model.config) == attention_windows(original.config)
    if original.config.model_type != "bloom":  # which knows no longest text
        assert loaded.max_tokens == CONTEXT


@pytest.mark.parametrize("name", [*ARCHITECTURES, "llama, its positions stretched evenly"])
def test_every_value_of_a_file_counts(name, tmp_path, tokenizer):
    """Half of what each fraction says gives other patterns or logits: none of them is one that would be taken anyway."""
    contents = contents_of(made(name)).has(tokenizer)
    ids = torch.arange(1, 40)[None]
    with torch.no_grad():
        usual = load_model("m", write(tmp_path / "m.gguf", contents)).model(input_ids=ids).logits
        fractions = [key for key, value in contents.keys.items() if isinstance(value, float)]
        assert fractions
        for key in fractions:
            # an epsilon has to be large to show in float32
            changed = contents.has({key: 0.5 if "epsilon" in key else contents.keys[key] / 2})
            logits = load_model("m", write(tmp_path / "changed.gguf", changed)).model(input_ids=ids).logits
            assert not torch.equal(logits, usual), key


def test_what_a_file_leaves_out_is_as_llama_cpp_takes_it_and_not_as_transformers_would(tmp_path, tokenizer):
    for name in ("qwen2", "qwen3", "stablelm", "starcoder2"):
        model_type, _ = CASES[name]
        shape = {"num_key_value_heads": 4, "head_dim": 12} if name != "stablelm" else {"num_key_value_heads": 4}
        original = roughened(build(model_type, **shape, rope_parameters=based(10_000.0)))
        contents = contents_of(original).has(tokenizer)
        contents = contents.without("attention.head_count_kv", "attention.key_length", "attention.value_length")
        contents = contents.without("rope.freq_base", "rope.dimension_count")
        loaded = load_model("m", write(tmp_path / f"{name}.gguf", contents))
        ids = torch.arange(1, 40)[None]
        original.set_attn_implementation("eager")
        with torch.no_grad():
            assert torch.equal(loaded.model(input_ids=ids).logits, original(input_ids=ids).logits)


def test_the_factors_of_llama_3_slow_down_some_pairs_of_dimensions_as_transformers_does(tmp_path, tokenizer):
    original = build("llama", rope_parameters=LLAMA3)
    factors = llama3_factors(original.config)
    assert factors[0] == 1
    assert factors[-1] == 8
    assert any(1 < factor < 8 for factor in factors)
    loaded = load_model("m", write(tmp_path / "m.gguf", contents_of(original).has(tokenizer)))
    # a quotient of rounded numbers instead of their sum: four roundings of half a unit in the last place on either side
    ours, theirs = loaded.model.model.rotary_emb.inv_freq, original.model.rotary_emb.inv_freq
    torch.testing.assert_close(ours, theirs, rtol=8 * 2**-24, atol=0)


@pytest.mark.parametrize(
    "factors", [[1.0] * 5, [1.0] * 5 + [0.0], [1.0] * 5 + [-2.0], [1.0] * 5 + [math.nan], [1.0] * 5 + [math.inf]]
)
def test_rotary_factors_that_cannot_be_are_refused(llama, tmp_path, factors):
    tensors = {**llama.tensors, "rope_freqs.weight": np.array(factors, np.float32)}
    path = write(tmp_path / "m.gguf", Contents("llama", llama.keys, tensors))
    with pytest.raises(ModelLoadError, match=r"^m could not be loaded: its rope_freqs\.weight does not fit its heads\.$"):
        load_model("m", path)


REFUSED = {
    "positions stretched by YaRN": ("qwen2", {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}, "in the way yarn"),
    "positions stretched by LongRoPE": ("phi3", {"rope.scaling.type": "longrope"}, "in the way longrope"),
    "attention scaled with them": ("phi3", {"rope.scaling.attn_factor": 1.19}, r"it says rope\.scaling\.attn_factor"),
    "experts": ("llama", {"expert_count": 8, "expert_used_count": 2}, "it says expert_count"),
    "another scale of the scores": ("llama", {"attention.scale": 0.1}, r"it says attention\.scale"),
    "scores that are cut": ("llama", {"attention.clamp_kqv": 8.0}, r"it says attention\.clamp_kqv"),
    "attention that looks ahead": ("llama", {"attention.causal": False}, r"it says attention\.causal"),
    "a window that Llama has not": ("llama", {"attention.sliding_window": 12}, r"it says attention\.sliding_window"),
    "heads of another width for each layer": (
        "llama",
        {"attention.head_count": [4, 4, 2]},
        r"llama\.attention\.head_count differs",
    ),
    "windows of another width for each layer": ("gemma3", {"attention.sliding_window_pattern": [True, False, True]}, "differs"),
    "values of another width than keys": (
        "qwen3",
        {"attention.value_length": 8},
        "its value length is 8, where",
    ),
    "rotary positions in a part of a head": ("llama", {"rope.dimension_count": 6}, "its rotary dimensions is 6"),
    "heads of another width in StableLM": ("stablelm", {"attention.key_length": 24}, "its head dim is 24"),
    "grouped heads in GPT-2": ("gpt2", {"attention.head_count_kv": 2}, "its num key value heads is 2"),
    "pictures": ("gemma3", {"vision.block_count": 27}, r"it says vision\.block_count"),
    "text for a number": ("llama", {"attention.head_count": "four"}, r"its attention\.head_count is not a whole number above 0"),
    "a base below zero": ("llama", {"rope.freq_base": -1.0}, r"its rope\.freq_base is not a number above 0"),
    "an epsilon that is none": (
        "llama",
        {"attention.layer_norm_rms_epsilon": math.nan},
        "_epsilon is not a number",
    ),
    "no heads": ("llama", {"attention.head_count": 0}, r"its attention\.head_count is not a whole number above 0"),
    "true for a number": ("llama", {"attention.head_count": True}, r"its attention\.head_count is not a whole number above 0"),
    "a number for a word": ("llama", {"rope.scaling.type": 1}, r"its rope\.scaling\.type is not a word"),
    "a million layers": ("gemma3", {"block_count": 2**32 - 1}, "it describes 4,294,967,295 layers, but has"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_would_change_attention_and_is_not_honoured_is_refused_by_name(what, tmp_path, tokenizer):
    architecture, keys, message = REFUSED[what]
    model = build("gemma3_text" if architecture == "gemma3" else architecture)
    contents = contents_of(model).has(tokenizer).has({f"{architecture}.{key}": value for key, value in keys.items()})
    with pytest.raises(ModelLoadError, match=f"^m.gguf could not be loaded: .*{message}"):
        load_model("m", write(tmp_path / "m.gguf", contents))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_key_that_nobody_knows_is_refused_by_name_and_one_that_is_needed_is_missed(architecture, tmp_path, tokenizer):
    model = build("gemma3_text" if architecture == "gemma3" else architecture)
    contents = contents_of(model).has(tokenizer)
    with pytest.raises(ModelLoadError, match=rf"it says attention\.newest, which is not known here of {architecture}\."):
        load_model("m", write(tmp_path / "m.gguf", contents.says(attention__newest=1)))
    for key in ("block_count", "embedding_length", "attention.head_count", "context_length", "feed_forward_length"):
        with pytest.raises(ModelLoadError, match=rf"it does not say {key}\."):
            load_model("m", write(tmp_path / "m.gguf", contents.without(key)))
    for key in contents.keys:
        if "epsilon" in key:
            with pytest.raises(ModelLoadError, match=r"it does not say attention\.layer_norm(_rms)?_epsilon\."):
                load_model("m", write(tmp_path / "m.gguf", contents.without(key)))


@pytest.mark.parametrize("tensor", ["rope_factors_long.weight", "blk.0.attn_q_norm.weight", "blk.0.attn_sinks.weight"])
def test_a_tensor_that_such_a_model_has_no_place_for_is_refused_by_name(llama, tmp_path, tensor):
    tensors = {**llama.tensors, tensor: np.ones(6, np.float32)}
    with pytest.raises(ModelLoadError, match=f"its tensor {tensor} has no place in such a model"):
        load_model("m", write(tmp_path / "m.gguf", Contents("llama", llama.keys, tensors)))


# what published files say beyond what our small ones do; as llama.cpp, Ollama and LM Studio write them
OF_ALL = {
    "general.type": "model",
    "general.basename": "small",
    "general.finetune": "Instruct",
    "general.size_label": "8B",
    "general.license": "apache-2.0",
    "general.license.link": "https://example.org/license",
    "general.base_model.count": 1,
    "general.base_model.0.name": "Small",
    "general.tags": ["chat", "text-generation"],
    "general.languages": ["en", "de"],
    "general.quantization_version": 2,
    "general.quantized_by": "somebody",
    "general.parameter_count": (gguf.GGUFValueType.UINT64, 8_030_261_312),
    "quantize.imatrix.file": "/models/small.imatrix",
    "quantize.imatrix.entries_count": 224,
    "tokenizer.chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
    "tokenizer.ggml.eot_token_id": 1,
    "tokenizer.ggml.padding_token_id": 0,
    "split.count": (gguf.GGUFValueType.UINT16, 0),
}
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama 3.1 8B": ("llama", {"llama.attention.key_length": 12, "llama.attention.value_length": 12}),
    "Llama 2 7B, of 2023": ("llama", {"llama.tensor_data_layout": "Meta AI original pth"}),
    "Mistral 7B": ("llama", {"llama.expert_count": 0, "llama.expert_used_count": 0, "llama.rope.scaling.type": "none"}),
    "SmolLM2 135M": ("llama", {"llama.rope.scaling.finetuned": False, "tokenizer.ggml.add_space_prefix": False}),
    "Qwen 2.5 7B": ("qwen2", {"tokenizer.ggml.add_bos_token": False}),
    "Qwen 3 8B": ("qwen3", {"tokenizer.ggml.add_bos_token": False}),
    "Gemma 2 9B": ("gemma2", {"tokenizer.ggml.add_space_prefix": False}),
    "Gemma 3 1B": ("gemma3", {"gemma3.rope.scaling.type": "linear", "gemma3.rope.scaling.factor": 8.0}),
    "Gemma 3 1B by Ollama": (
        "gemma3",
        {
            "gemma3.rope.global.freq_base": 1e6,
            "gemma3.rope.local.freq_base": 1e4,
            "gemma3.final_logit_softcapping": 30.0,
        },
    ),
    "Phi-3 mini 4k": ("phi3", {"phi3.rope.scaling.original_context_length": 4096, "phi3.attention.sliding_window": 2047}),
    "GPT-2": ("gpt2", {}),
    "StarCoder2 3B": ("starcoder2", {"tokenizer.ggml.add_space_prefix": False}),
    "BLOOM 560M": ("bloom", {"bloom.attention.head_count_kv": 4}),
    "StableLM 2 1.6B": ("stablelm", {"stablelm.use_parallel_residual": False, "stablelm.rope.freq_base": 10_000.0}),
}


@pytest.mark.parametrize("what", PUBLISHED)
def test_a_published_file_is_not_refused_for_what_concerns_nothing_here(what, tmp_path, tokenizer):
    architecture, keys = PUBLISHED[what]
    model = build("gemma3_text" if architecture == "gemma3" else architecture)
    path = write(tmp_path / "m.gguf", contents_of(model).has({**tokenizer, **OF_ALL, **keys}))
    assert len(PatternReader(load_model("m", path)).read((1, 2, 3)).tokens) == 3


PLAIN_KINDS = (Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1)
BLOCK_KINDS = (Kind.Q2_K, Kind.Q3_K, Kind.Q4_K, Kind.Q5_K, Kind.Q6_K, Kind.IQ4_NL, Kind.IQ4_XS)  # which nothing in Python writes


@pytest.mark.parametrize("kind", [*PLAIN_KINDS, *BLOCK_KINDS], ids=lambda kind: kind.name)
def test_weights_are_exactly_what_their_blocks_say(kind, tmp_path, tokenizer):
    model = build("llama", hidden_size=256, intermediate_size=256, num_hidden_layers=1)
    contents = contents_of(model).has(tokenizer)
    path = write(tmp_path / "stored.gguf", contents, kind)
    reader = gguf.GGUFReader(path)
    again = {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    loaded = load_model("m", path)
    expected = load_model("m", write(tmp_path / "plain.gguf", Contents("llama", contents.keys, again))).model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.model.state_dict().items())
    assert loaded.weights is not None
    assert (loaded.weights.quantization, loaded.weights.dequantized) == (kind.name, True)
    assert loaded.weights.sha256[:16] == loaded.revision.removeprefix("sha256:")
    numbers = sum(tensor.numel() for tensor in model.parameters())
    assert inspect(path).memory_bytes == 4 * numbers  # before anything is read
    assert path.stat().st_size < 2.5 * numbers


def test_another_alignment_and_version_2_are_read(llama, tmp_path):
    usual = load_model("m", write(tmp_path / "m.gguf", llama)).model.state_dict()
    path = write(tmp_path / "wide.gguf", llama, alignment=4096)
    content = bytearray(path.read_bytes())
    content[4:8] = (2).to_bytes(4, "little")
    path.write_bytes(content)
    assert all(torch.equal(tensor, usual[name]) for name, tensor in load_model("m", path).model.state_dict().items())


def test_a_file_that_changed_in_its_place_is_read_anew(llama, tmp_path):
    path = write(tmp_path / "m.gguf", llama)
    assert read_gguf(path).values["general.name"] == "small"
    write(tmp_path / "new.gguf", llama.has({"general.name": "other"})).replace(path)
    assert read_gguf(path).values["general.name"] == "other"


@pytest.mark.processes
def test_whoever_may_name_any_file_gets_its_heads_from_the_page_and_from_python(llama, tmp_path):
    path = write(tmp_path / "m.gguf", llama, Kind.F16)
    explorer = Explorer(Settings(any_model=True, home=tmp_path / "home"))
    record = explorer.analyze_here(str(path)).result()
    assert (record.num_layers, record.num_heads) == (3, 4)
    assert record.recipe.weights is not None
    assert (record.recipe.weights.quantization, record.recipe.weights.name) == ("F16", "m.gguf")
    here = load_model("m", path)  # there its tokenizer stays in a process of its own
    assert explorer.analyze(str(path), REPEATING).tokens == here.token_texts(here.encode(REPEATING))
    assert record.recipe.tokenizer_sha256 == here.tokenizer_sha256
    assert record.recipe.prepend_bos
    assert record.revision == here.revision


def test_the_path_of_a_file_may_be_anything(llama, tmp_path):
    folder = tmp_path / "a folder, 'quoted'; ünd"
    folder.mkdir()
    path = Path(shutil.copy(write(tmp_path / "m.gguf", llama), folder / "Modell Ä.GGUF"))
    assert load_model("m", path).max_tokens == CONTEXT
