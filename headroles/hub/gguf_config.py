"""A GGUF file's settings, as a config.json would have them.

An architecture's keys are all known here, and others are refused by name: attention without a setting is nearly right, and nobody
would notice. transformers' own table (`GGUF_CONFIG_MAPPING`) drops what it does not know: of 26 small models, those of the tests,
5.23 fails on 8, and reads 8 wrongly without a word (biases, stretched positions, Gemma's caps, StarCoder2's rotary base).
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from headroles.hub.gguf import Gguf
from headroles.hub.plain_files import UnfitError, shorten

Config = dict[str, Any]
_BASIC = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "vocab_size": "vocab_size",
}
_ROTARY = {
    **_BASIC,
    "attention.key_length": "head_dim",
    "attention.value_length": "value_length",
    "rope.freq_base": "rope_theta",
    "rope.dimension_count": "rotary_dimensions",
    "rope.scaling.type": "rope_type",
    "rope.scaling.factor": "rope_factor",
}
_RMS = {**_ROTARY, "attention.layer_norm_rms_epsilon": "rms_norm_eps"}
_WINDOW = {"attention.sliding_window": "sliding_window"}
_FINAL_CAP = {"final_logit_softcapping": "final_logit_softcapping"}
_EPSILON = "attention.layer_norm_epsilon"
# what any architecture's keys may say, since it is so anyway or changes nothing that is read here
_NEUTRAL = {
    "expert_count": (0,),
    "expert_used_count": (0,),
    "attention.causal": (True,),
    "rope.scale_linear": (1.0,),
    "rope.scaling.attn_factor": (1.0,),
    "rope.scaling.finetuned": (True, False),
    "tensor_data_layout": ("Meta AI original pth", "reference"),
    "use_parallel_residual": (True, False),  # llama.cpp goes by StableLM's tensors
}
# the longest text before positions were stretched; how they are stretched is in `rope.scaling.type`
_UNUSED = {"rope.scaling.original_context_length"}
_FRACTIONS = {"rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps", "norm_epsilon", "rope_theta", "rope_local_base_freq"}
_FRACTIONS |= {"rope_factor", "attn_logit_softcapping", "final_logit_softcapping"}
# without these, where an architecture has them, transformers would take values of its own
_REQUIRED = {"num_hidden_layers", "max_position_embeddings", "hidden_size", "intermediate_size", "num_attention_heads"}
_REQUIRED |= {name for name in _FRACTIONS if "eps" in name}
ROTARY_BASE = 10_000.0  # where a file has none


class Architecture(NamedTuple):
    """How transformers names what llama.cpp says of one of its architectures.

    Attributes:
        model_type: transformers' name of it.
        keys: the file's keys, without the architecture, and what a config calls them.
        finish: sets in the config what follows from several keys or from the tensors.
        required: what a config calls the keys that this architecture needs beyond those that all need.
    """

    model_type: str
    keys: Mapping[str, str]
    finish: Callable[[Config, Gguf], None] = lambda config, file: None
    required: frozenset[str] = frozenset()


def _has(file: Gguf, name: str) -> bool:
    return any(tensor.endswith(name) for tensor in file.shapes)


def _llama(config: Config, file: Gguf) -> None:
    config["attention_bias"] = _has(file, "attn_q.bias")
    config["mlp_bias"] = _has(file, "ffn_up.bias")


def _partly_rotary(config: Config, file: Gguf) -> None:
    width = config["head_dim"]
    turned = config.pop("rotary_dimensions", width)
    factor = turned / width
    config["partial_rotary_factor"] = factor if int(width * factor) == turned else math.nextafter(factor, math.inf)


def _phi3(config: Config, file: Gguf) -> None:
    _partly_rotary(config, file)
    config["sliding_window"] = config.get("sliding_window") or None


def _stablelm(config: Config, file: Gguf) -> None:
    _partly_rotary(config, file)
    _drop_implied(config, "head_dim", config["hidden_size"] // config["num_attention_heads"])
    config["use_qkv_bias"] = _has(file, "attn_q.bias")
    config["use_parallel_residual"] = not _has(file, "ffn_norm.weight")


def _starcoder2(config: Config, file: Gguf) -> None:
    config["use_bias"] = _has(file, "attn_q.bias")


def _gpt2(config: Config, file: Gguf) -> None:
    _drop_implied(config, "num_key_value_heads", config["num_attention_heads"])
    config["n_inner"] = config["intermediate_size"]


def _bloom(config: Config, file: Gguf) -> None:
    _drop_implied(config, "num_key_value_heads", config["num_attention_heads"])
    _drop_implied(config, "intermediate_size", 4 * config["hidden_size"])


def _gemma2(config: Config, file: Gguf, layers_of_27b: int = 46) -> None:
    # the file does not say what the scores are divided by; llama.cpp goes by the number of layers, too
    is_27b = config["num_hidden_layers"] == layers_of_27b
    width = config["hidden_size"] // config["num_attention_heads"] if is_27b else config["head_dim"]
    config["query_pre_attn_scalar"] = width


def _gemma3(config: Config, file: Gguf) -> None:
    _gemma2(config, file, layers_of_27b=62)
    config.setdefault("rope_local_base_freq", ROTARY_BASE)
    pattern = config.pop("swa_pattern", 6)
    layers = range(1, config["num_hidden_layers"] + 1)
    config["layer_types"] = ["sliding_attention" if layer % pattern else "full_attention" for layer in layers]


_GEMMA2 = {**_RMS, **_WINDOW, **_FINAL_CAP, "attn_logit_softcapping": "attn_logit_softcapping"}
_GEMMA3 = {
    **_RMS,
    **_WINDOW,
    **_FINAL_CAP,
    "rope.freq_base_swa": "rope_local_base_freq",
    "attention.sliding_window_pattern": "swa_pattern",
    # Ollama's own keys
    "rope.global.freq_base": "rope_theta",
    "rope.local.freq_base": "rope_local_base_freq",
}
ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        # Mistral's files too; the window of the first of them is ignored by llama.cpp as well
        "llama": Architecture("llama", _RMS, _llama),
        "qwen2": Architecture("qwen2", _RMS),
        "qwen3": Architecture("qwen3", _RMS),
        "gemma2": Architecture("gemma2", _GEMMA2, _gemma2, frozenset({"sliding_window"})),
        "gemma3": Architecture("gemma3_text", _GEMMA3, _gemma3, frozenset({"sliding_window", "rope_theta"})),
        "phi3": Architecture("phi3", {**_RMS, **_WINDOW}, _phi3),
        "gpt2": Architecture("gpt2", {**_BASIC, _EPSILON: "layer_norm_epsilon"}, _gpt2),
        "bloom": Architecture("bloom", {**_BASIC, _EPSILON: "layer_norm_epsilon"}, _bloom),
        "stablelm": Architecture("stablelm", {**_ROTARY, _EPSILON: "layer_norm_eps"}, _stablelm),
        "starcoder2": Architecture("starcoder2", {**_ROTARY, **_WINDOW, _EPSILON: "norm_epsilon"}, _starcoder2),
    }
)


def gguf_config(file: Gguf) -> Config:
    """The file's settings as a config.json would have them, for `validate_config`, which compares them with the tensors.

    Raises:
        UnfitError: for an architecture that is not among ARCHITECTURES, and for a key that is unknown, missing, or has a value
            that cannot be.
    """
    known = ARCHITECTURES.get(file.architecture)
    if known is None:
        named = f"of the architecture {shorten(file.architecture)}" if file.architecture else "of no architecture that it names"
        raise UnfitError(f"it is {named}; GGUF files are read of {', '.join(ARCHITECTURES)}.")
    config = _values(file, known)
    rows = file.shapes.get("token_embd.weight", (0,))[0]
    config.setdefault("vocab_size", rows)
    config |= _token_ids(file, rows)
    if config["num_hidden_layers"] > len(file.shapes):
        raise UnfitError(f"it describes {config['num_hidden_layers']:,} layers, but has {len(file.shapes):,} tensors.")
    _fill_in(config, known)
    known.finish(config, file)
    _drop_implied(config, "rotary_dimensions", config.get("head_dim"))
    return {"model_type": known.model_type, "tie_word_embeddings": "output.weight" not in file.shapes, **config}


def _values(file: Gguf, known: Architecture) -> Config:
    """The architecture's keys, by the names that a config has for them."""
    prefix = f"{file.architecture}."
    if lists := [key for key in file.lists if key.startswith(prefix)]:  # such as a number of heads for each layer
        raise UnfitError(f"its {shorten(lists[0])} differs from layer to layer, which is not read.")
    config: Config = {}
    for key, value in file.values.items():
        rest = key.removeprefix(prefix)
        if not key.startswith(prefix) or rest in _UNUSED:
            continue
        if rest in known.keys:
            config[known.keys[rest]] = _checked(rest, known.keys[rest], value)
        elif value not in _NEUTRAL.get(rest, ()):
            raise UnfitError(f"it says {shorten(rest)}, which is not known here of {file.architecture}.")
    for rest, name in known.keys.items():
        if name in _REQUIRED | known.required and name not in config:
            raise UnfitError(f"it does not say {rest}.")
    return config


def _checked(key: str, name: str, value: Any) -> Any:
    """The value, as a config may have it."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if name == "rope_type":
        fits, kind = isinstance(value, str), "a word"
    elif name in _FRACTIONS:
        fits, kind = is_number and value > 0, "a number above 0"
    else:
        least = 0 if name == "sliding_window" else 1  # Phi-3 without one has 0
        fits, kind = is_number and isinstance(value, int) and value >= least, "a whole number above 0"
    if not fits:
        raise UnfitError(f"its {key} is not {kind}.")
    return float(value) if name in _FRACTIONS else value


def _token_ids(file: Gguf, rows: int) -> Config:
    """The ids of the special tokens. Raises UnfitError where one is not a token, or there are more tokens than embeddings."""
    tokens = file.lists.get("tokenizer.ggml.tokens", rows)
    if tokens > rows:
        raise UnfitError(f"its tokenizer has {tokens:,} tokens, but its weights know {rows:,}.")
    for name in ("token_type", "scores"):
        if file.lists.get(f"tokenizer.ggml.{name}", tokens) != tokens:
            raise UnfitError(f"its tokenizer has {tokens:,} tokens, but another number of {name}.")
    ids = {}
    for name in ("bos", "eos", "padding", "unknown"):
        # where a file has none nothing asks for it, and transformers' own id may be past the model's tokens
        value = ids[name] = file.values.get(f"tokenizer.ggml.{name}_token_id", 0)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < max(tokens, 1):
            raise UnfitError(f"its tokenizer.ggml.{name}_token_id is none of its {tokens:,} tokens.")
    return {"bos_token_id": ids["bos"], "eos_token_id": ids["eos"], "pad_token_id": ids["padding"]}


def _fill_in(config: Config, known: Architecture) -> None:
    """Sets what a file leaves out as llama.cpp takes it, since transformers' classes take one published model's."""
    config.setdefault("num_key_value_heads", config["num_attention_heads"])
    if "rope.freq_base" not in known.keys:
        return
    config.setdefault("head_dim", config["hidden_size"] // config["num_attention_heads"] or 1)
    _drop_implied(config, "value_length", config["head_dim"])
    config.setdefault("rope_theta", ROTARY_BASE)
    way, factor = config.pop("rope_type", "linear"), config.pop("rope_factor", 1.0)
    if way not in ("none", "linear"):
        raise UnfitError(f"its positions are stretched in the way {shorten(way)} (rope.scaling.type), which is not read.")
    if way == "linear" and factor != 1.0:
        config["rope_scaling"] = {"rope_type": "linear", "factor": factor}


def _drop_implied(config: Config, name: str, implied: Any) -> None:
    """Drops what other keys already imply. Raises UnfitError where it says something else."""
    said = config.pop(name, implied)
    if said != implied:
        raise UnfitError(f"its {name.replace('_', ' ')} is {said:,}, where such a model has {implied:,}.")
