"""GGUF files of every architecture that is read, against the models that they were written from."""

import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
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
from headroles.models.loading.loader import LoadedModel, attention_windows, load_model
from headroles.models.reading.pattern_reader import PatternReader
from headroles.settings import Settings
from tests.conftest import REPEATING
from tests.fixtures.architectures import CONTEXT, build
from tests.fixtures.gguf_files import ARCHITECTURE_OF, Contents, byte_level, contents_of, llama3_factors, roughened, write

pytestmark = pytest.mark.usefixtures("one_thread")


def rope(base: float, **more: object) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": base, "partial_rotary_factor": 1.0, **more}


LLAMA3 = {"rope_type": "llama3", "rope_theta": 10_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3["original_max_position_embeddings"] = 64
LINEAR = {"rope_type": "linear", "factor": 4.0}
# six layers of a window and one without, as Gemma 3 has them
SEVEN = {"num_hidden_layers": 7, "layer_types": [*["sliding_attention"] * 5, "full_attention", "sliding_attention"]}
GEMMA3, STRETCHED = ({"sliding_attention": rope(1e4), "full_attention": rope(1e6, **more)} for more in ({}, LINEAR))
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, its embeddings used twice": ("llama", {"tie_word_embeddings": True}),
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama of heads twice as wide": ("llama", {"head_dim": 24}),
    "llama, all heads with keys of their own": ("llama", {"num_key_value_heads": 4}),
    "llama, its positions stretched evenly": ("llama", {"rope_parameters": rope(5e5, **LINEAR)}),
    "llama 3.1": ("llama", {"rope_parameters": LLAMA3}),
    "mistral": ("mistral", {"sliding_window": None, "rope_parameters": rope(1e6)}),
    "qwen2": ("qwen2", {"rope_parameters": rope(1e6)}),
    "qwen2, its embeddings used twice": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {"rope_parameters": rope(1e6)}),
    "qwen3, its embeddings used twice": ("qwen3", {"head_dim": 8, "tie_word_embeddings": True}),
    "gemma2": ("gemma2", {}),
    "gemma2 of other caps": ("gemma2", {"head_dim": 8, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 5.0}),
    "gemma3": ("gemma3_text", {**SEVEN, "rope_parameters": GEMMA3}),
    "gemma3, its positions stretched where there is no window": ("gemma3_text", {**SEVEN, "rope_parameters": STRETCHED}),
    "phi3": ("phi3", {}),
    "phi3, half of each head turned": ("phi3", {"sliding_window": None, "rope_parameters": rope(1e4, partial_rotary_factor=0.5)}),
    "gpt2": ("gpt2", {}),
    "gpt2 of another inner width": ("gpt2", {"n_inner": 64, "layer_norm_epsilon": 0.01}),
    "bloom": ("bloom", {}),
    "bloom of six heads, no power of two": ("bloom", {"n_head": 6}),
    "stablelm": ("stablelm", {}),
    "stablelm, attention and MLP side by side": ("stablelm", {"use_parallel_residual": True, "use_qkv_bias": True}),
    "starcoder2": ("starcoder2", {"rope_parameters": rope(999_999.0)}),
    "starcoder2 without biases": ("starcoder2", {"use_bias": False, "tie_word_embeddings": False}),
}


def made(name: str) -> PreTrainedModel:
    model_type, changes = CASES[name]
    return roughened(build(model_type, **changes))


def small(architecture: str) -> Contents:
    """What a model of an architecture is written as."""
    return contents_of(build("gemma3_text" if architecture == "gemma3" else architecture))


@pytest.fixture(scope="module")
def tokenizer(tiny) -> dict[str, Any]:
    """The keys of the embedded model's tokenizer."""
    return {**byte_level(tiny.tokenizer), "tokenizer.ggml.add_bos_token": True}


@pytest.fixture
def load(tokenizer, tmp_path) -> Callable[..., LoadedModel]:
    """Writes a file, with a tokenizer where it has none, and loads it."""

    def load(contents: Contents, kind: Kind = Kind.F32) -> LoadedModel:
        keys = {**tokenizer, **contents.keys}
        return load_model("m", write(tmp_path / "m.gguf", replace(contents, keys=keys), kind))

    return load


@pytest.fixture
def llama(tokenizer) -> Contents:
    return small("llama").has(tokenizer)


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(1, 40)[None]).logits


def same_weights(model: PreTrainedModel, other: PreTrainedModel) -> bool:
    expected = other.state_dict()
    return all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_every_architecture_that_is_read_is_tried_here():
    assert {ARCHITECTURE_OF.get(model_type, model_type) for model_type, _ in CASES.values()} == set(ARCHITECTURES)


@pytest.mark.parametrize("name", CASES)
def test_a_file_gives_the_logits_and_patterns_of_the_model_it_was_written_from(name, load):
    original = made(name)
    is_bloom = original.config.model_type == "bloom"  # which has one way to attend only, and knows no longest text
    if not is_bloom:
        original.set_attn_implementation("eager")
    loaded = load(contents_of(original))
    ids = loaded.encode(REPEATING)
    with torch.no_grad():
        expected = original(input_ids=torch.tensor([ids]), output_attentions=True)
        found = loaded.model(input_ids=torch.tensor([ids])).logits
    # the same numbers, in the same sums, in the same order
    assert torch.equal(found, expected.logits)
    assert torch.equal(PatternReader(loaded).read(ids).patterns, torch.stack(expected.attentions, dim=1)[0])
    assert attention_windows(loaded.model.config) == attention_windows(original.config)
    assert is_bloom or loaded.max_tokens == CONTEXT


@pytest.mark.parametrize("name", [*ARCHITECTURES, "llama, its positions stretched evenly"])
def test_every_value_of_a_file_counts(name, load):
    """Half of each fraction gives other logits: none of them is one that would be taken anyway."""
    contents = contents_of(made(name))
    usual = logits(load(contents).model)
    fractions = {key: value for key, value in contents.keys.items() if isinstance(value, float)}
    assert fractions
    for key, value in fractions.items():
        # an epsilon has to be large to show in float32
        assert not torch.equal(logits(load(contents.has({key: 0.5 if "epsilon" in key else value / 2})).model), usual), key


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "stablelm", "starcoder2"])
def test_what_a_file_leaves_out_is_as_llama_cpp_takes_it_and_not_as_transformers_would(name, load):
    shape = {"num_key_value_heads": 4} | ({"head_dim": 12} if name != "stablelm" else {})
    original = roughened(build(name, **shape, rope_parameters=rope(1e4)))
    original.set_attn_implementation("eager")
    contents = contents_of(original).without("attention.head_count_kv", "attention.key_length", "attention.value_length")
    loaded = load(contents.without("rope.freq_base", "rope.dimension_count"))
    assert torch.equal(logits(loaded.model), logits(original))


def test_the_factors_of_llama_3_slow_down_some_pairs_of_dimensions_as_transformers_does(load):
    original = build("llama", rope_parameters=LLAMA3)
    factors = llama3_factors(original.config)
    assert (factors[0], factors[-1]) == (1, 8)
    assert any(1 < factor < 8 for factor in factors)
    # a quotient of rounded numbers instead of their sum: four roundings of half a unit in the last place on either side
    ours, theirs = load(contents_of(original)).model.model.rotary_emb.inv_freq, original.model.rotary_emb.inv_freq
    torch.testing.assert_close(ours, theirs, rtol=8 * 2**-24, atol=0)


@pytest.mark.parametrize("factors", [[1.0] * 5, *([1.0] * 5 + [last] for last in (0.0, -2.0, math.nan, math.inf))])
def test_rotary_factors_that_cannot_be_are_refused(llama, load, factors):
    with pytest.raises(ModelLoadError, match=r"^m could not be loaded: its rope_freqs\.weight does not fit its heads\.$"):
        load(llama.stores({"rope_freqs.weight": np.array(factors, np.float32)}))


UNKNOWN: list[tuple[str, str, object]] = [
    ("phi3", "rope.scaling.attn_factor", 1.19),
    ("llama", "expert_count", 8),
    ("llama", "attention.scale", 0.1),
    ("llama", "attention.clamp_kqv", 8.0),
    ("llama", "attention.causal", False),
    ("llama", "attention.sliding_window", 12),
    ("gemma3", "vision.block_count", 27),
    *((name, "attention.newest", 1) for name in ARCHITECTURES),
]
REFUSED: list[tuple[str, str, object, str]] = [
    *((name, key, value, f"it says {key}, which is not known here of {name}.") for name, key, value in UNKNOWN),
    *(("llama", "attention.head_count", value, "_count is not a whole number above 0.") for value in ("four", 0, True, 2.0)),
    *(("llama", "rope.freq_base", value, "rope.freq_base is not a number above 0.") for value in (-1.0, math.inf)),
    ("llama", "attention.layer_norm_rms_epsilon", math.nan, "_epsilon is not a number above 0."),
    ("llama", "rope.scaling.type", 1, "its rope.scaling.type is not a word."),
    ("qwen2", "rope.scaling.type", "yarn", "its positions are stretched in the way yarn (rope.scaling.type), which is not read."),
    ("phi3", "rope.scaling.type", "longrope", "stretched in the way longrope (rope.scaling.type), which is not read."),
    (
        "llama",
        "attention.head_count",
        [4, 4, 2],
        "its llama.attention.head_count differs from layer to layer, which is not read.",
    ),
    ("gemma3", "attention.sliding_window_pattern", [True, False, True], "differs from layer to layer, which is not read."),
    ("llama", "rope.dimension_count", 6, "its rotary dimensions is 6, where such a model has 12."),
    ("qwen3", "attention.value_length", 8, "its value length is 8, where such a model has 16."),
    ("stablelm", "attention.key_length", 24, "its head dim is 24, where such a model has 12."),
    ("stablelm", "attention.value_length", 24, "its value length is 24, where such a model has 12."),
    ("gpt2", "attention.head_count_kv", 2, "its num key value heads is 2, where such a model has 4."),
    ("gemma3", "block_count", 2**32 - 1, "it describes 4,294,967,295 layers, but has 41 tensors."),
]


@pytest.mark.parametrize(("architecture", "key", "value", "message"), REFUSED)
def test_what_would_change_attention_and_is_not_honoured_is_refused_by_name(architecture, key, value, message, load):
    with pytest.raises(ModelLoadError, match=f"^m.gguf could not be loaded: .*{re.escape(message)}$"):
        load(small(architecture).has({f"{architecture}.{key}": value}))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_key_that_is_needed_is_missed_by_name(architecture, load):
    contents = small(architecture)
    needed = ["block_count", "embedding_length", "attention.head_count", "context_length", "feed_forward_length"]
    epsilons = [key.removeprefix(f"{architecture}.") for key in contents.keys if "epsilon" in key]
    assert epsilons
    for key in needed + epsilons:
        with pytest.raises(ModelLoadError, match=rf"it does not say {re.escape(key)}\."):
            load(contents.without(key))


@pytest.mark.parametrize("tensor", ["rope_factors_long.weight", "blk.0.attn_q_norm.weight", "blk.0.attn_sinks.weight"])
def test_a_tensor_that_such_a_model_has_no_place_for_is_refused_by_name(llama, load, tensor):
    with pytest.raises(ModelLoadError, match=f"its tensor {tensor} has no place in such a model"):
        load(llama.stores({tensor: np.ones(6, np.float32)}))


# what published files say beyond what our small ones do; as llama.cpp, Ollama and LM Studio write them
OF_ALL = {
    "general.basename": "small",
    "general.base_model.count": 1,
    "general.tags": ["chat", "text-generation"],
    "general.parameter_count": (gguf.GGUFValueType.UINT64, 8_030_261_312),
    "quantize.imatrix.file": "/models/small.imatrix",
    "tokenizer.chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
    "tokenizer.ggml.eot_token_id": 1,
    "tokenizer.ggml.padding_token_id": 0,
    "split.count": (gguf.GGUFValueType.UINT16, 0),
}
NO_SPACE, NO_BOS = {"tokenizer.ggml.add_space_prefix": False}, {"tokenizer.ggml.add_bos_token": False}
OLLAMA = {"gemma3.rope.global.freq_base": 1e6, "gemma3.rope.local.freq_base": 1e4, "gemma3.final_logit_softcapping": 30.0}
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama 3.1 8B": ("llama", {"llama.attention.key_length": 12, "llama.attention.value_length": 12}),
    "Llama 2 7B, of 2023": ("llama", {"llama.tensor_data_layout": "Meta AI original pth"}),
    "Mistral 7B": ("llama", {"llama.expert_count": 0, "llama.expert_used_count": 0, "llama.rope.scaling.type": "none"}),
    "SmolLM2 135M": ("llama", {"llama.rope.scaling.finetuned": False, **NO_SPACE}),
    "Qwen 2.5 7B": ("qwen2", NO_BOS),
    "Qwen 3 8B": ("qwen3", NO_BOS),
    "Gemma 2 9B": ("gemma2", NO_SPACE),
    "Gemma 3 1B": ("gemma3", {"gemma3.rope.scaling.type": "linear", "gemma3.rope.scaling.factor": 8.0}),
    "Gemma 3 1B by Ollama": ("gemma3", OLLAMA),
    "Phi-3 mini 4k": ("phi3", {"phi3.rope.scaling.original_context_length": 4096, "phi3.attention.sliding_window": 2047}),
    "GPT-2": ("gpt2", {}),
    "StarCoder2 3B": ("starcoder2", NO_SPACE),
    "BLOOM 560M": ("bloom", {"bloom.attention.head_count_kv": 4}),
    "StableLM 2 1.6B": ("stablelm", {"stablelm.use_parallel_residual": False, "stablelm.rope.freq_base": 10_000.0}),
}


@pytest.mark.parametrize("what", PUBLISHED)
def test_a_published_file_is_not_refused_for_what_concerns_nothing_here(what, load):
    architecture, keys = PUBLISHED[what]
    assert len(PatternReader(load(small(architecture).has({**OF_ALL, **keys}))).read((1, 2, 3)).tokens) == 3


PLAIN_KINDS = (Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1)
BLOCK_KINDS = (Kind.Q2_K, Kind.Q3_K, Kind.Q4_K, Kind.Q5_K, Kind.Q6_K, Kind.IQ4_NL, Kind.IQ4_XS)  # which nothing in Python writes


@pytest.mark.parametrize("kind", [*PLAIN_KINDS, *BLOCK_KINDS], ids=lambda kind: kind.name)
def test_weights_are_exactly_what_their_blocks_say(kind, load, tmp_path):
    model = build("llama", hidden_size=256, intermediate_size=256, num_hidden_layers=1)
    loaded, path = load(contents_of(model), kind), tmp_path / "m.gguf"
    numbers = sum(tensor.numel() for tensor in model.parameters())
    assert inspect(path).memory_bytes == 4 * numbers  # before anything is read
    assert path.stat().st_size < 2.5 * numbers
    assert loaded.weights is not None
    assert (loaded.weights.quantization, loaded.weights.dequantized) == (kind.name, True)
    assert loaded.weights.sha256[:16] == loaded.revision.removeprefix("sha256:")
    again = {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in gguf.GGUFReader(path).tensors}
    path.unlink()  # whose numbers are still mapped
    assert same_weights(loaded.model, load(contents_of(model).stores(again)).model)


def test_another_alignment_and_version_2_are_read(llama, load, tmp_path):
    path = write(tmp_path / "wide.gguf", llama, alignment=4096)
    content = bytearray(path.read_bytes())
    content[4:8] = (2).to_bytes(4, "little")
    path.write_bytes(content)
    assert same_weights(load_model("m", path).model, load(llama).model)


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
