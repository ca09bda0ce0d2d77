"""A GGUF file's weights and tokenizer, as transformers' classes want them; its header is read by `hub.gguf`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.integrations.gguf.gguf_tokenizer_mapping import (
    GGUF_PRE_TOKENIZER_SPLITS,
    convert_gguf_tokenizer,
    get_gguf_tokenizer,
)
from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map

from headroles.hub.files import UnfitError, short
from headroles.hub.gguf import open_gguf, read_gguf

Weights = dict[str, torch.Tensor]
ROTARY_FACTORS = "rope_freqs.weight"  # Llama 3.1 and later: what the speed of each pair of dimensions is divided by
# how texts are cut before the merges, by llama.cpp's names of it; transformers knows some, and takes GPT-2's for all others
AS_GPT2 = {"default", "gpt-2", "mpt", "olmo", "jais", "phi-2", "trillion"}
DIGITS_APART = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
NO_PREFIX = {"gemma", "gemma2", "gemma3", "phi3"}  # whose tokenizers transformers knows
OWN_SPLITS = {"bloom": " ?[^(\\s|.,!?…。,、।۔،)]+", "stablelm2": GGUF_PRE_TOKENIZER_SPLITS["qwen2"]}


def read_weights(path: Path, config: PreTrainedConfig) -> tuple[Weights, torch.Tensor | None]:
    """All tensors by transformers' names, back in float32, and the rotary factors where there are some.

    Raises:
        UnfitError: when the file has a tensor that such a model has no place for.
        And what the libraries raise.
    """
    from gguf import dequantize

    reader = open_gguf(path)
    architecture = read_gguf(path).architecture
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    # llama.cpp turns, joins and shifts some tensors; transformers' processors undo that
    processor = TENSOR_PROCESSORS.get(architecture, TensorProcessor)(config=_for_processor(config))
    names = get_gguf_hf_weights_map(skeleton, processor)
    weights: Weights = {}
    factors = None
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        if tensor.name == ROTARY_FACTORS:
            factors = torch.tensor(values)
            continue
        if tensor.name not in names:
            raise UnfitError(f"its tensor {short(tensor.name)} has no place in such a model.")
        # the processor of GPT-2 keeps this one for itself, not turned
        done = values if tensor.name == "output.weight" else processor.process(weights=values, name=tensor.name).weights
        weights[names[tensor.name]] = torch.from_numpy(np.array(done, dtype=np.float32))
    return weights, factors


def turn_slower(model: PreTrainedModel, factors: torch.Tensor) -> None:
    """Divides the speeds of the model's rotary angles, as `rope_freqs` says.

    Raises UnfitError when there are other numbers of them.
    """
    rotary = getattr(model.base_model, "rotary_emb", None)
    speeds = getattr(rotary, "inv_freq", None)
    if rotary is None or speeds is None or speeds.shape != factors.shape or not (factors > 0).all():
        raise UnfitError(f"its {ROTARY_FACTORS} does not fit its heads.")
    for name in ("inv_freq", "original_inv_freq"):
        getattr(rotary, name).div_(factors.to(speeds.dtype))


def read_tokenizer(path: Path) -> tuple[bytes, Mapping[str, Any]]:
    """What would stand in tokenizer.json and in tokenizer_config.json, neither of them checked.

    It hands the file's words to a library that may panic over them, so of a stranger's file it is called in a process of its own.

    Raises:
        UnfitError: when the file does not say how texts are cut in a way that is known here.
        And what the libraries raise.
    """
    read_gguf(path)  # checks all sizes
    architecture, parts, options = get_gguf_tokenizer(str(path))
    # a list that is no list of texts comes as its length
    if not isinstance(parts.get("tokens"), list) or not isinstance(parts.get("merges", []), list):
        raise UnfitError("its list of tokens is none.")
    if not parts.get("add_prefix_space", True) and parts.get("tokenizer_type") == "llama" and architecture not in NO_PREFIX:
        raise UnfitError("its tokenizer puts no space before a text, which is not known here of its kind.")
    backend, _ = convert_gguf_tokenizer(architecture, parts)
    if parts.get("tokenizer_type") == "gpt2":
        way = parts.get("pre_tokenizer_type", "default")
        if cut := _cut(way):
            backend.pre_tokenizer = cut
        elif way not in AS_GPT2 and way not in GGUF_PRE_TOKENIZER_SPLITS:
            raise UnfitError(f"its tokenizer cuts texts in the way {short(str(way))}, which is not known here.")
    return backend.to_str().encode(), options


def _cut(way: str) -> pre_tokenizers.PreTokenizer | None:
    """How a text is cut that transformers would cut as GPT-2 does."""
    if way in DIGITS_APART:
        first, last = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    elif way in OWN_SPLITS:
        first = pre_tokenizers.Split(Regex(OWN_SPLITS[way]), behavior="isolated")
        last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    else:
        return None
    return pre_tokenizers.Sequence([first, last])  # pyright: ignore[reportArgumentType]


def _for_processor(config: PreTrainedConfig) -> dict[str, int]:
    """What the processors ask of a config, by the names that they know."""
    heads, width = config.num_attention_heads, config.hidden_size
    groups = getattr(config, "num_key_value_heads", None) or heads
    return {"num_attention_heads": heads, "num_key_value_heads": groups, "n_head": heads, "hidden_size": width}
