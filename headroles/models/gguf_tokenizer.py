"""A GGUF file's tokenizer, as a tokenizer.json would have it.

The file brings tokens, merges or scores, and a word for the way in which texts are cut before the merges; how each way works
stands in llama.cpp (`llama-vocab.cpp`), and here for those that are known. An unknown one is refused: cut in another way, a text
has nearly the same tokens, and nobody would notice.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.tokenization_utils_base import generate_merges

from headroles.hub.files import UnfitError, short
from headroles.hub.gguf import Gguf, read_gguf, read_lists

Json = dict[str, Any]
PREFIX = "tokenizer.ggml."
LISTS = ("tokens", "scores", "token_type", "merges")
CONTROL, USER_DEFINED = 3, 4  # kinds of tokens: those that stand for no text, and those that are cut out of it whole
MAX_LENGTH = 1024  # of a token; the longest of published vocabularies are runs of 256 spaces
MAX_SQUARES = 2**28  # of all tokens' lengths: what it takes to find the merges that a file does not list; Gemma's take 2**24
# Ways to split a text before the merges, by llama.cpp's names. transformers has most of these patterns too, but only from 5.17,
# in a private module, and splits as GPT-2 does where it knows no pattern.
AS_GPT2 = {"gpt-2", "mpt", "olmo", "jais", "phi-2", "trillion"}
DIGITS_APART = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
LLAMA3 = {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"}
_SUFFIXES, _SPACES = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)", r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_FIRST = r"[^\r\n\p{L}\p{N}]?"
_LLAMA3 = rf"{_SUFFIXES}|{_FIRST}\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
_QWEN2 = _LLAMA3.replace("{1,3}", "")
_GPT4O = (
    rf"{_FIRST}{_UPPER}*{_LOWER}+{_SUFFIXES}?|{_FIRST}{_UPPER}+{_LOWER}*{_SUFFIXES}?"
    rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
)
SPLITS = {
    **dict.fromkeys((*LLAMA3, "dbrx", "smaug-bpe"), _LLAMA3),
    **dict.fromkeys(("qwen2", "stablelm2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez"), _QWEN2),
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"), _GPT4O),
    "qwen35": _QWEN2.replace(r"\p{L}+", r"[\p{L}\p{M}]+").replace(r"\s\p{L}", r"\s\p{L}\p{M}"),
    "tekken": _GPT4O.replace(f"{_SUFFIXES}?", "").replace("{1,3}", ""),
    "bloom": " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+",
}
# files from before llama.cpp wrote it down, where the architecture has one tokenizer only
OLDER = {"gpt2": "gpt-2", "bloom": "bloom", "qwen2": "qwen2", "qwen3": "qwen2", "starcoder2": "starcoder"}
WHOLE_WORDS_FIRST = BOS_FIRST = LLAMA3 | {"tekken"}  # unless the file says otherwise
COMPOSED = {"qwen2", "stablelm2"}  # whose own tokenizers compose accents first, which no GGUF file says
GEMMAS = {"gemma2", "gemma3"}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
SPACE = "\u2581"  # how SentencePiece writes one
NOT_READ = ("remove_extra_whitespaces", "precompiled_charsmap")


def read_tokenizer(path: Path) -> tuple[bytes, Mapping[str, Any]]:
    """What would stand in tokenizer.json and in tokenizer_config.json, neither of them checked.

    Raises UnfitError when the file does not say how texts are cut, or in a way that is not known here.
    """
    file = read_gguf(path)
    values = {key.removeprefix(PREFIX): value for key, value in file.values.items() if key.startswith(PREFIX)}
    lists = {key.removeprefix(PREFIX): items for key, items in read_lists(path, [PREFIX + name for name in LISTS]).items()}
    _check(values, lists, file)
    match values.get("model"):
        case "gpt2":
            content = _byte_level(values, lists, file.architecture)
        case "llama":
            content = _sentence_piece(values, lists, file.architecture)
        case other:
            raise UnfitError(f"its tokenizer is of the kind {short(str(other))}; gpt2 and llama are read.")
    named = {name: _token(f"{key}_token_id", values, lists) for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"))}
    content["added_tokens"] = _added(lists, content["model"]["vocab"], named)
    content["post_processor"] = _around(values, named)
    return json.dumps({"version": "1.0", **content}).encode(), {f"{name}_token": token for name, token in named.items()}


def _check(values: Mapping[str, Any], lists: Mapping[str, list[Any]], file: Gguf) -> None:
    """Raises UnfitError for lists of something else, and for what is not done to a text here."""
    tokens, merges = lists.get("tokens", []), lists.get("merges", [])
    if not tokens or not all(isinstance(token, str) for token in (*tokens, *merges)):
        raise UnfitError("its list of tokens is none.")
    if max(map(len, tokens)) > MAX_LENGTH:
        raise UnfitError(f"it has a token of {max(map(len, tokens)):,} characters; at most {MAX_LENGTH:,} are read.")
    if not merges and sum(len(token) ** 2 for token in tokens) > MAX_SQUARES:
        raise UnfitError("its tokens are longer than any model's.")
    for name in NOT_READ:
        if values.get(name) or PREFIX + name in file.lists:
            raise UnfitError(f"its tokenizer does {name}, which is not known here.")
    for name in ("add_bos_token", "add_eos_token", "add_space_prefix"):
        if not isinstance(values.get(name, True), bool):
            raise UnfitError(f"its {PREFIX}{name} is neither true nor false.")


def _byte_level(values: Json, lists: Mapping[str, list[Any]], architecture: str) -> Json:
    """Merges of bytes, each of which is written as a character; as GPT-2 does."""
    if values.get("add_space_prefix"):
        raise UnfitError("its tokenizer puts a space before a text, which is not known here of its kind.")
    way = str(values.get("pre", "default"))
    if way == "default":
        way = OLDER.get(architecture, "")
        if not way:
            raise UnfitError("its tokenizer does not say in which way it cuts texts (tokenizer.ggml.pre).")
    values.setdefault("add_bos_token", way in BOS_FIRST)
    merges = [(first, second) for first, _, second in (merge.partition(" ") for merge in lists.get("merges", []))]
    words = {"vocab": _vocabulary(lists["tokens"]), "merges": merges, "ignore_merges": way in WHOLE_WORDS_FIRST}
    return {
        "normalizer": {"type": "NFC"} if way in COMPOSED else None,
        "pre_tokenizer": _cut(way),
        "decoder": {**BYTES, "use_regex": True},
        "model": {"type": "BPE", **words},
    }


def _cut(way: str) -> Json:
    if way in AS_GPT2:
        return {**BYTES, "use_regex": True}
    if way in DIGITS_APART:
        return _sequence("pretokenizers", {"type": "Digits", "individual_digits": True}, {**BYTES, "use_regex": True})
    if way in SPLITS:
        pattern = {"Regex": SPLITS[way]}
        return _sequence("pretokenizers", {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}, BYTES)
    raise UnfitError(f"its tokenizer cuts texts in the way {short(way)}, which is not known here.")


def _sentence_piece(values: Json, lists: Mapping[str, list[Any]], architecture: str) -> Json:
    """Merges of characters, the best-scored word first, what is in no word as bytes; as Llama 2 does."""
    tokens, scores, merges = lists["tokens"], lists.get("scores"), lists.get("merges")
    is_gemma = architecture in GEMMAS
    if is_gemma:
        # files write a token of spaces as spaces, and Gemma's scores do not follow the order of its merges: its ids do
        tokens = [SPACE * len(token) if " " in token and not token.strip() else token for token in tokens]
        scores = [-float(number) for number in range(len(tokens))]
    vocabulary = _vocabulary(tokens)
    if merges:
        pairs = [(first, second) for first, _, second in (merge.partition(" ") for merge in merges)]
    elif scores:
        pairs = generate_merges(vocabulary, dict(zip(tokens, scores)))
    else:
        raise UnfitError("its tokenizer has neither merges nor scores.")
    values.setdefault("add_bos_token", True)
    begins_with_space = values.get("add_space_prefix", not is_gemma)
    normal = [{"type": "Replace", "pattern": {"String": " "}, "content": SPACE}]
    decoded = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if begins_with_space:
        normal.insert(0, {"type": "Prepend", "prepend": SPACE})
        decoded.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    words = {"vocab": vocabulary, "merges": pairs, "unk_token": _token("unknown_token_id", values, lists)}
    return {
        "normalizer": _sequence("normalizers", *normal),
        "pre_tokenizer": None,
        "decoder": _sequence("decoders", *decoded),
        "model": {"type": "BPE", "byte_fallback": True, "fuse_unk": True, **words},
    }


def _vocabulary(tokens: list[str]) -> dict[str, int]:
    return {token: number for number, token in enumerate(tokens)}


def _token(key: str, values: Mapping[str, Any], lists: Mapping[str, list[Any]]) -> str | None:
    """The token of an id that `gguf_config` has checked."""
    return lists["tokens"][values[key]] if key in values else None


def _added(lists: Mapping[str, list[Any]], vocabulary: Mapping[str, int], named: Mapping[str, str | None]) -> list[Json]:
    """Those that stay whole, whatever the merges say; a file that does not say which means its special ones."""
    kinds = dict(zip(lists["tokens"], lists.get("token_type", [])))
    if not kinds:
        kinds = {token: CONTROL for token in named.values() if token is not None}
    added = [(vocabulary[token], token, kind) for token, kind in kinds.items() if token in vocabulary and token]
    rest = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return [
        {"id": number, "content": token, "special": kind == CONTROL, **rest}
        for number, token, kind in sorted(added)
        if kind in (CONTROL, USER_DEFINED)
    ]


def _around(values: Mapping[str, Any], named: Mapping[str, str | None]) -> Json | None:
    """What puts a BOS before a text and an EOS behind it, as far as the file has it so."""
    text: list[Json] = [{"Sequence": {"id": "A", "type_id": 0}}]
    special = {}
    for name, place in (("bos", 0), ("eos", 2)):
        if not values.get(f"add_{name}_token"):
            continue
        token = named[name]
        if token is None:
            raise UnfitError(f"its tokenizer adds a token to each text, and does not say which ({PREFIX}{name}_token_id).")
        text.insert(place, {"SpecialToken": {"id": token, "type_id": 0}})
        special[token] = {"id": token, "ids": [values[f"{name}_token_id"]], "tokens": [token]}
    if not special:
        return None
    pair = [*text, {"Sequence": {"id": "B", "type_id": 1}}]
    return {"type": "TemplateProcessing", "single": text, "pair": pair, "special_tokens": special}


def _sequence(key: str, *parts: Json) -> Json:
    return {"type": "Sequence", key: list(parts)}
