"""What a GGUF file says of its model, in the words of a config.json.

Every key of the architecture has to be known here. What is not known is refused by name: a setting that were left out would give
attention that is nearly right, and nobody would notice. transformers' own tables leave several out.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from headroles.hub.gguf import Gguf
from headroles.hub.plain_files import UnfitError, short

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
_EPSILON = "attention.layer_norm_epsilon"
_TOKENS = ("bos", "eos", "padding", "unknown")
# what a file may say of any architecture, since it does so anyway or nothing here asks for it
_NEUTRAL = {
    "expert_count": (0,),
    "expert_used_count": (0,),
    "attention.causal": (True,),
    "rope.scale_linear": (1.0,),
    "rope.scaling.attn_factor": (1.0,),
    "rope.scaling.finetuned": (True, False),
    "tensor_data_layout": ("Meta AI original pth", "reference"),
    "use_parallel_residual": (True, False),  # StableLM's tensors say it, and llama.cpp goes by those
}
# that a model reads whole texts of this length; only how it was stretched would matter, and that is `rope.scaling.type`
_UNUSED = {"rope.scaling.original_context_length"}
_REQUIRED = {"num_hidden_layers", "max_position_embeddings", "hidden_size", "intermediate_size", "num_attention_heads"}
_FRACTIONS = {"rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps", "norm_epsilon", "rope_theta", "rope_local_base_freq"}
_FRACTIONS |= {"rope_factor", "attn_logit_softcapping", "final_logit_softcapping"}
_WORDS = {"rope_type"}
_MAY_BE_ZERO = {"sliding_window"}  # Phi-3 without one
ROTARY_BASE = 10_000.0  # of a file that says none


@dataclass(frozen=True)
class Architecture:
    """How one of llama.cpp's architectures is said in transformers' words.

    Attributes:
        model_type: transformers' name of it.
        keys: the file's keys, without the architecture, and what a config calls them.
        finish: sets in the config what follows from several keys or from the tensors that are there.
        required: what a config calls those without which transformers would take a value of its own.
    """

    model_type: str
    keys: Mapping[str, str]
    finish: Callable[[Config, Gguf], None] = field(default=lambda config, file: None)
    required: frozenset[str] = frozenset(_REQUIRED)


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
    _same(config, "head_dim", config["hidden_size"] // config["num_attention_heads"])
    config["use_qkv_bias"] = _has(file, "attn_q.bias")
    config["use_parallel_residual"] = not _has(file, "ffn_norm.weight")


def _starcoder2(config: Config, file: Gguf) -> None:
    config["use_bias"] = _has(file, "attn_q.bias")


def _gpt2(config: Config, file: Gguf) -> None:
    _same(config, "num_key_value_heads", config["num_attention_heads"])
    config["n_inner"] = config["intermediate_size"]


def _bloom(config: Config, file: Gguf) -> None:
    _same(config, "num_key_value_heads", config["num_attention_heads"])
    _same(config, "intermediate_size", 4 * config["hidden_size"])


def _gemma(layers_of_27b: int) -> Callable[[Config, Gguf], None]:
    def finish(config: Config, file: Gguf) -> None:
        # the file does not say by what the scores are divided; llama.cpp goes by the number of layers, too
        is_27b = config["num_hidden_layers"] == layers_of_27b
        width = config["hidden_size"] // config["num_attention_heads"] if is_27b else config["head_dim"]
        config["query_pre_attn_scalar"] = width

    return finish


def _gemma3(config: Config, file: Gguf) -> None:
    _gemma(layers_of_27b=62)(config, file)
    config.setdefault("rope_local_base_freq", ROTARY_BASE)
    pattern = config.pop("swa_pattern", 6)
    layers = range(1, config["num_hidden_layers"] + 1)
    config["layer_types"] = ["sliding_attention" if layer % pattern else "full_attention" for layer in layers]


def _with(*names: str) -> frozenset[str]:
    return frozenset(_REQUIRED | set(names))


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        # Mistral's files are of this one too; their window, in the first of them, is left out by llama.cpp as well
        "llama": Architecture("llama", _RMS, _llama, _with("rms_norm_eps")),
        "qwen2": Architecture("qwen2", _RMS, required=_with("rms_norm_eps")),
        "qwen3": Architecture("qwen3", _RMS, required=_with("rms_norm_eps")),
        "gemma2": Architecture(
            "gemma2",
            {
                **_RMS,
                **_WINDOW,
                "attn_logit_softcapping": "attn_logit_softcapping",
                "final_logit_softcapping": "final_logit_softcapping",
            },
            _gemma(layers_of_27b=46),
            _with("rms_norm_eps", "sliding_window"),
        ),
        "gemma3": Architecture(
            "gemma3_text",
            {
                **_RMS,
                **_WINDOW,
                "rope.freq_base_swa": "rope_local_base_freq",
                "attention.sliding_window_pattern": "swa_pattern",
                "final_logit_softcapping": "final_logit_softcapping",
                # Ollama's own words
                "rope.global.freq_base": "rope_theta",
                "rope.local.freq_base": "rope_local_base_freq",
            },
            _gemma3,
            _with("rms_norm_eps", "sliding_window", "rope_theta"),
        ),
        "phi3": Architecture("phi3", {**_RMS, **_WINDOW}, _phi3, _with("rms_norm_eps")),
        "gpt2": Architecture("gpt2", {**_BASIC, _EPSILON: "layer_norm_epsilon"}, _gpt2, _with("layer_norm_epsilon")),
        "bloom": Architecture("bloom", {**_BASIC, _EPSILON: "layer_norm_epsilon"}, _bloom, _with("layer_norm_epsilon")),
        "stablelm": Architecture("stablelm", {**_ROTARY, _EPSILON: "layer_norm_eps"}, _stablelm, _with("layer_norm_eps")),
        "starcoder2": Architecture(
            "starcoder2", {**_ROTARY, **_WINDOW, _EPSILON: "norm_epsilon"}, _starcoder2, _with("norm_epsilon")
        ),
    }
)


def gguf_config(file: Gguf) -> Config:
    """The file's keys as a config.json would have them, for `checked_config`, which holds them against the tensors.

    Raises:
        UnfitError: for an architecture that is not among ARCHITECTURES, for a key that is not known of it, is missing, or says
            what it cannot.
    """
    known = ARCHITECTURES.get(file.architecture)
    if known is None:
        named = f"of the architecture {short(file.architecture)}" if file.architecture else "of no architecture that it names"
        raise UnfitError(f"it is {named}; GGUF files are read of {', '.join(ARCHITECTURES)}.")
    _check_lists(file)
    config = _values(file, known)
    rows = file.shapes.get("token_embd.weight", (0,))[0]
    config.setdefault("vocab_size", rows)
    config |= _token_ids(file, rows)
    if config["num_hidden_layers"] > len(file.shapes):
        raise UnfitError(f"it describes {config['num_hidden_layers']:,} layers, but has {len(file.shapes):,} tensors.")
    _fill_in(config, known)
    known.finish(config, file)
    for name in ("rotary_dimensions", "value_length"):
        _same(config, name, config.get("head_dim"))
    return {"model_type": known.model_type, "tie_word_embeddings": "output.weight" not in file.shapes, **config}


def _values(file: Gguf, known: Architecture) -> Config:
    """What the keys of the architecture say."""
    config: Config = {}
    for key, value in file.values.items():
        prefix, _, rest = key.partition(".")
        if prefix != file.architecture or rest in _UNUSED:
            continue
        if rest in known.keys:
            config[known.keys[rest]] = _checked(rest, known.keys[rest], value)
        elif value not in _NEUTRAL.get(rest, ()):
            raise UnfitError(f"it says {short(rest)}, which is not known here of {file.architecture}.")
    for rest, name in known.keys.items():
        if name in known.required and name not in config:
            raise UnfitError(f"it does not say {rest}.")
    return config


def _checked(key: str, name: str, value: Any) -> Any:
    """The value, as a config may have it."""
    if name in _WORDS:
        if isinstance(value, str):
            return value
        raise UnfitError(f"its {key} is not a word.")
    if name in _FRACTIONS:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
            return float(value)
        raise UnfitError(f"its {key} is not a number above 0.")
    if isinstance(value, int) and not isinstance(value, bool) and (value > 0 or (value == 0 and name in _MAY_BE_ZERO)):
        return value
    raise UnfitError(f"its {key} is not a whole number above 0.")


def _token_ids(file: Gguf, rows: int) -> Config:
    """The special tokens' numbers. Raises UnfitError where one is no token, or there are more tokens than the weights know."""
    tokens = file.lists.get("tokenizer.ggml.tokens", rows)
    if tokens > rows:
        raise UnfitError(f"its tokenizer has {tokens:,} tokens, but its weights know {rows:,}.")
    for name in ("token_type", "scores"):
        if file.lists.get(f"tokenizer.ggml.{name}", tokens) != tokens:
            raise UnfitError(f"its tokenizer has {tokens:,} tokens, but another number of {name}.")
    ids = {}
    for name in _TOKENS:
        value = ids[name] = file.values.get(f"tokenizer.ggml.{name}_token_id", 0)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < max(tokens, 1):
            raise UnfitError(f"its tokenizer.ggml.{name}_token_id is none of its {tokens:,} tokens.")
    # one that a file does not say is asked for by nobody, and transformers' own number may be none of the model's
    return {"bos_token_id": ids["bos"], "eos_token_id": ids["eos"], "pad_token_id": ids["padding"]}


def _fill_in(config: Config, known: Architecture) -> None:
    """Sets what a file leaves out as llama.cpp takes it, since transformers' classes take one published model's."""
    config.setdefault("num_key_value_heads", config["num_attention_heads"])
    if "rope.freq_base" not in known.keys:
        return
    config.setdefault("head_dim", config["hidden_size"] // config["num_attention_heads"] or 1)
    config.setdefault("rope_theta", ROTARY_BASE)
    way, factor = config.pop("rope_type", "linear"), config.pop("rope_factor", 1.0)
    if way not in ("none", "linear"):
        raise UnfitError(f"its positions are stretched in the way {short(way)} (rope.scaling.type), which is not read.")
    if way == "linear" and factor != 1.0:
        config["rope_scaling"] = {"rope_type": "linear", "factor": factor}


def _check_lists(file: Gguf) -> None:
    """Raises UnfitError for a list among the architecture's keys, such as another number of heads for each layer."""
    lists = [key for key in file.lists if key.startswith(file.architecture + ".")]
    if lists:
        raise UnfitError(f"its {short(lists[0])} differs from layer to layer, which is not read.")


def _same(config: Config, name: str, must: Any) -> None:
    """Drops what must say the same as another key does. Raises UnfitError where it does not."""
    said = config.pop(name, must)
    if said != must:
        raise UnfitError(f"its {name.replace('_', ' ')} is {said:,}, where such a model has {must:,}.")
