"""The registry against its oracles: transformers' own model classes, TransformerLens' list, the embedded model's files."""

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from headroles.core.registry import EMBEDDED_FOLDER, EMBEDDED_MODEL, MODELS, ModelInfo, get_model_info
from headroles.errors import UnknownModelError
from headroles.models.loading.loader import LoadedModel, attention_windows, registered_config
from headroles.models.reading.pattern_reader import PatternReader

ROOT = Path(__file__).parent.parent.parent
every_model = pytest.mark.parametrize("info", MODELS.values(), ids=MODELS)
ON_HUB = [info for info in MODELS.values() if isinstance(info.source, str)]
every_hub_model = pytest.mark.parametrize("info", ON_HUB, ids=lambda info: info.name)


def without_weights(info: ModelInfo) -> PreTrainedModel:
    """The model of that size on the meta device: every shape, no number."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(registered_config(info))


@every_model
def test_layers_heads_and_parameters_are_those_of_the_architecture(info):
    model = without_weights(info)
    assert model.config.num_hidden_layers == info.num_layers
    assert model.config.num_attention_heads == info.num_heads
    assert model.num_parameters() == info.parameters


@every_model
def test_the_shape_says_nothing_that_the_config_class_does_not_know(info):
    # a misspelled key would be kept as an unknown attribute and change nothing
    known = type(registered_config(info))()
    assert all(hasattr(known, key) for key in info.shape)


@every_hub_model
def test_transformer_lens_lists_the_model_with_this_architecture(info):
    from transformer_lens.tools.model_registry import api

    # all but the embedded model, which is our own and on no list
    assert api.is_model_supported(info.source)
    assert api.get_model_architecture(info.source) == type(without_weights(info)).__name__


def test_transformer_lens_knows_the_embedded_models_architecture():
    from transformer_lens.tools.model_registry import api

    assert api.is_architecture_supported(type(without_weights(MODELS[EMBEDDED_MODEL])).__name__)


def test_the_embedded_models_entry_is_what_its_files_say():
    info = MODELS[EMBEDDED_MODEL]
    folder = EMBEDDED_FOLDER
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert config["model_type"] == info.model_type
    assert {key: config[key] for key in info.shape} == info.shape
    with safe_open(folder / "model.safetensors", "pt") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    assert sum(torch.Size(shape).numel() for shape in shapes) == info.parameters
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.encode("a")[0] == tokenizer.bos_token_id) == info.prepend_bos


@every_model
def test_a_model_that_reads_a_bos_has_one(info):
    assert not info.prepend_bos or registered_config(info).bos_token_id is not None


def test_those_whose_publisher_asks_for_a_license_are_marked_and_come_last():
    gated = [info.gated for info in MODELS.values()]
    assert [info.name for info in MODELS.values() if info.gated] == [
        name for name in MODELS if name.startswith(("meta-llama/", "google/gemma"))
    ]
    assert gated == sorted(gated)


def test_the_embedded_model_comes_first_and_is_the_only_folder():
    assert next(iter(MODELS)) == EMBEDDED_MODEL
    assert [info.name for info in MODELS.values() if isinstance(info.source, Path)] == [EMBEDDED_MODEL]


def test_each_model_is_filed_under_its_own_name_once():
    assert [info.name for info in MODELS.values()] == list(MODELS)
    assert len({str(info.source) for info in MODELS.values()}) == len(MODELS)


@every_hub_model
def test_a_hub_models_source_is_its_name_with_its_publisher(info):
    publisher, name = info.source.split("/")
    assert publisher
    assert info.name in (info.source, name)


def test_each_model_says_in_one_line_of_its_own_why_to_pick_it():
    titles = [info.title for info in MODELS.values()]
    assert all(title.strip() == title and title and len(title.splitlines()) == 1 for title in titles)
    assert [title for title in titles if len(title) > 110] == []
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", ["gpt5", "", None, 7, ["gpt2"]])
def test_an_unknown_model_is_refused_with_those_there_are(name):
    with pytest.raises(UnknownModelError, match=f"here; there is {EMBEDDED_MODEL}, SmolLM2-135M-Instruct-Q4_1, gpt2, ") as caught:
        get_model_info(name)
    assert all(known in str(caught.value) for known in MODELS)


def test_a_known_model_is_found_by_its_name():
    assert get_model_info("gpt2") is MODELS["gpt2"]


def test_an_entry_cannot_be_changed_and_can_be_a_key():
    with pytest.raises(FrozenInstanceError):
        MODELS["gpt2"].gated = True  # type: ignore[misc]
    assert {info: info.name for info in MODELS.values()}[MODELS["gpt2"]] == "gpt2"


@pytest.mark.processes
def test_the_registry_can_be_read_without_torch_and_transformers():
    code = "import sys, headroles.core.registry; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize(
    "info",
    [
        info if name in ("gpt2", "google/gemma-3-270m") else pytest.param(info, marks=pytest.mark.thorough)
        for name, info in MODELS.items()
    ],
    ids=lambda info: info.name,
)
def test_the_capture_reads_the_first_two_layers_of_every_registered_model(info, tiny):
    """Its real width, heads and windows, with random weights and few words, so that it takes a second."""
    config = registered_config(info)
    windows = attention_windows(config)
    config.num_hidden_layers, config.vocab_size, config.pad_token_id = 2, 3072, None
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:2]
    if getattr(config, "attention_layers", None):
        config.attention_layers = config.attention_layers[:2]
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    patterns = PatternReader(LoadedModel(info.name, model, tiny.tokenizer, "r")).read_batch(torch.arange(1, 21)[None])
    assert patterns.shape == (1, 2, info.num_heads, 20, 20)
    assert len(windows) == info.num_layers


def test_the_windows_of_the_registered_models_are_those_their_makers_name():
    windows = {name: set(attention_windows(registered_config(info))) for name, info in MODELS.items()}
    assert {name: seen for name, seen in windows.items() if seen != {None}} == {
        "roneneldan/TinyStories-33M": {None, 256},
        "EleutherAI/gpt-neo-125m": {None, 256},
        "google/gemma-3-270m": {None, 512},
    }
