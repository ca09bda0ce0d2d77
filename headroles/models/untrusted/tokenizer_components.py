"""The parts that a stranger's tokenizer may be made of, after `tokenizers` 0.23, and how far each may stretch a text.

https://huggingface.co/docs/tokenizers/components. The names are those of the files; no part of another kind, no key that a
library would take for a file, nothing random.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_PARTS = 32  # normalizers, pre-tokenizers and so on, those in sequences counted

TokenText = Annotated[str, Field(max_length=1024)]  # the longest tokens of published vocabularies are runs of 256 spaces
ShortText = Annotated[str, Field(max_length=64)]
Pattern = Annotated[str, Field(min_length=1, max_length=2000)]  # those of GPT-4o's tokenizer have 300 characters
TokenId = Annotated[int, Field(ge=0, lt=2**31)]


class TokenizerPart(BaseModel):
    """One part, its known keys alone; what is unknown is not passed on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @property
    def parts(self) -> "tuple[TokenizerPart, ...]":
        """What it is made of, where it is a sequence."""
        return ()

    @property
    def growth(self) -> float:
        """How many times longer it may make a text."""
        return 1.0


class StringPattern(TokenizerPart):
    String: Pattern


class RegexPattern(TokenizerPart):
    Regex: Pattern


AnyPattern = StringPattern | RegexPattern


class SimplePart(TokenizerPart):
    """What makes nothing longer than twice."""

    type: Literal[
        "Strip", "StripAccents", "Nmt", "Whitespace", "WhitespaceSplit", "Digits", "BertPreTokenizer", "UnicodeScripts",
        "Punctuation", "ByteFallback", "Fuse", "WordPiece",
    ]  # fmt: skip
    strip_left: bool = True
    strip_right: bool = True
    individual_digits: bool = False
    behavior: ShortText = "Isolated"
    prefix: ShortText = "##"
    cleanup: bool = True
    content: ShortText = ""
    start: Annotated[int, Field(ge=0, le=64)] = 0
    stop: Annotated[int, Field(ge=0, le=64)] = 0


class UnicodeNormalizer(TokenizerPart):
    type: Literal["NFC", "NFD", "NFKC", "NFKD"]

    @property
    def growth(self) -> float:
        return 18.0  # U+FDFA alone; https://www.unicode.org/faq/normalization.html


class Lowercase(TokenizerPart):
    type: Literal["Lowercase"]

    @property
    def growth(self) -> float:
        return 2.0


class BertNormalizer(TokenizerPart):
    type: Literal["BertNormalizer"]
    clean_text: bool = True
    handle_chinese_chars: bool = True
    strip_accents: bool | None = None
    lowercase: bool = True

    @property
    def growth(self) -> float:
        return 6.0  # a space on each side of a Chinese character, a small letter of two


class Prepend(TokenizerPart):
    type: Literal["Prepend"]
    prepend: ShortText

    @property
    def growth(self) -> float:
        return 1.0 + len(self.prepend)  # a text of one character


class Replace(TokenizerPart):
    type: Literal["Replace"]
    pattern: AnyPattern
    content: ShortText

    @property
    def growth(self) -> float:
        replaced = len(self.pattern.String) if isinstance(self.pattern, StringPattern) else 1
        return max(1.0, len(self.content) / replaced)


class ByteLevel(TokenizerPart):
    type: Literal["ByteLevel"]
    add_prefix_space: bool = True
    trim_offsets: bool = True
    use_regex: bool = True

    @property
    def growth(self) -> float:
        return 4.0  # a character for each byte


class Metaspace(TokenizerPart):
    type: Literal["Metaspace"]
    replacement: Annotated[str, Field(min_length=1, max_length=1)] = "\u2581"
    prepend_scheme: Literal["always", "never", "first"] = "always"
    split: bool = True

    @property
    def growth(self) -> float:
        return 2.0


class Split(TokenizerPart):
    type: Literal["Split"]
    pattern: AnyPattern
    behavior: Literal["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
    invert: bool = False


class CharDelimiterSplit(TokenizerPart):
    type: Literal["CharDelimiterSplit"]
    delimiter: Annotated[str, Field(min_length=1, max_length=1)]


class BPEDecoder(TokenizerPart):
    type: Literal["BPEDecoder"]
    suffix: ShortText = "</w>"


class _SpecialTokenReference(TokenizerPart):
    id: TokenText
    type_id: TokenId = 0


class _TextReference(TokenizerPart):
    id: Literal["A", "B"]
    type_id: TokenId = 0


class SpecialPiece(TokenizerPart):
    SpecialToken: _SpecialTokenReference


class TextPiece(TokenizerPart):
    Sequence: _TextReference


Piece = SpecialPiece | TextPiece


class _SpecialToken(TokenizerPart):
    id: TokenText
    ids: Annotated[list[TokenId], Field(min_length=1, max_length=8)]
    tokens: Annotated[list[TokenText], Field(min_length=1, max_length=8)]


class Template(TokenizerPart):
    type: Literal["TemplateProcessing"]
    single: Annotated[list[Piece], Field(min_length=1, max_length=16)]
    pair: Annotated[list[Piece], Field(max_length=32)]
    special_tokens: Annotated[dict[TokenText, _SpecialToken], Field(max_length=64)]

    @model_validator(mode="after")
    def _check_text_once(self) -> "Template":
        if sum(isinstance(piece, TextPiece) for piece in self.single) != 1:
            raise ValueError("a template that does not hold the text exactly once")
        return self

    def ids(self) -> Iterator[int]:
        for special in self.special_tokens.values():
            yield from special.ids


class BertProcessing(TokenizerPart):
    type: Literal["BertProcessing", "RobertaProcessing"]
    sep: tuple[TokenText, TokenId]
    cls: tuple[TokenText, TokenId]
    trim_offsets: bool = True
    add_prefix_space: bool = True


class PartSequence(TokenizerPart):
    """A sequence, under the key that the library has for each kind."""

    type: Literal["Sequence"]
    normalizers: "Annotated[list[AnyPart], Field(max_length=MAX_PARTS)] | None" = None
    pretokenizers: "Annotated[list[AnyPart], Field(max_length=MAX_PARTS)] | None" = None
    processors: "Annotated[list[AnyPart], Field(max_length=MAX_PARTS)] | None" = None
    decoders: "Annotated[list[AnyPart], Field(max_length=MAX_PARTS)] | None" = None

    @property
    def parts(self) -> tuple[TokenizerPart, ...]:
        return tuple(
            part for some in (self.normalizers, self.pretokenizers, self.processors, self.decoders) for part in some or ()
        )


AnyPart = Annotated[
    SimplePart
    | UnicodeNormalizer
    | Lowercase
    | BertNormalizer
    | Prepend
    | Replace
    | ByteLevel
    | Metaspace
    | Split
    | CharDelimiterSplit
    | BPEDecoder
    | Template
    | BertProcessing
    | PartSequence,
    Field(discriminator="type"),
]  # fmt: skip


def walk_parts(part: TokenizerPart | None) -> Iterator[TokenizerPart]:
    """The part, and all that it is made of."""
    if part:
        yield part
        for inner in part.parts:
            yield from walk_parts(inner)


def depth(part: TokenizerPart) -> int:
    """How many sequences in sequences it is."""
    return 1 + max(map(depth, part.parts), default=0)


def growth(*chains: TokenizerPart | None) -> float:
    """How many times longer a text may become that goes through all of them."""
    return math.prod(part.growth for chain in chains for part in walk_parts(chain))
