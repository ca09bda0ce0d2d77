"""Loading, tokens, and the embedded model's own promises."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE, Unigram
from transformers import PreTrainedTokenizerFast

from headroles.core.registry import EMBEDDED_FOLDER, EMBEDDED_MODEL, MODELS, get_model_info
from headroles.errors import ModelLoadError, PromptError, UnknownModelError, UnsupportedModelError
from headroles.models.loading.loader import MAX_PROMPT_CHARACTERS, attention_windows, load_model
from headroles.models.untrusted.tokenizer_loader import tokenizer_bytes
from headroles.server.layout import EXAMPLES
from tests.fixtures.architectures import build

TINY = EMBEDDED_FOLDER


def test_an_unknown_model_is_refused_with_those_there_are():
    with pytest.raises(UnknownModelError, match="no model 'gpt5' here; there is headroles-tiny"):
        get_model_info("gpt5")


def test_a_folder_without_a_model_is_refused_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelLoadError, match=r"^empty could not be loaded: it has no readable config\.json\.$"):
        load_model("broken", tmp_path / "empty")


def test_broken_weights_are_refused_in_one_line(tmp_path):
    shutil.copytree(TINY, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").write_bytes(b"\xff" * 1000)
    with pytest.raises(ModelLoadError, match=r"^m could not be loaded: its weights file is broken\.$"):
        load_model("m", tmp_path / "m")


@pytest.mark.parametrize("content", [None, "{"])
def test_a_missing_or_broken_tokenizer_is_refused_in_one_line_without_paths(tmp_path, content):
    shutil.copytree(TINY, tmp_path / "m")
    (tmp_path / "m" / "tokenizer.json").unlink()
    if content:
        (tmp_path / "m" / "tokenizer.json").write_text(content, "utf-8")
    with pytest.raises(ModelLoadError, match="^m could not be loaded: ") as caught:
        load_model("m", tmp_path / "m")
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_missing_part_of_the_weights_is_named_without_paths(tmp_path, tiny):
    shutil.copytree(TINY, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").unlink()
    tiny.model.save_pretrained(tmp_path / "m", max_shard_size="6MB")
    parts = sorted((tmp_path / "m").glob("model-*.safetensors"), key=lambda part: part.stat().st_size)
    parts[0].unlink()
    with pytest.raises(ModelLoadError, match=f"^m could not be loaded: .*{parts[0].name}") as caught:
        load_model("m", tmp_path / "m")
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_pickled_weights_are_never_read(tmp_path):
    shutil.copytree(TINY, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").rename(tmp_path / "m" / "pytorch_model.bin")
    with pytest.raises(UnsupportedModelError, match="pickled weights can run code and are never read"):
        load_model("m", tmp_path / "m")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_layers": 5}, "its config describes 5 layers, but its weights have 4"),
        ({"num_hidden_layers": 10**9}, "a whole number from 1 to 512 as num_hidden_layers"),
        ({"vocab_size": 10**9}, "a whole number from 1 to 4,194,304 as vocab_size"),
        ({"vocab_size": 10**6}, "describes 1,000,000 tokens of 256 numbers each, and none of its tensors has that shape"),
        ({"num_attention_heads": 7}, "a value that cannot be at num_attention_heads"),
        ({"num_attention_heads": 0}, "a whole number from 1 to 512 as num_attention_heads"),
        ({"intermediate_size": 10**6}, "its config describes a larger model than its weights are"),
        ({"intermediate_size": 1000}, "its config, tokenizer and weights do not fit together"),
        ({"hidden_size": "evil"}, "hidden_size"),
    ],
)
def test_a_config_that_does_not_fit_the_weights_is_refused_and_never_filled_up_with_random_numbers(tmp_path, change, message):
    shutil.copytree(TINY, tmp_path / "m")
    config = json.loads((TINY / "config.json").read_text("utf-8"))
    (tmp_path / "m" / "config.json").write_text(json.dumps({**config, **change}), "utf-8")
    with pytest.raises(ModelLoadError, match=f"^m could not be loaded: .*{message}"):
        load_model("m", tmp_path / "m")


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_a_config_cannot_choose_the_code_that_computes_attention(tmp_path, key):
    shutil.copytree(TINY, tmp_path / "m")
    config = json.loads((TINY / "config.json").read_text("utf-8"))
    (tmp_path / "m" / "config.json").write_text(json.dumps({**config, key: "somebody/kernel"}), "utf-8")
    assert load_model("m", tmp_path / "m").model.config._attn_implementation == "eager"


def test_the_revision_of_a_folder_follows_its_weights(tiny):
    digest = hashlib.sha256((TINY / "model.safetensors").read_bytes()).hexdigest()
    assert tiny.revision == f"sha256:{digest[:16]}"


def test_the_weights_take_four_bytes_a_number_and_two_in_half_precision(tiny):
    half = load_model(EMBEDDED_MODEL, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.bfloat16}
    for loaded, bytes_a_number in ((tiny, 4), (half, 2)):
        weights = MODELS[EMBEDDED_MODEL].parameters * bytes_a_number
        assert isinstance(loaded.tokenizer, PreTrainedTokenizerFast)
        assert weights <= loaded.memory_bytes - tokenizer_bytes(loaded.tokenizer) < 1.01 * weights


@pytest.mark.processes
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux tells it")
@pytest.mark.slow
def test_the_memory_that_is_counted_for_a_tokenizer_is_about_what_it_takes(tmp_path):
    """Each kind is opened by a process that holds nothing else of its size; pages of 4 kB and caches are some megabytes."""
    draw, words, merges = random.Random(0), list("abcdefghijklmnopqrstuvwxyz"), {}
    while len(merges) < 60_000:
        pair = draw.choice(words), draw.choice(words)
        if len(word := "".join(pair)) <= 12 and word not in merges:
            merges[word] = pair
            words.append(word)
    vocabulary = {word: number for number, word in enumerate(words)}
    Tokenizer(BPE(vocabulary, list(merges.values()))).save(str(tmp_path / "bpe.json"))
    Tokenizer(Unigram([(word, -1.0) for word in vocabulary], 0)).save(str(tmp_path / "unigram.json"))
    code = """
import sys, psutil
from transformers import PreTrainedTokenizerFast
from headroles.models.untrusted.tokenizer_loader import tokenizer_bytes
before = psutil.Process().memory_info().rss
tokenizer = PreTrainedTokenizerFast(tokenizer_file=sys.argv[1])
print(psutil.Process().memory_info().rss - before, tokenizer_bytes(tokenizer))
"""
    for kind in ("bpe", "unigram"):
        command = [sys.executable, "-c", code, str(tmp_path / f"{kind}.json")]
        environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "0"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        taken, counted = map(int, done.stdout.split())
        assert taken / 2 < counted < 2 * taken, f"{kind}: {taken:,} bytes taken, {counted:,} counted"


@pytest.mark.parametrize(
    ("model_type", "changes", "windows"),
    [
        ("gpt2", {}, (None, None, None)),
        ("mistral", {}, (12, 12, 12)),
        ("gemma2", {}, (12, None, 12)),
        ("gemma3_text", {}, (12, None, 12)),
        ("gpt_neo", {}, (None, 12, None)),
        ("qwen2", {}, (None, None, None)),  # has a width that it does not use
        ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}, (None, 8, 8)),
    ],
)
def test_each_layer_sees_as_far_back_as_its_config_says(model_type, changes, windows):
    assert attention_windows(build(model_type, **changes).config) == windows


def test_the_embedded_model_reads_a_bos_and_256_tokens(tiny):
    assert tiny.prepend_bos
    assert tiny.max_tokens == 256
    assert tiny.encode("The king")[0] == tiny.tokenizer.bos_token_id
    assert not tiny.model.training


def test_a_model_whose_tokenizer_adds_no_bos_is_read_without_one(random_model, tiny):
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    from headroles.models.loading.loader import LoadedModel

    plain = Tokenizer.from_str(tiny.tokenizer.backend_tokenizer.to_str())
    plain.post_processor = processors.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<|endoftext|>")
    loaded = LoadedModel("m", random_model("gpt2").model, tokenizer, "r")
    assert not loaded.prepend_bos
    assert loaded.encode("The king") == tiny.encode("The king")[1:]
    assert loaded.tokenizer_sha256 == tiny.tokenizer_sha256


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t "])
def test_an_empty_prompt_is_refused(tiny, prompt):
    with pytest.raises(PromptError, match="no text to look at"):
        tiny.encode(prompt)


@pytest.mark.parametrize("prompt", [None, 7, ["a", "b"], b"a"])
def test_what_is_no_text_is_refused_by_its_kind(tiny, prompt):
    with pytest.raises(PromptError, match=f"A text was expected, but {type(prompt).__name__} came"):
        tiny.encode(prompt)


def test_a_long_prompt_is_refused_with_limit_and_count(tiny):
    longest = "a" + " a" * 254  # and a BOS
    assert len(tiny.encode(longest)) == tiny.max_tokens == 256
    assert tiny.can_encode(longest)
    with pytest.raises(PromptError, match=r"^Your text has 257 tokens; headroles-tiny reads at most 256 here\. Shorten it\.$"):
        tiny.encode(longest + " a")
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
