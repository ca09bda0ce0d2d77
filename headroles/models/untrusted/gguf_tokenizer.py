"""A GGUF file's tokenizer, as a tokenizer.json would have it.

The file brings tokens, merges or scores, and a name for the way in which texts are split before the merges; llama.cpp's source
(`llama-vocab.cpp`) says what each name means. An unknown name is refused: split in another way, a text has nearly the same
tokens, and nobody would notice. transformers' own conversion, private and changing, splits such texts as GPT-2 does.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.tokenization_utils_base import generate_merges

from headroles.hub.gguf import Gguf, read_gguf, read_lists
from headroles.hub.plain_files import UnfitError, shorten

Json = dict[str, Any]
Lists = Mapping[str, list[Any]]  # the file's, by their names after PREFIX
Named = Mapping[str, str | None]  # the special tokens: bos, eos, unk
PREFIX = "tokenizer.ggml."
LISTS = ("tokens", "scores", "token_type", "merges")
CONTROL, USER_DEFINED = 3, 4  # kinds of tokens that no merge makes: those that stand for no text, and those that are text
MAX_LENGTH = 1024  # of a token; the longest of published vocabularies are runs of 256 spaces
MAX_SQUARES = 2**28  # sum of all tokens' squared lengths: the steps to find merges that a file does not list; Gemma's take 2**24
# ways to split, by llama.cpp's names; transformers has most of the patterns too, but only from 5.17, in a private module
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
# the way of older files, which do not name it, where the architecture has one tokenizer only
OLDER = {"gpt2": "gpt-2", "bloom": "bloom", "qwen2": "qwen2", "qwen3": "qwen2", "starcoder2": "starcoder"}
WHOLE_WORDS_FIRST = BOS_FIRST = LLAMA3 | {"tekken"}  # unless the file says otherwise
COMPOSED = {"qwen2", "stablelm2"}  # their own tokenizers compose accents first (NFC), which no GGUF file says
GEMMAS = {"gemma2", "gemma3"}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
WORDS = {**BYTES, "use_regex": True}
SPACE = "\u2581"  # how SentencePiece writes one
NOT_READ = ("remove_extra_whitespaces", "precompiled_charsmap")


def read_gguf_tokenizer(path: Path) -> tuple[bytes, Mapping[str, Any]]:
    """The contents of tokenizer.json and of tokenizer_config.json, neither of them checked.

    Raises UnfitError when the file does not say how texts are split, or names a way that is not known here.
    """
    file = read_gguf(path)
    values = {key.removeprefix(PREFIX): value for key, value in file.values.items() if key.startswith(PREFIX)}
    lists = {key.removeprefix(PREFIX): items for key, items in read_lists(path, [PREFIX + name for name in LISTS]).items()}
    _check(values, lists, file)
    # `gguf_config` has checked the ids
    named = {
        name: lists["tokens"][values[key]] if (key := f"{long}_token_id") in values else None
        for name, long in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"))
    }
    match values.get("model"):
        case "gpt2":
            content = _byte_level(values, lists, file.architecture)
        case "llama":
            content = _sentence_piece(values, lists, file.architecture)
            content["model"]["unk_token"] = named["unk"]
        case other:
            raise UnfitError(f"its tokenizer is of the kind {shorten(str(other))}; gpt2 and llama are read.")
    content["added_tokens"] = _added(lists, content["model"]["vocab"], named)
    content["post_processor"] = _around(values, named)
    return json.dumps({"version": "1.0", **content}).encode(), {f"{name}_token": token for name, token in named.items()}


def _check(values: Mapping[str, Any], lists: Lists, file: Gguf) -> None:
    """Raises UnfitError for lists of something else, tokens that are too long, and settings that are not known here."""
    tokens, merges = lists.get("tokens", []), lists.get("merges", [])
    if not tokens or not all(isinstance(token, str) for token in (*tokens, *merges)):
        raise UnfitError("it has no list of tokens, or tokens or merges that are not text.")
    longest = max(map(len, tokens))
    if longest > MAX_LENGTH:
        raise UnfitError(f"it has a token of {longest:,} characters; at most {MAX_LENGTH:,} are read.")
    if not merges and sum(len(token) ** 2 for token in tokens) > MAX_SQUARES:
        raise UnfitError("its tokens are longer than any model's.")
    for name in NOT_READ:
        if values.get(name) or PREFIX + name in file.lists:
            raise UnfitError(f"its tokenizer does {name}, which is not known here.")
    for name in ("add_bos_token", "add_eos_token", "add_space_prefix"):
        if not isinstance(values.get(name, True), bool):
            raise UnfitError(f"its {PREFIX}{name} is neither true nor false.")


def _byte_level(values: Json, lists: Lists, architecture: str) -> Json:
    """Byte-level BPE, as GPT-2 has it: merges of bytes, each of which is written as a character."""
    if values.get("add_space_prefix"):
        raise UnfitError("its tokenizer puts a space before a text, which is not known of its kind.")
    way = str(values.get("pre", "default"))
    if way == "default":
        way = OLDER.get(architecture, "")
        if not way:
            raise UnfitError("its tokenizer does not say in which way it splits texts (tokenizer.ggml.pre).")
    values.setdefault("add_bos_token", way in BOS_FIRST)
    return {
        "normalizer": {"type": "NFC"} if way in COMPOSED else None,
        "pre_tokenizer": _split(way),
        "decoder": WORDS,
        "model": {**_bpe(lists["tokens"], _pairs(lists.get("merges", []))), "ignore_merges": way in WHOLE_WORDS_FIRST},
    }


def _split(way: str) -> Json:
    """The pre-tokenizer."""
    if way in AS_GPT2:
        return WORDS
    if way in DIGITS_APART:
        return _sequence("pretokenizers", {"type": "Digits", "individual_digits": True}, WORDS)
    if way in SPLITS:
        pattern = {"Regex": SPLITS[way]}
        return _sequence("pretokenizers", {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}, BYTES)
    raise UnfitError(f"its tokenizer splits texts in the way {shorten(way)}, which is not known here.")


def _sentence_piece(values: Json, lists: Lists, architecture: str) -> Json:
    """BPE, as Llama 2 has it: merges of characters, the best-scored token first; what is in no token becomes bytes."""
    tokens, scores = lists["tokens"], lists.get("scores")
    is_gemma = architecture in GEMMAS
    if is_gemma:
        # files write a token of spaces as spaces, and Gemma's scores do not follow the order of its merges: its ids do
        tokens = [SPACE * len(token) if " " in token and not token.strip() else token for token in tokens]
        scores = [-float(number) for number in range(len(tokens))]
    model = _bpe(tokens, _pairs(lists.get("merges", [])))
    if not model["merges"]:
        if not scores:
            raise UnfitError("its tokenizer has neither merges nor scores.")
        model["merges"] = generate_merges(model["vocab"], dict(zip(tokens, scores)))
    values.setdefault("add_bos_token", True)
    normal = [{"type": "Replace", "pattern": {"String": " "}, "content": SPACE}]
    decoded = [{"type": "Replace", "pattern": {"String": SPACE}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]
    if values.get("add_space_prefix", not is_gemma):
        normal.insert(0, {"type": "Prepend", "prepend": SPACE})
        decoded.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {
        "normalizer": _sequence("normalizers", *normal),
        "pre_tokenizer": None,
        "decoder": _sequence("decoders", *decoded),
        "model": {**model, "byte_fallback": True, "fuse_unk": True},
    }


def _bpe(tokens: list[str], merges: list[tuple[str, str]]) -> Json:
    return {"type": "BPE", "vocab": {token: number for number, token in enumerate(tokens)}, "merges": merges}


def _pairs(merges: list[str]) -> list[tuple[str, str]]:
    return [(first, second) for first, _, second in (merge.partition(" ") for merge in merges)]


def _added(lists: Lists, vocabulary: Mapping[str, int], named: Named) -> list[Json]:
    """The tokens that stay whole, whatever the merges say: in a file without kinds of tokens those that it names."""
    kinds = dict(zip(lists["tokens"], lists.get("token_type", []))) or {token: CONTROL for token in named.values() if token}
    added = [(vocabulary[token], token, kind) for token, kind in kinds.items() if token in vocabulary and token]
    rest = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return [
        {"id": number, "content": token, "special": kind == CONTROL, **rest}
        for number, token, kind in sorted(added)
        if kind in (CONTROL, USER_DEFINED)
    ]


def _around(values: Mapping[str, Any], named: Named) -> Json | None:
    """The post-processor, which puts a BOS before a text and an EOS behind it if the file says so."""
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
