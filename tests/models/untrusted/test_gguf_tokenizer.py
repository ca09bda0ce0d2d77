"""Texts become the same tokens by a GGUF file as by the tokenizer that it was written from."""

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from headroles.errors import ModelLoadError
from headroles.hub.plain_files import UnfitError
from headroles.models.loading.loader import load_model
from headroles.models.untrusted.gguf_tokenizer import SPLITS
from headroles.models.untrusted.tokenizer_loader import open_tokenizer
from tests.fixtures.architectures import build
from tests.fixtures.gguf_files import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, Contents, byte_level, contents_of, write

TEXTS = (
    "The king and the queen lived in a castle.",
    "In 1984 there were 12345 kings, 007 of them in 3.14159 castles",
    "  two spaces,   three,\ttab\n\nlines \r\n end  ",
    "It's, IT'S, they'LL; \u00fcber caf\u00e9, na\u00efve, e\u0301 decomposed",
    "\U0001f600 smile \u65e5\u672c\u8a9e\u3002\u300c\u5b57\u300d\uff0c\u0430\u0431\u0432 \u0645\u0631\u062d\u0628\u0627\u060c x",
    "def f(x):\n    return x ** 2  # (|1,000.5|)\n",
    "a",
)
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
WORDS = {**BYTES, "use_regex": True}


def split(pattern: str) -> dict[str, Any]:
    first = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [first, BYTES]}


DIGITS = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, WORDS]}
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# as it stands in the tokenizer.json of what was published: its normalizer, how it cuts, and whether whole words come first
PUBLISHED: dict[str, tuple[dict[str, Any] | None, dict[str, Any], bool]] = {
    "gpt-2": (None, WORDS, False),  # GPT-2
    "llama-bpe": (None, split(LLAMA3), True),  # Llama 3
    "qwen2": ({"type": "NFC"}, split(LLAMA3.replace("{1,3}", "")), False),  # Qwen 2.5 and 3
    "smollm": (None, DIGITS, False),  # SmolLM2
    "starcoder": (None, DIGITS, False),  # StarCoder2
    "bloom": (None, split(" ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"), False),  # BLOOM
}


@pytest.fixture
def opened(tmp_path) -> Callable[..., PreTrainedTokenizerFast]:
    """The tokenizer of a file that has these keys, and weights so small that nothing else could be read from it."""

    def opened(keys: dict[str, Any], architecture: str = "llama") -> PreTrainedTokenizerFast:
        weights = {"token_embd.weight": np.zeros((len(keys["tokenizer.ggml.tokens"]), 1), np.float32)}
        return open_tokenizer(write(tmp_path / "m.gguf", Contents(architecture, keys, weights)), 10**6)

    return opened


def ids_of(tokenizer: PreTrainedTokenizerFast, text: str = "The king") -> list[int]:
    return tokenizer.encode(text, split_special_tokens=True)


def pieces(tokenizer: Tokenizer) -> list[list[str]]:
    """What the texts are split into before the merges."""
    splitter = tokenizer.pre_tokenizer
    assert splitter is not None
    return [[piece for piece, _ in splitter.pre_tokenize_str(text)] for text in TEXTS]


@pytest.mark.parametrize("way", PUBLISHED)
def test_a_byte_level_tokenizer_splits_as_the_published_one(way, tiny, opened):
    original = json.loads(tiny.tokenizer.backend_tokenizer.to_str())
    normalizer, splitter, words_first = PUBLISHED[way]
    original |= {"normalizer": normalizer, "pre_tokenizer": splitter, "post_processor": None}
    original["model"]["ignore_merges"] = words_first
    published = Tokenizer.from_str(json.dumps(original))
    keys = {**byte_level(tiny.tokenizer, way), "tokenizer.ggml.add_bos_token": False}
    tokenizer = opened(keys)
    for text in TEXTS:
        ids = ids_of(tokenizer, text)
        assert ids == published.encode(text).ids
        assert tokenizer.decode(ids) == published.decode(ids)
    as_gpt2 = opened({**keys, "tokenizer.ggml.pre": "gpt-2"})
    assert pieces(tokenizer.backend_tokenizer) == pieces(published)
    assert (way == "gpt-2") == (pieces(published) == pieces(as_gpt2.backend_tokenizer))


def test_words_come_whole_before_the_merges_where_llama_3_takes_them_so(tiny, opened):
    keys = byte_level(tiny.tokenizer)
    merges = [merge for merge in keys["tokenizer.ggml.merges"] if merge.replace(" ", "") != "\u0120king"]
    king = keys["tokenizer.ggml.tokens"].index("\u0120king")
    for way, is_whole in {"gpt-2": False, "llama-bpe": True, "tekken": True}.items():
        ids = ids_of(opened({**keys, "tokenizer.ggml.merges": merges, "tokenizer.ggml.pre": way}), "a king")
        assert (king in ids) == is_whole


@pytest.mark.parametrize("said", [None, True, False])
@pytest.mark.parametrize(
    ("way", "usual"), {"gpt-2": False, "qwen2": False, "smollm": False, "llama-bpe": True, "tekken": True}.items()
)
def test_a_bos_is_put_before_a_text_as_the_file_says_or_else_as_llama_cpp_does(way, usual, said, tiny, opened):
    keys = byte_level(tiny.tokenizer, way)
    plain = ids_of(opened({**keys, "tokenizer.ggml.add_bos_token": False}))
    if said is not None:
        keys["tokenizer.ggml.add_bos_token"] = said
    before = [0] * (usual if said is None else said)
    assert ids_of(opened(keys)) == before + plain
    assert ids_of(opened({**keys, "tokenizer.ggml.add_eos_token": True})) == [*before, *plain, 0]


def test_the_patterns_are_those_of_transformers_where_it_has_them():
    theirs = pytest.importorskip("transformers.integrations.gguf.gguf_tokenizer_mapping").GGUF_PRE_TOKENIZER_SPLITS
    assert {way: SPLITS.get(way) for way in theirs} == theirs


def test_every_way_to_split_that_is_said_to_be_known_opens(tiny, opened):
    for way in SPLITS:
        assert ids_of(opened(byte_level(tiny.tokenizer, way)))


@pytest.mark.parametrize("architecture", ["gpt2", "bloom", "qwen2", "qwen3", "starcoder2"])
def test_an_older_file_that_does_not_say_how_is_split_as_its_architecture_is(architecture, tiny, opened):
    way = {"gpt2": "gpt-2", "bloom": "bloom", "starcoder2": "starcoder"}.get(architecture, "qwen2")
    said, unsaid = (opened(byte_level(tiny.tokenizer, pre), architecture) for pre in (way, None))
    assert all(ids_of(unsaid, text) == ids_of(said, text) for text in TEXTS)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a way to split that nobody knows": ({"pre": "newest"}, "its tokenizer splits texts in the way newest, which is not known"),
    "no way to split": ({"pre": "default"}, "does not say in which way it splits texts"),
    "another kind": ({"model": "bert"}, "its tokenizer is of the kind bert; gpt2 and llama are read"),
    "no kind": ({"model": 7}, "its tokenizer is of the kind 7"),
    "a space before each text": ({"add_space_prefix": True}, "its tokenizer puts a space before a text"),
    "spaces taken away": ({"remove_extra_whitespaces": True}, "its tokenizer does remove_extra_whitespaces"),
    "a table of characters": ({"precompiled_charsmap": [1, 2, 3]}, "its tokenizer does precompiled_charsmap"),
    "a BOS that is neither": ({"add_bos_token": "yes"}, "add_bos_token is neither true nor false"),
    "a BOS that is not named": ({"pre": "tekken", "bos_token_id": None}, r"not say which \(tokenizer\.ggml\.bos_token_id\)"),
    "numbers for tokens": ({"tokens": [1, 2, 3]}, "tokens or merges that are not text"),
    "merges of nothing": ({"merges": ["zzzz qqqq"]}, "does not fit together"),
    "merges of one token": ({"merges": ["a"]}, "does not fit together"),
    "a long token": ({"tokens": ["a", "b" * 2000]}, "it has a token of 2,000 characters; at most 1,024"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_tokenizer_that_is_not_known_is_refused_by_name(what, tiny, opened):
    changes, message = REFUSED[what]
    keys = byte_level(tiny.tokenizer) | {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    with pytest.raises(UnfitError, match=message):
        opened({key: value for key, value in keys.items() if value is not None})


def test_a_file_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(ModelLoadError, match="it has no list of tokens"):
        load_model("m", write(tmp_path / "m.gguf", contents_of(build("llama"))))


def test_special_tokens_in_letters_that_bytes_do_not_have_stay_whole_and_keep_their_ids(tiny, opened):
    """As those of DeepSeek's distilled models; and no token that GPT-2 has is added."""
    keys = byte_level(tiny.tokenizer, "llama-bpe")
    strange, tool = "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<tool call>"
    tokens = keys["tokenizer.ggml.tokens"] = [strange, *keys["tokenizer.ggml.tokens"][1:], tool]
    keys["tokenizer.ggml.token_type"] = [*keys["tokenizer.ggml.token_type"], USER_DEFINED]
    tokenizer = opened(keys)
    assert len(tokenizer) == len(tokens)
    assert tokenizer.bos_token == strange
    assert tokenizer.encode("king")[0] == tokenizer.bos_token_id == 0
    assert ids_of(tokenizer, f"a {tool}b").count(len(tokens) - 1) == 1
    assert ids_of(tokenizer, f"a {strange}b").count(0) == 1  # the one before the text
    assert tokenizer.decode([0, len(tokens) - 1]) == strange + tool


# a vocabulary as SentencePiece makes them: words, each of which is two others, the first ones best
MERGED = "he th the _the in ng ing _k _king _q ue en een _queen an and _and __ _c astle st ast le 12".replace(
    "_", "\u2581"
).split()
MERGED += ["\u2581castle", "\u00e9e", "er", "\u2581w", "ere", "\u2581were", "\u2581\u2581\u2581\u2581"]
LETTERS = ["\u2581", *"abcdefghijklmnopqrstuvwxyzTI0123456789.,'\u00e9\u00fc\n"]
SPECIAL = ["<unk>", "<s>", "</s>"]


def sentence_piece(**changes: object) -> dict[str, Any]:
    found = [f"<0x{byte:02X}>" for byte in range(256)]
    tokens = [*SPECIAL, *found, *MERGED, *LETTERS]
    ranks = [0.0] * (len(SPECIAL) + len(found)) + [-float(rank) for rank in range(len(MERGED) + len(LETTERS))]
    kinds = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * len(found), *[NORMAL] * (len(MERGED) + len(LETTERS))]
    keys: dict[str, object] = {"model": "llama", "pre": "default", "tokens": tokens, "scores": ranks, "token_type": kinds}
    keys |= {"bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0} | changes
    return {f"tokenizer.ggml.{key}": value for key, value in keys.items() if value is not None}


def merged(text: str, keys: dict[str, Any], first: str = "\u2581") -> list[int]:
    """SentencePiece's own way: of all neighbours that are a word together the best-scored become one, the left ones first."""
    tokens = keys["tokenizer.ggml.tokens"]
    numbers = {token: number for number, token in enumerate(tokens)}
    scores = dict(zip(tokens, keys["tokenizer.ggml.scores"]))
    pieces = list(first + text.replace(" ", "\u2581"))
    while pairs := [(-scores[a + b], at) for at, (a, b) in enumerate(pairwise(pieces)) if a + b in numbers]:
        at = min(pairs)[1]
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
    return [
        number
        for piece in pieces
        for number in ([numbers[piece]] if piece in numbers else [numbers[f"<0x{byte:02X}>"] for byte in piece.encode()])
    ]


def test_a_sentence_piece_vocabulary_is_merged_by_its_scores(opened):
    keys = sentence_piece()
    tokenizer = opened(keys)
    for text in TEXTS:
        assert ids_of(tokenizer, text) == [1, *merged(text, keys)]
    assert tokenizer.decode(tokenizer.encode("the \u65e5 king"), skip_special_tokens=True) == "the \u65e5 king"
    assert tokenizer.bos_token_id == 1
    assert "\u2581king" in tokenizer.convert_ids_to_tokens(tokenizer.encode("the king"))


def test_a_file_that_puts_no_space_or_bos_before_a_text_is_taken_at_its_word(opened):
    keys = sentence_piece(add_space_prefix=False, add_bos_token=False)
    tokenizer = opened(keys)
    for text in TEXTS:
        assert ids_of(tokenizer, text) == merged(text, keys, first="")


@pytest.mark.parametrize("architecture", ["gemma2", "gemma3"])
def test_gemmas_words_are_merged_in_the_order_of_their_ids_and_its_spaces_are_words(architecture, opened):
    keys = sentence_piece(add_space_prefix=None)
    tokens = keys["tokenizer.ggml.tokens"]
    ordered = {**keys, "tokenizer.ggml.scores": [-float(number) for number in range(len(tokens))]}
    keys["tokenizer.ggml.scores"] = [-1000.0] * len(tokens)
    keys["tokenizer.ggml.tokens"] = [
        " " * len(token) if set(token) == {"\u2581"} and token != "\u2581" else token for token in tokens
    ]
    tokenizer = opened(keys, architecture)
    for text in TEXTS:
        assert ids_of(tokenizer, text) == [1, *merged(text, ordered, first="")]


def test_merges_that_a_file_lists_count_before_its_scores(opened):
    tokenizer = opened(sentence_piece(merges=["i n"]))
    assert tokenizer.convert_ids_to_tokens(ids_of(tokenizer, "king")) == ["<s>", "\u2581", "k", "in", "g"]


def test_a_vocabulary_without_scores_and_merges_is_refused(opened):
    with pytest.raises(UnfitError, match="neither merges nor scores"):
        opened(sentence_piece(scores=None))


@pytest.mark.parametrize("missing", [0, 1])
def test_a_model_of_such_a_vocabulary_reads_a_bos_and_has_an_embedding_for_each_token(missing, tmp_path):
    keys = sentence_piece()
    rows = len(keys["tokenizer.ggml.tokens"])
    path = write(tmp_path / "m.gguf", contents_of(build("llama", vocab_size=rows - missing)).has(keys))
    if missing:
        with pytest.raises(ModelLoadError, match=f"its tokenizer has {rows} tokens, but its weights know {rows - 1}"):
            load_model("m", path)
        return
    loaded = load_model("m", path)
    assert loaded.prepend_bos
    assert loaded.bos == (1,)
    assert loaded.encode("the king") == (1, *merged("the king", keys))
