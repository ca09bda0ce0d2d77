"""A model built from its config and its weight files, with nothing in it that is not in those."""

import logging
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from headroles.hub.gguf import is_gguf
from headroles.hub.plain_files import UnfitError
from headroles.hub.weights import Shapes, count_parameters, weight_files
from headroles.models.loading.gguf_weights import read_weights, turn_slower
from headroles.settings import GIGABYTE

# transformers says in the log of each layer that has a faster kernel on some machines that it is not installed
logging.getLogger("transformers.integrations.hub_kernels").addFilter(lambda record: "falling back" not in str(record.msg))
MOST_BUFFER_BYTES = GIGABYTE // 4  # of what is no weight, such as causal masks, beyond what the weights take


def check_memory(config: PreTrainedConfig, shapes: Shapes) -> None:
    """Raises UnfitError for a config of a far larger model than the weights are: building it could take all the memory."""
    numbers = count_parameters(shapes)
    if config.get_text_config().num_hidden_layers <= len(shapes):  # else even the skeleton could take for ever
        with torch.device("meta"):
            skeleton = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        buffers = sum(buffer.nbytes for buffer in skeleton.buffers())
        # weights that are used twice may be there once
        if skeleton.num_parameters() <= 2 * numbers and buffers <= 4 * numbers + MOST_BUFFER_BYTES:
            return
    raise UnfitError("its config describes a larger model than its weights are.")


def build_model(config: PreTrainedConfig, folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The model, on the CPU. Only safetensors are opened, and only those that carry a weight file's name, or one GGUF file.

    Raises:
        UnfitError: when the weights lack tensors, which would be random numbers.
        And what the libraries raise.
    """
    weights: dict[str, torch.Tensor] = {}
    factors = None
    if is_gguf(folder):
        weights, factors = read_weights(folder, config)
    else:
        for file in weight_files(folder):
            weights.update(load_file(file))
    kind = cast(type[PreTrainedModel], MODEL_FOR_CAUSAL_LM_MAPPING[type(config)])
    # not from the folder: there the library would look for an index, which can name any file, and for adapters
    model, report = kind.from_pretrained(  # type: ignore[misc]
        None, config=config, state_dict=weights, dtype=dtype, output_loading_info=True, trust_remote_code=False
    )
    if missing := sorted(report["missing_keys"]):
        raise UnfitError(
            f"its weights lack {len(missing)} tensors, {missing[0][:100]} among them, which would be random numbers."
        )
    if factors is not None:
        turn_slower(model, factors)
    return model.eval()
