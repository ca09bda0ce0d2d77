"""A GGUF file's weights, as transformers' classes want them; its header is read by `hub.gguf`."""

from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor

from headroles.hub.gguf import open_gguf, read_gguf
from headroles.hub.plain_files import UnfitError, short

Weights = dict[str, torch.Tensor]
ROTARY_FACTORS = "rope_freqs.weight"  # Llama 3.1 and later: what the speed of each pair of dimensions is divided by


def read_weights(path: Path, config: PreTrainedConfig) -> tuple[Weights, torch.Tensor | None]:
    """All tensors by transformers' names, back in float32, and the rotary factors where there are some.

    Raises:
        UnfitError: when the file has a tensor that such a model has no place for.
        And what the libraries raise.
    """
    from gguf import dequantize

    reader = open_gguf(path)
    architecture = read_gguf(path).architecture
    # llama.cpp turns, joins and shifts some tensors; transformers' processors undo that
    processor = TENSOR_PROCESSORS.get(architecture, TensorProcessor)(config=_for_processor(config))
    names = _names(architecture, config)
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


def _names(architecture: str, config: PreTrainedConfig) -> dict[str, str]:
    """transformers' name of each tensor that such a model has, by the file's.

    After transformers' `get_gguf_hf_weights_map`, which makes the whole map anew for each part of the model, some 480.
    """
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    kind = next(kind for kind, name in MODEL_ARCH_NAMES.items() if name == architecture)
    known = get_tensor_name_map(kind, config.num_hidden_layers)
    found: dict[str, str] = {}
    for ours in skeleton.state_dict():
        # some are known by their name within the model's body, "word_embeddings" without "transformer."
        for name in (ours, ours.partition(".")[2]):
            if theirs := known.get_name(name, try_suffixes=(".weight", ".bias")):
                found.setdefault(theirs, ours)
                break
    return found


def turn_slower(model: PreTrainedModel, factors: torch.Tensor) -> None:
    """Divides the speeds of the model's rotary angles, as `rope_freqs` says.

    Raises UnfitError when there are other numbers of them.
    """
    rotary = getattr(model.base_model, "rotary_emb", None)
    speeds = getattr(rotary, "inv_freq", None)
    if rotary is None or speeds is None or speeds.shape != factors.shape or not _are_plain(factors):
        raise UnfitError(f"its {ROTARY_FACTORS} does not fit its heads.")
    for name in ("inv_freq", "original_inv_freq"):
        getattr(rotary, name).div_(factors.to(speeds.dtype))


def _are_plain(factors: torch.Tensor) -> bool:
    return bool((torch.isfinite(factors) & (factors > 0)).all())


def _for_processor(config: PreTrainedConfig) -> dict[str, int]:
    """What the processors ask of a config, by the names that they know."""
    heads, width = config.num_attention_heads, config.hidden_size
    groups = getattr(config, "num_key_value_heads", None) or heads
    return {"num_attention_heads": heads, "num_key_value_heads": groups, "n_head": heads, "hidden_size": width}
