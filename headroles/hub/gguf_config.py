"""What a GGUF file says of its model, in the words of a config.json.

Every key of the architecture has to be known here. What is not known is refused by name: a setting that were left out would give
attention that is nearly right, and nobody would notice. transformers' own tables leave several out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from headroles.hub.files import UnfitError, short
from headroles.hub.gguf import Gguf

Config = dict[str, Any]
_BASIC = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "vocab_size": "vocab_size",
}
_ROTARY = {
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.key_length": "head_dim",
    "attention.value_length": "value_length",
    "rope.freq_base": "rope_theta",
    "rope.dimension_count": "rotary_dimensions",
}
_TOKENS = {
    "tokenizer.ggml.bos_token_id": "bos_token_id",
    "tokenizer.ggml.eos_token_id": "eos_token_id",
    "tokenizer.ggml.padding_token_id": "pad_token_id",
}
# of these a file may say what it does anyway
_NEUTRAL = {"rope.scaling.type": "none", "rope.scaling.factor": 1.0, "expert_count": 0, "expert_used_count": 0}


@dataclass(frozen=True)
class Architecture:
    """How one of llama.cpp's architectures is said in transformers' words.

    Attributes:
        model_type: transformers' name of it.
        keys: the file's keys, without the architecture, and what a config calls them.
        finish: sets in the config what follows from several keys or from the tensors that are there.
    """

    model_type: str
    keys: Mapping[str, str]
    finish: Callable[[Config, Gguf], None] = field(default=lambda config, file: None)


def _has(file: Gguf, name: str) -> bool:
    return any(tensor.endswith(name) for tensor in file.shapes)


def _biases(config: Config, file: Gguf) -> None:
    config["attention_bias"] = _has(file, "attn_q.bias")
    config["mlp_bias"] = _has(file, "ffn_up.bias")


def _partly_rotary(config: Config, file: Gguf) -> None:
    turned, width = config.pop("rotary_dimensions", None), config["hidden_size"] // config["num_attention_heads"]
    if turned is not None:
        config["partial_rotary_factor"] = turned / width


def _stablelm(config: Config, file: Gguf) -> None:
    _partly_rotary(config, file)
    config["use_qkv_bias"] = _has(file, "attn_q.bias")
    config["qk_layernorm"] = _has(file, "attn_q_norm.weight")
    if config.pop("parallel", not _has(file, "ffn_norm.weight")):
        config["use_parallel_residual"] = True


def _gemma(layers_of_27b: int) -> Callable[[Config, Gguf], None]:
    def finish(config: Config, file: Gguf) -> None:
        width = config.setdefault("head_dim", 256)
        # the file does not say by what the scores are divided; llama.cpp goes by the number of layers, too
        is_27b = config["num_hidden_layers"] == layers_of_27b
        config["query_pre_attn_scalar"] = config["hidden_size"] // config["num_attention_heads"] if is_27b else width

    return finish


def _gemma3(config: Config, file: Gguf) -> None:
    _gemma(layers_of_27b=62)(config, file)
    factor = config.pop("rope_factor", 1.0)
    if config.pop("rope_type", "none") == "linear" and factor != 1.0:
        config["rope_scaling"] = {"rope_type": "linear", "factor": factor}
    pattern = config.pop("swa_pattern", 6)
    layers = range(1, config["num_hidden_layers"] + 1)
    config["layer_types"] = ["sliding_attention" if layer % pattern else "full_attention" for layer in layers]


_ROTARY_BASIC = {**_BASIC, **_ROTARY}
_GEMMA = {**_ROTARY_BASIC, "attention.sliding_window": "sliding_window"}
_LAYER_NORM = {**_BASIC, "attention.head_count_kv": "num_key_value_heads"}

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        # Mistral's files are of this one too; their window, in the first of them, is left out by llama.cpp as well
        "llama": Architecture("llama", _ROTARY_BASIC, _biases),
        "qwen2": Architecture("qwen2", _ROTARY_BASIC),
        "qwen3": Architecture("qwen3", _ROTARY_BASIC),
        "gemma2": Architecture(
            "gemma2",
            {
                **_GEMMA,
                "attn_logit_softcapping": "attn_logit_softcapping",
                "final_logit_softcapping": "final_logit_softcapping",
            },
            _gemma(layers_of_27b=46),
        ),
        "gemma3": Architecture(
            "gemma3_text",
            {
                **_GEMMA,
                "rope.freq_base_swa": "rope_local_base_freq",
                "rope.scaling.type": "rope_type",
                "rope.scaling.factor": "rope_factor",
                "attention.sliding_window_pattern": "swa_pattern",
                "final_logit_softcapping": "final_logit_softcapping",
            },
            _gemma3,
        ),
        "phi3": Architecture(
            "phi3",
            {
                **_ROTARY_BASIC,
                "attention.sliding_window": "sliding_window",
                "rope.scaling.original_context_length": "original_max_position_embeddings",
            },
            _partly_rotary,
        ),
        "gpt2": Architecture("gpt2", {**_LAYER_NORM, "attention.layer_norm_epsilon": "layer_norm_epsilon"}),
        "bloom": Architecture("bloom", {**_LAYER_NORM, "attention.layer_norm_epsilon": "layer_norm_epsilon"}),
        "stablelm": Architecture(
            "stablelm",
            {
                **_ROTARY_BASIC,
                "attention.layer_norm_epsilon": "layer_norm_eps",
                "use_parallel_residual": "parallel",
            },
            _stablelm,
        ),
        "starcoder2": Architecture(
            "starcoder2",
            {**_ROTARY_BASIC, "attention.layer_norm_epsilon": "norm_epsilon", "attention.sliding_window": "sliding_window"},
        ),
    }
)


def gguf_config(file: Gguf) -> Config:
    """The file's keys as a config.json would have them, for `checked_config`, which holds them against the tensors.

    Raises:
        UnfitError: for an architecture that is not among ARCHITECTURES, and for a key that is not known of it.
    """
    known = ARCHITECTURES.get(file.architecture)
    if known is None:
        named = f"of the architecture {short(file.architecture)}" if file.architecture else "of no architecture that it names"
        raise UnfitError(f"it is {named}; GGUF files are read of {', '.join(ARCHITECTURES)}.")
    config: Config = {"model_type": known.model_type, "tie_word_embeddings": "output.weight" not in file.shapes}
    for key, value in file.values.items():
        prefix, _, rest = key.partition(".")
        if key in _TOKENS:
            config[_TOKENS[key]] = value
        elif prefix == file.architecture and rest in known.keys:
            config[known.keys[rest]] = value
        elif prefix == file.architecture and _NEUTRAL.get(rest) != value:
            raise UnfitError(f"it says {short(rest)}, which is not known here of {file.architecture}.")
    _check_lists(file)
    known.finish(config, file)
    _check_rotary(config)
    config.setdefault("vocab_size", file.shapes.get("token_embd.weight", (0,))[0])
    return config


def _check_lists(file: Gguf) -> None:
    """Raises UnfitError for a list among the architecture's keys, such as another number of heads for each layer."""
    lists = [key for key in file.lists if key.startswith(file.architecture + ".")]
    if lists:
        raise UnfitError(f"its {short(lists[0])} differs from layer to layer, which is not read.")


def _check_rotary(config: Config) -> None:
    """Drops what must say the same as another key does. Raises UnfitError where it does not."""
    width = config.get("head_dim") or config.get("hidden_size", 0) // (config.get("num_attention_heads") or 1)
    for name in ("rotary_dimensions", "value_length"):
        if config.pop(name, width) != width:
            raise UnfitError(f"its {name.replace('_', ' ')} differs from the width of its heads, {width}.")
