"""How a model is loaded, and how text becomes its tokens."""

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from headroles.core.bounds import MAX_PROMPT_CHARACTERS, MAX_PROMPT_TOKENS
from headroles.core.record_fit import ModelIdentity
from headroles.core.registry import ModelInfo, get_model_info
from headroles.core.tokens import clean
from headroles.errors import ModelLoadError, ModelTooLargeError, PromptError
from headroles.hub.download import fetch
from headroles.hub.repository import RepositoryFacts, inspect, tensor_sizes, weight_files

# `from_pretrained` patches torch and transformers for the whole process while it builds a model, so one at a time; it only
# reads from the disk, downloads are done before
_READING = threading.Lock()
REMEMBERED_TOKENS = 10_000  # texts of tokens that a model keeps, some hundred bytes each


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory with its tokenizer. Every forward pass of `model` must hold `lock`: hooks are not thread-safe."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    revision: str
    lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def prepend_bos(self) -> bool:
        """Whether this model reads a BOS before a text: whatever its own tokenizer does."""
        bos = self.tokenizer.bos_token_id
        return bos is not None and self.tokenizer.encode("a")[0] == bos

    @property
    def bos(self) -> tuple[int, ...]:
        """The ids that this model's tokenizer puts before a text: a BOS or nothing."""
        return (int(str(self.tokenizer.bos_token_id)),) if self.prepend_bos else ()

    @property
    def context(self) -> int:
        """How many tokens the model can read at once."""
        return context_of(self.model.config)

    @property
    def memory_bytes(self) -> int:
        """What weights and buffers take."""
        return self.model.get_memory_footprint()

    @cached_property
    def windows(self) -> tuple[int | None, ...]:
        """How many keys back from the query each layer sees, the query's own included; None for all."""
        return attention_windows(self.model.config)

    @property
    def max_tokens(self) -> int:
        """How many tokens a prompt may have, a BOS included."""
        return max_prompt_tokens(self.model.config)

    @cached_property
    def tokenizer_sha256(self) -> str:
        """A hash of the vocabulary: two tokenizers with the same one number their tokens alike."""
        vocabulary = sorted(self.tokenizer.get_vocab().items())
        return hashlib.sha256(json.dumps(vocabulary).encode()).hexdigest()

    @cached_property
    def identity(self) -> ModelIdentity:
        """What a record of it must agree with."""
        heads = self.model.config.get_text_config().num_attention_heads
        return ModelIdentity(self.name, self.revision, len(self.windows), heads, self.prepend_bos, self.tokenizer_sha256)

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
        ids = tuple(self.tokenizer.encode(clean(prompt), split_special_tokens=True))
        if len(ids) > self.max_tokens:
            raise PromptError(f"Your text has {len(ids):,} tokens; {self.name} reads at most {self.max_tokens} here. Shorten it.")
        return ids

    def token_texts(self, token_ids: tuple[int, ...]) -> tuple[str, ...]:
        """Each token's own text; a piece of a character that is split over tokens shows as its bytes, `<E2 80>`."""
        return tuple(map(self._text_of, token_ids))

    @cached_property
    def _text_of(self) -> Callable[[int], str]:
        """A token's text, remembered: decoding 250 one by one takes a twentieth of the embedded model's forward over them."""
        return lru_cache(REMEMBERED_TOKENS)(partial(_token_text, self.tokenizer))


def _token_text(tokenizer: PreTrainedTokenizerFast, token_id: int) -> str:
    text = str(tokenizer.decode([token_id], clean_up_tokenization_spaces=False))
    if "\ufffd" not in text:
        return text
    byte_of = {character: byte for byte, character in bytes_to_unicode().items()}
    piece = str(tokenizer.convert_ids_to_tokens(token_id))
    if not all(character in byte_of for character in piece):
        return text
    return "<" + " ".join(f"{byte_of[character]:02X}" for character in piece) + ">"


def registered_config(info: ModelInfo) -> PreTrainedConfig:
    """A fresh config of a registered model's size, made without a network."""
    return AutoConfig.for_model(info.model_type, **info.shape)


def context_of(config: PreTrainedConfig) -> int:
    """How many tokens a model of this config can read at once; MAX_PROMPT_TOKENS where it has no limit."""
    return getattr(config.get_text_config(), "max_position_embeddings", None) or MAX_PROMPT_TOKENS


def max_prompt_tokens(config: PreTrainedConfig) -> int:
    """How many tokens, a BOS included, a prompt may have on a model of this config."""
    return min(MAX_PROMPT_TOKENS, context_of(config))


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
) -> LoadedModel:
    """A model on the CPU, in eval mode, never with code or pickles from its repository.

    Args:
        name: what the model is called from now on.
        source: a local folder, a hub id, or what `inspect` found there; by default the registered one.
        dtype: of the weights.

    Raises:
        UnknownModelError: when there is no source and the name is not registered, or the source does not exist.
        UnsupportedModelError: when the architecture cannot be read, or there are only pickled weights.
        ModelLoadError: when the files are missing, broken, gated or out of reach.
    """
    source = get_model_info(name).source if source is None else source
    folder = fetch(source if isinstance(source, RepositoryFacts) else inspect(source))
    try:
        with _READING:
            tokenizer, model = _read(folder, dtype)
    except MemoryError as error:
        raise ModelTooLargeError(f"{name} does not fit into this machine's memory; pick a smaller model.") from error
    except Exception as error:
        # what strangers write into a config can break the libraries in any way: TypeError, ZeroDivisionError and their own
        reason = " ".join(str(error).replace(str(folder), "its files").split())[:200] or type(error).__name__
        raise ModelLoadError(f"{name} could not be loaded: {reason}") from error
    return LoadedModel(name, model.eval(), tokenizer, _revision(folder))


def _read(folder: Path, dtype: torch.dtype) -> tuple[PreTrainedTokenizerFast, PreTrainedModel]:
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    config._attn_implementation = "eager"  # else a config.json could name a kernel on the Hub, which is code
    _check_size(config, [size for file in weight_files(folder) for size in tensor_sizes(file)])
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    model, report = AutoModelForCausalLM.from_pretrained(  # type: ignore[misc]
        folder,
        config=config,
        dtype=dtype,
        trust_remote_code=False,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
    )
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"its weights lack {len(missing)} tensors, {missing[0]} among them, which would be random numbers.")
    return tokenizer, model


def _check_size(config: PreTrainedConfig, tensor_sizes: list[int]) -> None:
    """Refuses a config that describes a far larger model than the weights are: building it could take all the memory."""
    if config.get_text_config().num_hidden_layers <= len(tensor_sizes):  # else even the skeleton could take for ever
        with torch.device("meta"):
            skeleton = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        if skeleton.num_parameters() <= 2 * sum(tensor_sizes):  # weights that are used twice may be there once
            return
    raise ValueError("its config.json describes a larger model than its weights are.")


def _revision(folder: Path) -> str:
    """The commit that a downloaded snapshot is named after; for any other folder a hash of its weights."""
    if folder.parent.name == "snapshots":
        return folder.name
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            while piece := stream.read(1 << 20):
                digest.update(piece)
    return f"sha256:{digest.hexdigest()[:16]}"
