"""A stranger's tokenizer.json: checked whole before the library sees it, and written anew from what was checked."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from headroles.hub.plain_files import UnfitError
from headroles.models.untrusted.tokenizer_components import (
    MAX_PARTS,
    AnyPart,
    BertProcessing,
    ShortText,
    Template,
    TokenId,
    TokenizerPart,
    TokenText,
    depth,
    growth,
    walk_parts,
)

MAX_TOKENS = 512_000  # Gemma's vocabulary, among the largest, has 262,144
MAX_MERGES = 2 * MAX_TOKENS
MAX_ADDED = 20_000
MAX_DEPTH = 3  # of sequences in sequences
MAX_GROWTH = 100  # how many times longer all steps together may make a text

Vocabulary = Annotated[dict[TokenText, TokenId], Field(max_length=MAX_TOKENS)]


class AddedToken(TokenizerPart):
    id: TokenId
    content: Annotated[str, Field(min_length=1, max_length=512)]
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True
    special: bool = False


class _Model(TokenizerPart):
    """What cuts words into tokens."""

    def vocabulary(self) -> Mapping[str, int]:
        raise NotImplementedError

    def _check_words(self, unknown: str | None) -> None:
        words = self.vocabulary()
        if unknown is not None and unknown not in words:
            raise ValueError("an unknown token that is not in the vocabulary")
        if len(set(words.values())) < len(words):  # which of the two the library takes is chance
            raise ValueError("two tokens with one id")


class BPE(_Model):
    type: Literal["BPE"] = "BPE"
    dropout: None = None  # with one, the same text has other tokens each time
    unk_token: TokenText | None = None
    continuing_subword_prefix: ShortText | None = None
    end_of_word_suffix: ShortText | None = None
    fuse_unk: bool = False
    byte_fallback: bool = False
    ignore_merges: bool = False
    vocab: Vocabulary
    merges: Annotated[list[Annotated[str, Field(max_length=2049)] | tuple[TokenText, TokenText]], Field(max_length=MAX_MERGES)]

    def vocabulary(self) -> Mapping[str, int]:
        return self.vocab

    @model_validator(mode="after")
    def _check_vocabulary(self) -> "BPE":
        self._check_words(self.unk_token)
        return self


class Unigram(_Model):
    type: Literal["Unigram"] = "Unigram"
    unk_id: Annotated[int, Field(ge=0)] | None = None
    byte_fallback: bool = False
    vocab: Annotated[
        list[tuple[TokenText, Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]]],
        Field(min_length=1, max_length=MAX_TOKENS),
    ]

    def vocabulary(self) -> Mapping[str, int]:
        return {token: number for number, (token, _) in enumerate(self.vocab)}

    @model_validator(mode="after")
    def _check_unknown(self) -> "Unigram":
        if self.unk_id is None or self.unk_id >= len(self.vocab):
            raise ValueError("an unknown token that is not in the vocabulary")
        return self


class WordPiece(_Model):
    type: Literal["WordPiece"] = "WordPiece"
    unk_token: TokenText
    continuing_subword_prefix: ShortText = "##"
    max_input_chars_per_word: Annotated[int, Field(ge=1, le=1000)] = 100
    vocab: Vocabulary

    def vocabulary(self) -> Mapping[str, int]:
        return self.vocab

    @model_validator(mode="after")
    def _check_vocabulary(self) -> "WordPiece":
        self._check_words(self.unk_token)
        return self


class WordLevel(WordPiece):
    type: Literal["WordLevel"] = "WordLevel"  # pyright: ignore[reportIncompatibleVariableOverride]


def _kind_of_model(value: Any) -> str:
    """Old files, that of gpt2 among them, do not name the kind."""
    if isinstance(value, _Model):
        return type(value).__name__
    given = value if isinstance(value, dict) else {}
    if "type" in given or not given:
        return str(given.get("type"))
    if "merges" in given:
        return "BPE"
    if isinstance(given.get("vocab"), list):
        return "Unigram"
    return "WordPiece" if "max_input_chars_per_word" in given else "WordLevel"


class TokenizerFile(TokenizerPart):
    """All of a tokenizer.json that is passed on."""

    version: Literal["1.0"] = "1.0"
    truncation: None = None
    padding: None = None
    added_tokens: Annotated[tuple[AddedToken, ...], Field(max_length=MAX_ADDED)] = ()
    normalizer: AnyPart | None = None
    pre_tokenizer: AnyPart | None = None
    post_processor: AnyPart | None = None
    decoder: AnyPart | None = None
    model: Annotated[
        Annotated[BPE, Tag("BPE")]
        | Annotated[Unigram, Tag("Unigram")]
        | Annotated[WordPiece, Tag("WordPiece")]
        | Annotated[WordLevel, Tag("WordLevel")],
        Discriminator(_kind_of_model),
    ]

    @model_validator(mode="before")
    @classmethod
    def _drop_truncation_and_padding(cls, value: Any) -> Any:
        # what it says of cutting and padding does not concern the reading of one text
        return {**value, "truncation": None, "padding": None} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _check_limits(self) -> "TokenizerFile":
        chains = [part for part in (self.normalizer, self.pre_tokenizer, self.post_processor, self.decoder) if part]
        parts = [part for chain in chains for part in walk_parts(chain)]
        if max(map(depth, chains), default=0) > MAX_DEPTH or len(parts) > MAX_PARTS:
            raise ValueError("too many parts")
        if max(growth(self.normalizer, self.pre_tokenizer), growth(self.decoder)) > MAX_GROWTH:
            raise ValueError(f"parts that make a text more than {MAX_GROWTH} times longer")
        return self

    def tokens(self) -> Mapping[str, int]:
        """Every token's id, those that are added included."""
        return {**self.model.vocabulary(), **{token.content: token.id for token in self.added_tokens}}

    def largest_id(self) -> int:
        """The largest number that a text can turn into."""
        processors = list(walk_parts(self.post_processor))
        of_templates = (number for part in processors if isinstance(part, Template) for number in part.ids())
        of_pairs = (pair[1] for part in processors if isinstance(part, BertProcessing) for pair in (part.sep, part.cls))
        return max((*self.tokens().values(), *of_templates, *of_pairs), default=0)

    def to_json(self) -> str:
        """What the library is given."""
        return self.model_dump_json(exclude_unset=True)


def parse_tokenizer(content: bytes) -> TokenizerFile:
    """A tokenizer.json that was checked. Raises UnfitError that says where it leaves what is known, without its content."""
    try:
        return TokenizerFile.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        places = [place for place in first["loc"] if isinstance(place, str) and place in KNOWN_FIELDS]
        what = first["msg"].removeprefix("Value error, ") if first["type"] == "value_error" else "a part that is not known"
        raise UnfitError(f"its tokenizer.json has {what}{' at ' + '.'.join(places) if places else ''}.") from None
    except RecursionError:
        raise UnfitError("its tokenizer.json has too many parts.") from None


KNOWN_FIELDS = frozenset(TokenizerFile.model_fields) | {"vocab", "merges", "pattern", "content", "single", "special_tokens"}
