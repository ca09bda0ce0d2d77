"""What a stranger's model goes through in a process of its own, before the server reads its weights."""

from pathlib import Path
from typing import cast

import torch

from headroles.errors import UnsupportedModelError
from headroles.hub.repository import RepositoryFacts
from headroles.models.loading.loader import LoadedModel, Tokenizer, read_model
from headroles.models.reading.pattern_reader import PatternReader


def check_model_folder(name: str, folder: Path) -> int:
    """Reads a folder's model, tests its attention, and reads a text as long as any; gives the bytes that it takes in memory.

    Raises ModelLoadError, ModelTooLargeError and UnsupportedModelError as loading it and reading from it do.
    """
    model = read_model(name, RepositoryFacts(str(folder), "", 0, 0, path=folder), folder)
    loaded = LoadedModel(name, model, cast(Tokenizer, None), "")  # its tokenizer is tried in another process
    reader = PatternReader(loaded)
    vocabulary = model.config.get_text_config().vocab_size
    reader.read_layers(torch.arange(loaded.max_tokens)[None] % vocabulary)
    if not all(torch.isfinite(tensor).all() for tensor in model.parameters()):
        raise UnsupportedModelError(f"{name} cannot be read by headroles: its weights are not all numbers.")
    return model.get_memory_footprint()
