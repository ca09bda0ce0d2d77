"""The models that are measured."""

import copy

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig

from headroles.core.registry import EMBEDDED_MODEL
from headroles.models.loading.loader import LoadedModel, load_model


def random_model(name: str, config: PreTrainedConfig) -> LoadedModel:
    """A model with random weights and the embedded model's tokenizer (its ids all lie inside the vocabularies)."""
    torch.manual_seed(0)
    # a config of its own: models with one config would share their attention function
    model = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=torch.float32).eval()
    model.config.architectures = [type(model).__name__]
    return LoadedModel(name, model, load_model(EMBEDDED_MODEL).tokenizer, "random")
