"""A stranger's config.json: the known plain values of its architecture alone, held against the tensors that are there."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig

from headroles.core.limits import MAX_PROMPT_TOKENS
from headroles.core.registry import ARCHITECTURES
from headroles.hub.plain_files import UnfitError
from headroles.hub.weights import Shapes
from headroles.models.layer_kinds import ATTENTION_KINDS, KIND_NAMES, layer_kinds

MAX_HEADS = 4096  # in all layers; their patterns on the longest prompt take 1 GB
MAX_NUMBER = 2**31
MAX_ITEMS = 1024  # in a list, or a table such as that of the rotary angles
MAX_DEPTH = 4
# what each may be, by transformers' common name; the largest published models stay far below
MAX_SIZES = {
    "num_hidden_layers": 512,
    "num_attention_heads": 512,
    "num_key_value_heads": 512,
    "hidden_size": 2**17,
    "head_dim": 2**14,
    "intermediate_size": 2**20,
    "vocab_size": 2**22,
    "max_position_embeddings": 2**24,
    "sliding_window": 2**24,
    "window_size": 2**24,
    "sliding_window_pattern": 512,
    "num_local_experts": 1024,
    "num_experts_per_tok": 1024,
    "num_experts": 1024,
    "n_routed_experts": 1024,
    "moe_intermediate_size": 2**20,
    "shared_expert_intermediate_size": 2**20,
    "moe_shared_expert_intermediate_size": 2**20,
    "shared_intermediate_size": 2**20,
    "vocab_size_per_layer_input": 2**22,
    "global_head_dim": 2**14,
    "num_global_key_value_heads": 512,
    # of layers that carry a state from token to token: a state is heads x width x width, and a text is padded to whole chunks
    "mamba_d_state": 512,
    "ssm_state_size": 512,
    "mamba_n_heads": 512,
    "mamba_num_heads": 512,
    "n_mamba_heads": 512,
    "mamba_head_dim": 512,
    "mamba_n_groups": 512,
    "mamba_ngroups": 512,
    "n_groups": 512,
    "mamba_expand": 64,
    "expand": 64,
    "mamba_d_ssm": 2**17,
    "mamba_d_conv": 64,
    "conv_kernel": 64,
    "conv1d_width": 64,
    "conv_L_cache": 64,
    "mamba_chunk_size": 512,
    "chunk_size": 512,
    "linear_num_key_heads": 512,
    "linear_num_value_heads": 512,
    "linear_key_head_dim": 512,
    "linear_value_head_dim": 512,
    "linear_conv_kernel_dim": 64,
    "lru_width": 2**17,
    "num_mem_blocks": 64,
    "adapter_rank": 2**14,
    "full_attention_interval": 512,
    "attn_layer_period": 512,
    "expert_layer_period": 512,
}
PER_LAYER_KEYS = {"head_dim", "num_key_value_heads"}  # what may differ from one layer of Gemma 4 to another
MAX_SIZES_OR_AUTO = {"mamba_d_head": 512, "mamba_dt_rank": 2**14}  # a size, or "auto"
# 0 where it has none
ZERO_ALLOWED = {"granitemoehybrid": {"num_local_experts", "num_experts_per_tok"}, "qwen2_moe": {"sliding_window"}}
MAX_SHARED_LAYERS = 64  # layers that share blocks: each builds a place for every other
HYBRID_PATTERN = re.compile(r"[M*E-]{1,512}")  # Nemotron-H's layers, a sign each
# what older files say in another way than today's config classes, which read it on their own
LEGACY_KEYS = {"rope_theta", "rope_scaling", "rotary_pct", "rotary_emb_base", "partial_rotary_factor", "rope_local_base_freq"}
LEGACY_KEYS |= {"sliding_window_pattern", "head_dim", "ffn_dim", "full_attention_interval", "hybrid_override_pattern"}
SHORT_WORD = re.compile(r"[A-Za-z0-9_.-]{0,40}")
LAYER_NUMBER = re.compile(r"(?:^|\.)(\d{1,6})\.")  # the layer's number in a tensor's name, `model.layers.3.mlp.up_proj.weight`


def validate_config(raw_config: Mapping[str, Any], shapes: Shapes) -> PreTrainedConfig:
    """The config that a stranger's file describes, in milliseconds however large it says that the model is.

    Args:
        raw_config: the file.
        shapes: of the tensors that are there.

    Raises:
        UnfitError: when a value is none that its key can have, or the tensors are not those of such a model.
    """
    if raw_config.get("model_type") not in ARCHITECTURES:  # though the Hub may have said otherwise of it
        raise _invalid_value("model_type")
    if raw_config.get("quantization_config"):
        raise UnfitError("its weights are quantised, which is not read from safetensors.")
    kind = CONFIG_MAPPING[raw_config["model_type"]]
    known = {field.name for field in fields(kind)} - {field.name for field in fields(PreTrainedConfig)} | LEGACY_KEYS
    known |= {*kind.attribute_map, *kind.attribute_map.values()}
    if kind.model_type == "gemma4_text":
        known |= {"per_layer_config", "global_head_dim", "num_global_key_value_heads"}
    values = {
        key: value for key, value in raw_config.items() if key in known and value is not None and not _is_no_limit(key, value)
    }
    for key, value in values.items():
        if not _is_plain(value) and not (key == "hybrid_override_pattern" and _is_hybrid_pattern(value)):
            raise _invalid_value(key)
    for name, most in MAX_SIZES.items():
        _check_size(kind.attribute_map.get(name, name), values, most, least=name not in ZERO_ALLOWED.get(kind.model_type, ()))
    for name, most in MAX_SIZES_OR_AUTO.items():
        if values.get(name) != "auto":
            _check_size(name, values, most)
    _check_lists(values)
    config = _build(kind, values)
    _check_heads(config)
    _check_tensors(config, shapes)
    config._attn_implementation = "eager"
    return config


def _is_plain(value: object, depth: int = 0) -> bool:
    """Whether it is a number, a short word, or a small list or table of such."""
    if isinstance(value, list | dict):
        inner = list(value.values()) + list(value) if isinstance(value, dict) else value
        return len(value) <= MAX_ITEMS and depth < MAX_DEPTH and all(_is_plain(item, depth + 1) for item in inner)
    if isinstance(value, str):
        return SHORT_WORD.fullmatch(value) is not None
    if isinstance(value, float):
        return math.isfinite(value) and abs(value) <= 1e12
    return value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) <= MAX_NUMBER)


def _is_no_limit(key: str, value: object) -> bool:
    """Whether it says that the steps of a state space have no upper limit, as they have none without a word."""
    return key == "time_step_limit" and str(value).replace("{'__float__': 'Infinity'}", "inf") in ("[0.0, inf]", "[0, inf]")


def _has_head_dim(config: PreTrainedConfig) -> bool:
    try:
        return getattr(config, "head_dim", None) is not None
    except Exception:  # the library refuses to name one where layers differ in it
        return True


def _is_hybrid_pattern(value: object) -> bool:
    return isinstance(value, str) and HYBRID_PATTERN.fullmatch(value) is not None


def _check_size(key: str, values: Mapping[str, Any], most: int, least: int = 1) -> None:
    value = values.get(key, 1)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise UnfitError(f"its config must have a whole number from {least:d} to {most:,} as {key}.")


def _check_lists(values: Mapping[str, Any]) -> None:
    """GPT-Neo's list of layers says how often each pattern comes again, and the library counts to that number."""
    if "attention_types" in values:
        repeats = values["attention_types"]
        if not isinstance(repeats, list) or not all(_is_repeat(item) for item in repeats):
            raise _invalid_value("attention_types")
        if sum(len(kinds) * times for kinds, times in repeats) > MAX_SIZES["num_hidden_layers"]:
            raise _invalid_value("attention_types")
    for sizes in _layer_sizes(values.get("per_layer_config", {})):
        for key in PER_LAYER_KEYS:
            _check_size(key, sizes, MAX_SIZES[key])


def _layer_sizes(sizes: object) -> Iterator[Mapping[str, Any]]:
    """Gemma 4's sizes of single layers, by number."""
    if not isinstance(sizes, dict):
        raise _invalid_value("per_layer_config")
    for layer, of_layer in sizes.items():
        if not re.fullmatch(r"\d{1,3}", layer) or not isinstance(of_layer, dict) or not set(of_layer) <= PER_LAYER_KEYS:
            raise _invalid_value("per_layer_config")
        yield of_layer


def _is_repeat(item: object) -> bool:
    match item:
        case [list(kinds), int(times)]:
            return set(map(str, kinds)) <= {"global", "local"} and 1 <= times <= MAX_SIZES["num_hidden_layers"]
    return False


def _build(kind: type[PreTrainedConfig], values: dict[str, Any]) -> PreTrainedConfig:
    try:
        return kind(**values)
    except Exception:  # the class checks in many ways, and its messages repeat what stands in the file
        raise _invalid_value(next(_invalid_keys(kind, values), "")) from None


def _invalid_keys(kind: type[PreTrainedConfig], values: dict[str, Any]) -> Iterator[str]:
    """The keys without which the class takes all others; by itself one may be refused that is right, a width its heads fit."""
    for key in values:
        try:
            kind(**{other: value for other, value in values.items() if other != key})
        except Exception:
            continue
        yield key


def _check_heads(config: PreTrainedConfig) -> None:
    heads, width = config.num_attention_heads, config.hidden_size
    layers = _check_layers(config)
    if heads * layers > MAX_HEADS:
        raise UnfitError(
            f"its config has {layers} layers of {heads} heads; at most {MAX_HEADS:,} heads are read, since each has a "
            f"pattern of {MAX_PROMPT_TOKENS} x {MAX_PROMPT_TOKENS} numbers."
        )
    if not _has_head_dim(config) and width % heads:
        raise UnfitError(f"its hidden_size, {width:,}, is not divisible by the number of attention heads, {heads}.")
    groups = getattr(config, "num_key_value_heads", None) or heads
    if heads % groups:
        raise UnfitError(f"its number of attention heads, {heads}, is not divisible by that of its key-value heads, {groups}.")


def _check_layers(config: PreTrainedConfig) -> int:
    """How many layers have attention patterns, of a config that says of every layer what it is."""
    try:
        kinds = layer_kinds(config)
    except Exception:  # some classes work them out, by divisions too
        raise _invalid_value("layer_types") from None
    layers = config.num_hidden_layers
    if len(kinds) != layers:
        raise UnfitError(f"its config names {len(kinds)} layer_types for {layers} layers.")
    if layers > MAX_SIZES["num_hidden_layers"] or not set(map(str, kinds)) <= {*ATTENTION_KINDS, *KIND_NAMES}:
        raise _invalid_value("layer_types")
    if config.model_type == "zamba2" and kinds.count("hybrid") > MAX_SHARED_LAYERS:
        raise _invalid_value("layer_types")
    count = sum(kind in ATTENTION_KINDS for kind in kinds)
    if not count:
        raise UnfitError("none of its layers has attention, so there are no patterns to read.")
    return count


def _check_tensors(config: PreTrainedConfig, shapes: Shapes) -> None:
    """Whether the tensors can be those of such a model, by names and shapes; the rest is seen when they are put into it."""
    blocks = {int(match[1]) for name in shapes if (match := LAYER_NUMBER.search(name))}
    if blocks != set(range(config.num_hidden_layers)):
        raise UnfitError(f"its config describes {config.num_hidden_layers} layers, but its weights have {len(blocks)}.")
    widths = {config.hidden_size, getattr(config, "word_embed_proj_dim", None)}
    if not any(len(shape) == 2 and shape[0] == config.vocab_size and shape[1] in widths for shape in shapes.values()):
        raise UnfitError(
            f"its config describes {config.vocab_size:,} tokens of {config.hidden_size:,} numbers each, and none of its "
            "tensors has that shape."
        )


def _invalid_value(key: str) -> UnfitError:
    return UnfitError(f"its config has a value that cannot be at {key}." if key else "its config has values that cannot be.")
