"""A GGUF file's weights, as transformers' classes want them; `hub.gguf` reads its header."""

from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor

from headroles.hub.gguf import open_gguf, read_gguf
from headroles.hub.plain_files import UnfitError, shorten

Weights = dict[str, torch.Tensor]
ROTARY_FACTORS = "rope_freqs.weight"  # Llama 3.1 and later: what the speed of each pair of dimensions is divided by


def read_weights(path: Path, config: PreTrainedConfig) -> tuple[Weights, torch.Tensor | None]:
    """All tensors in float32, by transformers' names, and the rotary factors if the file has some.

    Raises:
        UnfitError: when the file has a tensor that such a model lacks.
        And what the libraries raise.
    """
    from gguf import dequantize

    reader = open_gguf(path)
    architecture = read_gguf(path).architecture
    # llama.cpp permutes, transposes and shifts some tensors; transformers' processors undo that
    processor = TENSOR_PROCESSORS.get(architecture, TensorProcessor)(config=config.to_dict())
    names = _names(architecture, config)
    weights: Weights = {}
    factors = None
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        if tensor.name == ROTARY_FACTORS:
            factors = torch.tensor(values)
            continue
        if tensor.name not in names:
            raise UnfitError(f"its tensor {shorten(tensor.name)} has no place in such a model.")
        if tensor.name != "output.weight":  # which GPT-2's processor keeps for itself
            values = processor.process(weights=values, name=tensor.name).weights
        weights[names[tensor.name]] = torch.from_numpy(np.array(values, dtype=np.float32))
    return weights, factors


def _names(architecture: str, config: PreTrainedConfig) -> dict[str, str]:
    """The transformers library's name of each tensor that such a model has, by the file's.

    transformers' `get_gguf_hf_weights_map` says the same, but remakes gguf's map for each module: 4.3 s for SmolLM2, here 0.05 s.
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
    """Divides the speeds of the model's rotary angles, as `rope_freqs` says; transformers drops these factors.

    Args:
        model: with rotary positions.
        factors: one for each pair of dimensions of a head.

    Raises:
        UnfitError: when there are more or fewer, or one is not a finite number above 0.
    """
    rotary = getattr(model.base_model, "rotary_emb", None)
    speeds = getattr(rotary, "inv_freq", None)
    are_finite = bool((torch.isfinite(factors) & (factors > 0)).all())
    if rotary is None or speeds is None or speeds.shape != factors.shape or not are_finite:
        raise UnfitError(f"its {ROTARY_FACTORS} does not fit its heads.")
    for name in ("inv_freq", "original_inv_freq"):
        getattr(rotary, name).div_(factors.to(speeds.dtype))
