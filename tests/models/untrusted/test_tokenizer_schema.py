"""What a stranger's tokenizer.json may hold, and that what is passed on says the same to the library as the file did."""

import json
from itertools import product
from types import SimpleNamespace

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from headroles.core.registry import EMBEDDED_FOLDER
from headroles.hub.plain_files import UnfitError
from headroles.models.untrusted import tokenizer_loader as tokenizing
from headroles.models.untrusted.tokenizer_schema import MAX_GROWTH, parse_tokenizer

VOCABULARY = {"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3, "b": 4, "ab": 5, "##b": 6}
MODELS_OF_THE_LIBRARY = {
    "BPE": models.BPE(VOCABULARY, [("a", "b")], unk_token="<unk>", byte_fallback=True),
    "Unigram": models.Unigram([("<unk>", 0.0), ("a", -1.5), ("b", -2.5)], unk_id=0),
    "WordPiece": models.WordPiece(VOCABULARY, unk_token="<unk>"),
    "WordLevel": models.WordLevel(VOCABULARY, unk_token="<unk>"),
}
NORMALIZERS = [
    normalizers.NFC(), normalizers.NFD(), normalizers.NFKC(), normalizers.NFKD(), normalizers.Lowercase(), normalizers.Strip(),
    normalizers.StripAccents(), normalizers.Nmt(), normalizers.BertNormalizer(), normalizers.Prepend("\u2581"),
    normalizers.Replace(" ", "\u2581"), normalizers.Replace(Regex(" {2,}"), " "), normalizers.ByteLevel(),
    normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]),
]  # fmt: skip
PRE_TOKENIZERS = [
    pre_tokenizers.BertPreTokenizer(), pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.CharDelimiterSplit("-"),
    pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation(),
    pre_tokenizers.Split(Regex(r"\p{L}+"), "isolated", invert=True), pre_tokenizers.Split(" ", "merged_with_next"),
    pre_tokenizers.UnicodeScripts(), pre_tokenizers.Whitespace(), pre_tokenizers.WhitespaceSplit(),
    pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(" "), "removed"), pre_tokenizers.ByteLevel(use_regex=False)]),
]  # fmt: skip
POST_PROCESSORS = [
    processors.ByteLevel(trim_offsets=False), processors.BertProcessing(("</s>", 2), ("<s>", 1)),
    processors.RobertaProcessing(("</s>", 2), ("<s>", 1)),
    processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> $B </s>", [("<s>", 1), ("</s>", 2)]),
    processors.Sequence([processors.ByteLevel(), processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 1)])]),
]  # fmt: skip
DECODERS = [
    decoders.BPEDecoder(), decoders.ByteFallback(), decoders.ByteLevel(), decoders.Fuse(), decoders.Metaspace(),
    decoders.Replace("\u2581", " "), decoders.Strip(" ", 1, 0), decoders.WordPiece(),
    decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]),
]  # fmt: skip


def plain(model: models.Model | None = None) -> Tokenizer:
    tokenizer = Tokenizer(model or MODELS_OF_THE_LIBRARY["BPE"])
    tokenizer.add_special_tokens([AddedToken("<s>", lstrip=True), "</s>"])
    return tokenizer


def passed_on(tokenizer: Tokenizer) -> Tokenizer:
    return Tokenizer.from_str(parse_tokenizer(tokenizer.to_str().encode()).to_json())


def changed(**parts: object) -> bytes:
    return json.dumps({**json.loads(plain().to_str()), **parts}).encode()


@pytest.mark.parametrize("kind", MODELS_OF_THE_LIBRARY)
def test_every_kind_of_model_is_passed_on_as_it_was(kind):
    tokenizer = plain(MODELS_OF_THE_LIBRARY[kind])
    assert passed_on(tokenizer).to_str() == tokenizer.to_str()


@pytest.mark.parametrize(
    ("place", "part"),
    [
        *product(["normalizer"], NORMALIZERS),
        *product(["pre_tokenizer"], PRE_TOKENIZERS),
        *product(["post_processor"], POST_PROCESSORS),
        *product(["decoder"], DECODERS),
    ],
)
def test_every_known_part_is_passed_on_as_it_was(place, part):
    tokenizer = plain()
    setattr(tokenizer, place, part)
    assert passed_on(tokenizer).to_str() == tokenizer.to_str()


def test_the_parts_that_are_tested_here_are_all_that_the_library_has_but_for_those_that_are_refused():
    refused = {"Precompiled", "FixedLength", "CTC"}
    for kind, known in ((normalizers, NORMALIZERS), (pre_tokenizers, PRE_TOKENIZERS), (decoders, DECODERS)):
        base = getattr(kind, {normalizers: "Normalizer", pre_tokenizers: "PreTokenizer", decoders: "Decoder"}[kind])
        has = {name for name, value in vars(kind).items() if isinstance(value, type) and issubclass(value, base)}
        assert has - {base.__name__, "DecodeStream"} - refused == {type(part).__name__ for part in known}


def test_a_published_tokenizer_says_the_same_as_before():
    content = (EMBEDDED_FOLDER / "tokenizer.json").read_bytes()
    assert Tokenizer.from_str(parse_tokenizer(content).to_json()).to_str() == Tokenizer.from_str(content.decode()).to_str()


def test_an_old_file_that_does_not_name_the_kind_of_its_model_is_read():
    content = json.loads(plain().to_str())
    del content["model"]["type"]
    parsed = parse_tokenizer(json.dumps(content).encode())
    assert Tokenizer.from_str(parsed.to_json()).to_str() == plain().to_str()


def test_what_it_says_of_cutting_and_padding_is_left_out():
    tokenizer = plain()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=50_000)
    assert passed_on(tokenizer).to_str() == plain().to_str()


def test_the_largest_id_counts_what_is_added_and_what_templates_put_in():
    assert parse_tokenizer(plain().to_str().encode()).largest_id() == 6
    tokenizer = plain()
    tokenizer.add_tokens(["zorbat"])
    assert parse_tokenizer(tokenizer.to_str().encode()).largest_id() == 7
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "$A $B", [("<s>", 99)])
    assert parse_tokenizer(tokenizer.to_str().encode()).largest_id() == 99
    tokenizer.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 1234))
    assert parse_tokenizer(tokenizer.to_str().encode()).largest_id() == 1234


DOUBLING = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"normalizer": {"type": "Sequence", "normalizers": [DOUBLING] * 7}}, f"make a text more than {MAX_GROWTH} times longer"),
        ({"normalizer": {"type": "Sequence", "normalizers": [DOUBLING] * 33}}, "a part that is not known at normalizer"),
        ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [BYTES] * 4}}, f"more than {MAX_GROWTH} times longer"),
        ({"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "a"}}, "at normalizer.pattern"),
        ({"normalizer": {"type": "Replace", "pattern": {"Regex": "a" * 2001}, "content": ""}}, "at normalizer.pattern"),
        ({"normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 65}}, "at normalizer.content"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "a part that is not known at normalizer"),
        ({"normalizer": {"type": ["NFC"]}}, "a part that is not known at normalizer"),
        ({"model": {**json.loads(plain().to_str())["model"], "dropout": 0.5}}, "a part that is not known at model"),
        (
            {"model": {**json.loads(plain().to_str())["model"], "unk_token": "<none>"}},
            "an unknown token that is not in the vocab",
        ),
        ({"model": {"type": "Unigram", "vocab": [["a", -1.0]], "unk_id": 1}}, "an unknown token that is not in the vocabulary"),
        ({"model": {"type": "WordLevel", "vocab": {"a": -1}, "unk_token": "a"}}, "a part that is not known at model.vocab"),
        ({"model": {"type": "WordLevel", "vocab": {"a": 1, "b": 1}, "unk_token": "a"}}, "two tokens with one id"),
        ({"model": {"type": "WordLevel", "vocab": {"a" * 1025: 1}, "unk_token": "a"}}, "a part that is not known at model.vocab"),
        ({"model": {"type": "WordLevel", "vocab": "/etc/passwd", "unk_token": "a"}}, "a part that is not known at model.vocab"),
        ({"model": None}, "a part that is not known at model"),
        ({"version": "2.0"}, "a part that is not known at version"),
        ({"added_tokens": [{"id": 1, "content": ""}]}, "at added_tokens.content"),
    ],
)
def test_what_is_not_known_or_too_large_is_refused_by_its_place(change, reason):
    with pytest.raises(UnfitError, match=f"^its tokenizer.json has .*{reason}"):
        parse_tokenizer(changed(**change))


def test_a_template_that_multiplies_the_text_is_refused():
    text = {"Sequence": {"id": "A", "type_id": 0}}
    template = {"type": "TemplateProcessing", "single": [text, text], "pair": [], "special_tokens": {}}
    with pytest.raises(UnfitError, match="a template that does not hold the text exactly once at post_processor"):
        parse_tokenizer(changed(post_processor=template))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"null", b"\xff\xfe{\x00}\x00", b"[" * 100_000, b'{"model": ' * 100_000])
def test_what_is_no_json_object_or_nested_without_end_is_refused(content):
    with pytest.raises(UnfitError, match=r"^its tokenizer\.json has "):
        parse_tokenizer(content)


def test_sequences_in_sequences_are_refused_however_deep():
    for depth in (4, 50, 5_000):
        nested: bytes = b'{"type": "NFC"}'
        for _ in range(depth):
            nested = b'{"type": "Sequence", "normalizers": [' + nested + b"]}"
        content = changed(normalizer=0).replace(b'"normalizer": 0', b'"normalizer": ' + nested)
        with pytest.raises(UnfitError, match=r"^its tokenizer\.json has (too many parts|a part that is not known)"):
            parse_tokenizer(content)


def test_nothing_of_the_file_stands_in_the_reason():
    secret = "s3cret-of-the-server"
    for change in ({"normalizer": {"type": secret}}, {"version": secret}, {secret: secret, "model": secret}):
        with pytest.raises(UnfitError) as caught:
            parse_tokenizer(changed(**change))
        assert secret not in str(caught.value)
        assert caught.value.__cause__ is None


class PanicError(BaseException):
    """As what a library written in Rust raises."""


@pytest.mark.parametrize("error", [PanicError("range end index out of range"), Exception("Token `s3cret` out of vocabulary")])
def test_what_the_library_makes_of_a_file_that_passed_is_said_without_its_words(error, tmp_path, monkeypatch):
    def fail(_: str) -> None:
        raise error

    (tmp_path / "tokenizer.json").write_text(plain().to_str(), "utf-8")
    monkeypatch.setattr(tokenizing, "RustTokenizer", SimpleNamespace(from_str=fail))
    with pytest.raises(UnfitError, match=r"^its tokenizer\.json does not fit together\.$"):
        tokenizing.open_tokenizer(tmp_path, 100)
