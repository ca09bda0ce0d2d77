"""Loading, tokens, and the embedded model's own promises."""

import hashlib
import shutil

import pytest

from headroles.errors import ModelLoadError, PromptError, UnknownModelError
from headroles.models import EMBEDDED_MODEL, MAX_PROMPT_CHARACTERS, MODELS, get_model_info, load_model
from headroles.ui import EXAMPLES

TINY = MODELS[EMBEDDED_MODEL].source


def test_an_unknown_model_is_refused_with_those_there_are():
    with pytest.raises(UnknownModelError, match="no model 'gpt5' here; there is headroles-tiny"):
        get_model_info("gpt5")


def test_a_folder_without_a_model_is_refused_in_one_line(tmp_path):
    with pytest.raises(ModelLoadError, match="^broken could not be loaded from") as caught:
        load_model("broken", tmp_path)
    assert "\n" not in str(caught.value)


def test_broken_weights_are_refused_in_one_line(tmp_path):
    shutil.copytree(TINY, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").write_bytes(b"\xff" * 1000)
    with pytest.raises(ModelLoadError, match="could not be loaded"):
        load_model("m", tmp_path / "m")


def test_pickled_weights_are_never_read(tmp_path):
    shutil.copytree(TINY, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").rename(tmp_path / "m" / "pytorch_model.bin")
    with pytest.raises(ModelLoadError):
        load_model("m", tmp_path / "m")


def test_the_revision_of_a_folder_follows_its_weights(tiny):
    digest = hashlib.sha256((TINY / "model.safetensors").read_bytes()).hexdigest()
    assert tiny.revision == f"sha256:{digest[:16]}"


def test_the_embedded_model_reads_a_bos_and_256_tokens(tiny):
    assert tiny.prepend_bos
    assert tiny.max_tokens == 256
    assert tiny.encode("The king")[0] == tiny.tokenizer.bos_token_id
    assert not tiny.model.training


def test_a_model_whose_tokenizer_adds_no_bos_is_read_without_one(random_model, tiny):
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    from headroles.models import LoadedModel

    plain = Tokenizer.from_str(tiny.tokenizer.backend_tokenizer.to_str())
    plain.post_processor = processors.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<|endoftext|>")
    loaded = LoadedModel("m", random_model("gpt2").model, tokenizer, "r")
    assert not loaded.prepend_bos
    assert loaded.encode("The king") == tiny.encode("The king")[1:]
    assert loaded.tokenizer_sha256 == tiny.tokenizer_sha256


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t ", None, 7])
def test_an_empty_prompt_is_refused(tiny, prompt):
    with pytest.raises(PromptError, match="no text to look at"):
        tiny.encode(prompt)


def test_a_long_prompt_is_refused_with_limit_and_count(tiny):
    with pytest.raises(PromptError, match=r"has 301 tokens; headroles-tiny reads at most 256"):
        tiny.encode("the" + " the" * 299)
    with pytest.raises(PromptError, match=f"has 10,000,000 characters; at most {MAX_PROMPT_CHARACTERS:,}"):
        tiny.encode("a" * 10_000_000)


def test_a_special_token_in_the_text_stays_text(tiny):
    ids = tiny.encode("a <|endoftext|> b")
    assert ids.count(tiny.tokenizer.bos_token_id) == 1
    assert "".join(tiny.token_texts(ids)[1:]) == "a <|endoftext|> b"


def test_pieces_of_a_character_show_as_bytes_and_the_rest_as_text(tiny):
    texts = tiny.token_texts(tiny.encode("day — 日"))
    assert "".join(texts[1:]).startswith("day")
    assert "<E6>" in texts
    assert not any("\ufffd" in text for text in texts)


def test_a_lone_surrogate_does_not_break_the_tokenizer(tiny):
    assert tiny.encode("\ud800 king")


def test_the_weights_are_half_precision_safetensors_of_at_most_8_mb():
    from safetensors import safe_open

    path = TINY / "model.safetensors"
    assert path.stat().st_size <= 8_000_000
    with safe_open(path, "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F16"}  # noqa: SIM118


def test_most_words_of_the_examples_are_one_token_each(tiny):
    words = [word for prompt in EXAMPLES for word in prompt.replace(".", "").replace(",", "").split()]
    single = [word for word in words if len(tiny.tokenizer.encode(" " + word, add_special_tokens=False)) == 1]
    assert len(single) >= 0.9 * len(words)
