"""Strangers' models as repositories of the Hub: what is refused before a download, and that only what is read is asked for."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from headroles.errors import HeadRolesError, ModelLoadError
from headroles.hub.download import fetch
from headroles.hub.repository import MEGABYTE, UNTRUSTED_FILES, inspect
from headroles.hub.weights import WEIGHT_FILE_NAME
from headroles.models.loading.loader import load_model
from tests.fixtures import strange_files as files
from tests.fixtures.hub import FakeHub
from tests.fixtures.strange_files import SECRET, honest
from tests.fixtures.strangers import STRANGERS, Stranger

NAME = "org/stranger"
# where a repository differs from a folder: other files beside those that are read, names of files, and tokenizers without them
CHOSEN = (
    "honest llama",
    "honest shards",
    "merges of a GPT2Tokenizer names a file",
    "merges of a GPT2Tokenizer is /dev/zero",
    "a CanineTokenizer without tokenizer.json",
    "only a sentencepiece model",
    "files of old times hold a vocabulary",
    "code beside the weights",
    "pickles beside the weights",
    "only pickles",
    "a shard that is named out of the folder",
    "a shard that is a pickle out of the folder",
    "an adapter of another repository",
    "code for config and model",
    "generation_config.json is broken",
    "twelve thousand layers",
    "an architecture with escapes",
    "a header of 2**63 bytes",
    "an id of 2**32",
)


@pytest.fixture
def folder(tmp_path) -> Path:
    return honest(tmp_path / "model")


def asked_for(hub: FakeHub) -> set[str]:
    """The files whose content was asked for."""
    return {request.rpartition("/")[2] for request in hub.requests if "/resolve/" in request}


def downloaded() -> set[str]:
    return {file.name for file in Path(constants.HF_HUB_CACHE).glob("*/snapshots/*/**/*") if not file.is_dir()}


def is_read(name: str) -> bool:
    return name in UNTRUSTED_FILES or WEIGHT_FILE_NAME.fullmatch(name) is not None


@pytest.mark.parametrize("stranger", [next(s for s in STRANGERS if s.name == name) for name in CHOSEN], ids=CHOSEN)
def test_a_repository_is_refused_by_name_or_read_and_only_what_is_read_is_asked_for(hub, stranger: Stranger, tmp_path):
    assert stranger.on_hub
    hub.add(NAME, stranger.make(tmp_path / "model"))
    try:
        loaded = load_model(NAME, NAME)
    except HeadRolesError as error:
        said = str(error)
        assert stranger.refusal is not None, said
        assert NAME in said
        assert said.isprintable()
        assert SECRET not in said
        assert str(tmp_path) not in said
    else:
        assert stranger.refusal is None
        with torch.no_grad():
            assert loaded.model(torch.tensor([loaded.encode(stranger.prompt)])).logits.isfinite().all()
        assert {"config.json", "tokenizer.json"} <= downloaded()
    assert all(map(is_read, asked_for(hub) | downloaded()))


def grown(name: str) -> Callable[[Path], object]:
    """A file one byte larger than is read; blanks at the end of JSON say nothing."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes().ljust(UNTRUSTED_FILES[name] + 1))


def less(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        *(
            (grown(name), f"its {name} has {most + 1:,} bytes; at most {most:,} are read")
            for name, most in UNTRUSTED_FILES.items()
        ),
        (less("tokenizer.json"), "it has no tokenizer.json"),
        (less("model.safetensors"), "holds no model.safetensors"),
    ],
    ids=[*(f"too much {name}" for name in UNTRUSTED_FILES), "no tokenizer.json", "no weights"],
)
def test_what_its_list_of_files_shows_is_refused_before_a_download(hub, folder, change, reason):
    change(folder)
    hub.add(NAME, folder)
    with pytest.raises(HeadRolesError, match=reason) as error:
        inspect(NAME)
    assert NAME in str(error.value)
    assert hub.count("^GET /api/models/org/stranger/revision/main$") == 1
    assert not asked_for(hub)
    assert not downloaded()


def test_files_that_are_not_read_may_be_of_any_size(hub, folder):
    (folder / "vocab.json").write_bytes(b"[" * 2 * MEGABYTE)
    (folder / "special_tokens_map.json").write_bytes(b"[" * 9 * MEGABYTE)
    hub.add(NAME, folder)
    fetch(inspect(NAME))
    assert downloaded() == {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}


def test_weights_that_only_an_index_names_are_not_asked_for(hub, folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "evil-00002-of-00002.safetensors").write_bytes(b"")
    names = {"model.norm.weight": "evil-00002-of-00002.safetensors", "lm_head.weight": "../secret.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}), "utf-8")
    hub.add(NAME, folder)
    with pytest.raises(ModelLoadError, match=r"^org/stranger could not be loaded: of its weights the part model-00002-of-00002"):
        load_model(NAME, NAME)
    assert asked_for(hub) == {*UNTRUSTED_FILES, "model-00001-of-00002.safetensors"}


def test_an_architecture_that_only_the_hub_names_is_refused(hub, folder):
    hub.add(NAME, folder)
    facts = inspect(NAME)
    files.config(model_type="t5")(fetch(facts))
    with pytest.raises(ModelLoadError, match=r"^org/stranger could not be loaded: its config has a value that cannot be at m"):
        load_model(NAME, facts)
