"""How a model is loaded, and how text becomes its tokens."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from headroles.core.limits import MAX_PROMPT_CHARACTERS, MAX_PROMPT_TOKENS
from headroles.core.records.compatibility import ModelIdentity
from headroles.core.records.head_categories import WeightsFile
from headroles.core.registry import ModelInfo, get_model_info
from headroles.core.text.tokens import clean_text
from headroles.errors import ModelLoadError, ModelTooLargeError, PromptError, keep_for_debugging, panics_as_errors
from headroles.hub.download import fetch
from headroles.hub.gguf import is_gguf, read_gguf
from headroles.hub.packages import model_source
from headroles.hub.plain_files import UnfitError, is_snapshot, sha256_of
from headroles.hub.repository import RepositoryFacts, inspect, read_config
from headroles.hub.weights import Shapes, tensor_shapes, weight_files
from headroles.models.layer_kinds import other_layers
from headroles.models.loading.model_builder import build_model, check_memory
from headroles.models.untrusted.config_validation import validate_config
from headroles.models.untrusted.sandbox import RemoteTokenizer
from headroles.models.untrusted.tokenizer_loader import open_tokenizer, tokenizer_bytes
from headroles.settings import Settings

# `from_pretrained` patches torch and transformers for the whole process while it builds a model, so one at a time; it only
# reads from the disk, downloads are done before
_LOAD_LOCK = threading.Lock()
Tokenizer = PreTrainedTokenizerFast | RemoteTokenizer
TOKEN_TEXT_CACHE_SIZE = 10_000  # texts of tokens that a model keeps, some hundred bytes each


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory with its tokenizer. Every forward pass of `model` must hold `lock`: hooks are not thread-safe.

    Attributes:
        revision: the commit of its files on the Hub, or else a hash of its weights.
        weights: the file that they came from, if it was one of dequantised weights.
    """

    name: str
    model: PreTrainedModel
    tokenizer: Tokenizer
    revision: str
    weights: WeightsFile | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def prepend_bos(self) -> bool:
        """Whether this model reads a BOS before a text: whatever its own tokenizer does."""
        return adds_bos(self.tokenizer)

    @property
    def bos(self) -> tuple[int, ...]:
        """The ids that this model's tokenizer puts before a text: a BOS or nothing."""
        return (int(str(self.tokenizer.bos_token_id)),) if self.prepend_bos else ()

    @property
    def context_length(self) -> int:
        """How many tokens the model can read at once."""
        return context_length(self.model.config)

    @property
    def memory_bytes(self) -> int:
        """What weights, buffers and the tokenizer take, one in a process of its own with all of that."""
        tokenizer = self.tokenizer
        words = tokenizer.memory_bytes if isinstance(tokenizer, RemoteTokenizer) else tokenizer_bytes(tokenizer)
        return self.model.get_memory_footprint() + words

    @cached_property
    def windows(self) -> tuple[int | None, ...]:
        """How many keys back from the query each layer sees, the query's own included; None for all."""
        return attention_windows(self.model.config)

    @cached_property
    def other_layers(self) -> dict[int, str]:
        """The layers without an attention pattern, by number, and what they are in words."""
        return other_layers(self.model.config)

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """The layers that have an attention pattern, by number."""
        return tuple(layer for layer in range(len(self.windows)) if layer not in self.other_layers)

    @cached_property
    def has_sink(self) -> bool:
        """Whether each head has a learned sink, which takes attention and is no token."""
        return any(name.endswith(".sinks") for name, _ in self.model.named_parameters())

    @property
    def max_tokens(self) -> int:
        """How many tokens a prompt may have, a BOS included."""
        return max_prompt_tokens(self.model.config)

    @cached_property
    def tokenizer_sha256(self) -> str:
        """A hash of the vocabulary: two tokenizers with the same one number their tokens alike."""
        return vocabulary_sha256(self.tokenizer)

    @cached_property
    def identity(self) -> ModelIdentity:
        """What a record of it must agree with."""
        heads = self.model.config.get_text_config().num_attention_heads
        tokens = self.prepend_bos, self.tokenizer_sha256
        return ModelIdentity(self.name, self.revision, len(self.windows), heads, *tokens, tuple(self.other_layers), self.has_sink)

    def close(self) -> None:
        """Ends the process of a tokenizer that has one; the model cannot read texts any more then."""
        if isinstance(self.tokenizer, RemoteTokenizer):
            self.tokenizer.close()

    def encode(self, prompt: str) -> tuple[int, ...]:
        """The prompt's token ids, with a BOS where the model's tokenizer adds one. Special tokens in the text stay text.

        Raises:
            PromptError: when the prompt is empty, blank or too long; names the limit and the count.
        """
        if not isinstance(prompt, str):
            raise PromptError(f"A text was expected, but {type(prompt).__name__} came; several texts go to analyze_batch.")
        if not prompt.strip():
            raise PromptError("There is no text to look at; type a sentence first.")
        if len(prompt) > MAX_PROMPT_CHARACTERS:
            raise PromptError(f"Your text has {len(prompt):,} characters; at most {MAX_PROMPT_CHARACTERS:,} are read.")
        with panics_as_errors(f"This text, as the tokenizer of {self.name} cuts it,"):
            ids = tuple(self.tokenizer.encode(clean_text(prompt), split_special_tokens=True))
        if len(ids) > self.max_tokens:
            raise PromptError(f"Your text has {len(ids):,} tokens; {self.name} reads at most {self.max_tokens} here. Shorten it.")
        return ids

    def can_encode(self, prompt: str) -> bool:
        """Whether it is short enough to be read, and not blank."""
        try:
            return bool(self.encode(prompt))
        except PromptError:
            return False

    def token_texts(self, token_ids: tuple[int, ...]) -> tuple[str, ...]:
        """Each token's own text; a piece of a character that is split over tokens shows as its bytes, `<E2 80>`."""
        return tuple(map(self._text_of, token_ids))

    @cached_property
    def _text_of(self) -> Callable[[int], str]:
        """A token's text, remembered: decoding 250 one by one takes a twentieth of the embedded model's forward over them."""
        return lru_cache(TOKEN_TEXT_CACHE_SIZE)(partial(_token_text, self.tokenizer))


def _token_text(tokenizer: Tokenizer, token_id: int) -> str:
    text = str(tokenizer.decode([token_id], clean_up_tokenization_spaces=False))
    if "\ufffd" not in text:
        return text
    byte_of = {character: byte for byte, character in bytes_to_unicode().items()}
    piece = str(tokenizer.convert_ids_to_tokens(token_id))
    if not all(character in byte_of for character in piece):
        return text
    return "<" + " ".join(f"{byte_of[character]:02X}" for character in piece) + ">"


def adds_bos(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer puts a BOS before a text."""
    bos = tokenizer.bos_token_id
    return bos is not None and tokenizer.encode("a")[0] == bos


def vocabulary_sha256(tokenizer: Tokenizer) -> str:
    """A hash of the vocabulary, as `LoadedModel.tokenizer_sha256`."""
    return hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()


def registered_config(info: ModelInfo) -> PreTrainedConfig:
    """A fresh config of a registered model's size, made without a network."""
    return AutoConfig.for_model(info.model_type, **info.shape)


def context_length(config: PreTrainedConfig) -> int:
    """How many tokens a model of this config can read at once; MAX_PROMPT_TOKENS where it has no limit."""
    return getattr(config.get_text_config(), "max_position_embeddings", None) or MAX_PROMPT_TOKENS


def max_prompt_tokens(config: PreTrainedConfig) -> int:
    """How many tokens, a BOS included, a prompt may have on a model of this config."""
    return min(MAX_PROMPT_TOKENS, context_length(config))


def attention_windows(config: PreTrainedConfig) -> tuple[int | None, ...]:
    """Each layer's sliding window as the config has it: `layer_types`, GPT-Neo's `attention_layers`, or one for all layers."""
    text = config.get_text_config()
    width = getattr(text, "sliding_window", None) or getattr(text, "window_size", None)
    kinds = getattr(text, "layer_types", None) or getattr(text, "attention_layers", None)
    if kinds is None:
        return (width,) * text.num_hidden_layers
    return tuple(width if kind in ("sliding_attention", "local") else None for kind in kinds)


def load_model(
    name: str,
    source: str | Path | RepositoryFacts | None = None,
    dtype: torch.dtype = torch.float32,
    tokenizer: Tokenizer | None = None,
) -> LoadedModel:
    """A model on the CPU, in eval mode, never with code or pickles from its repository.

    Of a source that the registry does not name only what was checked reaches a library: see `config_check` and `tokenizer_file`.

    Args:
        name: what the model is called from now on.
        source: a local folder, a hub id, or what `inspect` found there; by default the registered one.
        dtype: of the weights.
        tokenizer: one that was opened already.

    Raises:
        UnknownModelError: when there is no source and the name is not registered, or the source does not exist.
        UnsupportedModelError: when the architecture cannot be read, or there are only pickled weights.
        ModelLoadError: when the files are missing, broken, gated or out of reach, or are not what they should be.
    """
    source = model_source(get_model_info(name), Settings.from_environment().home) if source is None else source
    facts = source if isinstance(source, RepositoryFacts) else inspect(source)
    folder = fetch(facts)
    model = read_model(name, facts, folder, dtype)
    with _translate_errors(name):
        tokenizer = tokenizer or _read_tokenizer(facts, folder, model.config.get_text_config().vocab_size)
    if is_gguf(folder):
        weights = WeightsFile(
            name=folder.name, sha256=sha256_of([folder]), quantization=read_gguf(folder).quantization, dequantized=True
        )
        return LoadedModel(name, model, tokenizer, _content_revision(weights.sha256), weights)
    return LoadedModel(name, model, tokenizer, _revision(folder))


def read_model(name: str, facts: RepositoryFacts, folder: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A model without its tokenizer, from a folder on this machine. Raises as `load_model` does."""
    with _translate_errors(name), _LOAD_LOCK:
        config, shapes = _read_config(facts, folder)
        check_memory(config, shapes)
        return build_model(config, folder, dtype)


def read_tokenizer(name: str, facts: RepositoryFacts, folder: Path) -> Tokenizer:
    """A model's tokenizer alone, from a folder on this machine; no weight is read. Raises as `load_model` does."""
    with _translate_errors(name):
        config, _ = _read_config(facts, folder)
        return _read_tokenizer(facts, folder, config.get_text_config().vocab_size)


def revision_of(folder: Path) -> str:
    """What `LoadedModel.revision` says of the model in a folder or a GGUF file; its bytes are hashed, none becomes a tensor."""
    return _content_revision(sha256_of([folder])) if is_gguf(folder) else _revision(folder)


def _read_config(facts: RepositoryFacts, folder: Path) -> tuple[PreTrainedConfig, Shapes]:
    shapes = tensor_shapes(folder, trusted=facts.is_registered)
    if not facts.is_registered or is_gguf(folder):
        return validate_config(read_config(folder), shapes), shapes
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    config._attn_implementation = "eager"
    return config, shapes


def _read_tokenizer(facts: RepositoryFacts, folder: Path, vocabulary: int) -> Tokenizer:
    if facts.is_registered and not is_gguf(folder):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)  # type: ignore[no-any-return]
    return open_tokenizer(folder, vocabulary)


@contextmanager
def _translate_errors(name: str) -> Iterator[None]:
    """Around the libraries that read a model: their own texts may hold what stands in files, and where those lie."""
    try:
        with panics_as_errors():
            yield
    except UnfitError as error:
        raise ModelLoadError(f"{name} could not be loaded: {error}") from None
    except Exception as error:
        keep_for_debugging(error)
        if isinstance(error, MemoryError):
            raise ModelTooLargeError(f"{name} does not fit into this machine's memory; pick a smaller model.") from None
        raise ModelLoadError(f"{name} could not be loaded: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, SafetensorError):
        return "its weights file is broken."
    if isinstance(error, OSError):
        return "its files cannot be read, or some are missing."
    # what stands in them can break the libraries in any way: TypeError, ZeroDivisionError and their own
    return "its config, tokenizer and weights do not fit together."


def _revision(folder: Path) -> str:
    """The commit that a downloaded snapshot is named after; for any other folder a hash of its weights."""
    if is_snapshot(folder):
        return folder.name
    # those that were checked: beside them a stranger's folder may hold a pipe without end
    return _content_revision(sha256_of(weight_files(folder)))


def _content_revision(sha256: str) -> str:
    return f"sha256:{sha256[:16]}"
