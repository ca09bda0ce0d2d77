"""Models of strangers: each is refused by name or does no harm, and nothing of the server comes to light."""

import json
import logging
import time
from pathlib import Path

import pytest
import torch

from headroles.core.heads import Attention
from headroles.errors import HeadRolesError
from tests.fixtures.refusals import (
    MEMORY_BYTES,
    REFUSED_SECONDS,
    check_sentence,
    check_silence,
    most_resident,
    never_stuck,
    read,
    resident,
)
from tests.fixtures.strange_files import SECRET, VOCABULARY, honest
from tests.fixtures.strangers import HONEST, STRANGERS, Stranger

NAME = "org/stranger"
FOLDER = "model"
SAME_TO_JSON = ("the model twice", "a token twice")  # of which the last counts

__all__ = ["never_stuck"]  # a fixture that holds for every test of this file
ids = {"argvalues": STRANGERS, "ids": [stranger.name for stranger in STRANGERS]}


@pytest.fixture(scope="module")
def usual_bytes(tmp_path_factory) -> int:
    """What reading an honest model adds to this process at most, once everything that it needs is imported."""
    for kind in {stranger.model_type for stranger in STRANGERS}:
        read(NAME, honest(tmp_path_factory.mktemp("honest") / "model", kind), "The king")
    before = resident()
    read(NAME, honest(tmp_path_factory.mktemp("honest") / "model"), "The king")
    return most_resident() - before


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> dict[str, dict[str, object]]:
    """What an honest folder of each architecture holds."""
    return {kind: contents(honest(tmp_path_factory.mktemp("plain") / kind, kind)) for kind in {s.model_type for s in STRANGERS}}


@pytest.mark.parametrize("stranger", **ids)
def test_a_stranger_is_refused_by_name_or_does_no_harm(stranger: Stranger, tmp_path, caplog, capfd, usual_bytes, plain):
    folder = stranger.make(tmp_path / FOLDER)
    if stranger.on_hub and stranger.prompt == Stranger.prompt:  # pipes and devices are not read here
        # otherwise a builder that missed its target would pass for a stranger that did no harm
        is_honest = stranger in HONEST or stranger.name in SAME_TO_JSON
        assert (contents(folder) == plain[stranger.model_type]) == is_honest
    caplog.set_level(logging.DEBUG)
    before, began = resident(), time.process_time()
    try:
        attention = read(NAME, folder, stranger.prompt)
    except HeadRolesError as error:
        seconds = time.process_time() - began
        check_refusal(stranger, error, tmp_path)
        assert seconds < REFUSED_SECONDS
    else:
        check_harmless(stranger, attention)
    assert most_resident() - before < usual_bytes + MEMORY_BYTES
    check_silence(caplog, capfd, tmp_path)
    assert not (tmp_path / "ran").exists(), "code of a stranger ran"


def check_refusal(stranger: Stranger, error: HeadRolesError, place: Path) -> None:
    """It is one sentence in our words that names the model, and holds nothing of the server."""
    message = str(error)
    assert stranger.refusal is not None, f"it is harmless, but: {message}"
    check_sentence(error, stranger.refusal, place)
    if "Your text has" not in message:  # a prompt is the visitor's own
        assert NAME in message or message.startswith(f"{FOLDER} ")  # whoever looks at a folder knows no other name for it


def check_harmless(stranger: Stranger, attention: Attention) -> None:
    assert stranger.refusal is None, "it should have been refused"
    assert max(attention.token_ids) < VOCABULARY
    assert torch.isfinite(attention.patterns).all()
    assert SECRET not in "".join(attention.tokens)


def test_an_honest_model_opens_after_all_of_them(tmp_path):
    for number, stranger in enumerate(HONEST):
        attention = read(NAME, stranger.make(tmp_path / str(number) / "model"), stranger.prompt)
        assert attention.tokens[-1].strip()


def test_strangers_are_many_and_each_has_a_name_of_its_own():
    assert len(STRANGERS) >= 300
    assert len({stranger.name for stranger in STRANGERS}) == len(STRANGERS)


def contents(folder: Path) -> dict[str, object]:
    """Every file's content; of JSON what it says."""
    found: dict[str, object] = {}
    for file in sorted(folder.iterdir()):
        try:
            found[file.name] = json.loads(file.read_text("utf-8"))
        except (ValueError, RecursionError):
            found[file.name] = file.read_bytes()
    return found
