"""Which models there are, how each is loaded, and how text becomes its tokens."""

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from headroles.errors import ModelLoadError, PromptError, UnknownModelError

MAX_PROMPT_TOKENS = 256  # longer heatmaps are no longer readable, and patterns grow with the square
MAX_PROMPT_CHARACTERS = 10_000  # refused before the tokenizer works on it


@dataclass(frozen=True)
class ModelInfo:
    """A model that visitors can pick.

    Attributes:
        name: what the page, the API and its record call it.
        source: a local folder or a hub id.
        title: one line on why a student would pick it.
    """

    name: str
    source: str | Path
    title: str


EMBEDDED_MODEL = "headroles-tiny"
MODELS: Mapping[str, ModelInfo] = MappingProxyType(
    {
        EMBEDDED_MODEL: ModelInfo(
            EMBEDDED_MODEL,
            Path(__file__).parent / "tiny",
            "4 layers of 8 heads, trained on 28 old books; it ships with headroles and needs no network.",
        ),
    }
)


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
        config = self.model.config.get_text_config()
        return getattr(config, "max_position_embeddings", None) or MAX_PROMPT_TOKENS

    @property
    def max_tokens(self) -> int:
        """How many tokens a prompt may have, a BOS included."""
        return min(MAX_PROMPT_TOKENS, self.context)

    @cached_property
    def tokenizer_sha256(self) -> str:
        """A hash of the vocabulary: two tokenizers with the same one number their tokens alike."""
        vocabulary = sorted(self.tokenizer.get_vocab().items())
        return hashlib.sha256(json.dumps(vocabulary).encode()).hexdigest()

    def encode(self, prompt: str) -> tuple[int, ...]:
        """The prompt's token ids, with a BOS where the model's tokenizer adds one. Special tokens in the text stay text.

        Raises:
            PromptError: when the prompt is empty, blank or too long; names the limit and the count.
        """
        if not isinstance(prompt, str) or not prompt.strip():
            raise PromptError("There is no text to look at; type a sentence first.")
        if len(prompt) > MAX_PROMPT_CHARACTERS:
            raise PromptError(f"Your text has {len(prompt):,} characters; at most {MAX_PROMPT_CHARACTERS:,} are read.")
        # a lone surrogate has no UTF-8 form and would break the tokenizer
        clean = prompt.encode("utf-8", "replace").decode()
        ids = tuple(self.tokenizer.encode(clean, split_special_tokens=True))
        if len(ids) > self.max_tokens:
            raise PromptError(f"Your text has {len(ids):,} tokens; {self.name} reads at most {self.max_tokens} here. Shorten it.")
        return ids

    def token_texts(self, token_ids: tuple[int, ...]) -> tuple[str, ...]:
        """Each token's own text; a piece of a character that is split over tokens shows as its bytes, `<E2 80>`."""
        return tuple(self._token_text(token_id) for token_id in token_ids)

    def _token_text(self, token_id: int) -> str:
        text = str(self.tokenizer.decode([token_id], clean_up_tokenization_spaces=False))
        if "\ufffd" not in text:
            return text
        byte_of = {character: byte for byte, character in bytes_to_unicode().items()}
        piece = str(self.tokenizer.convert_ids_to_tokens(token_id))
        if not all(character in byte_of for character in piece):
            return text
        return "<" + " ".join(f"{byte_of[character]:02X}" for character in piece) + ">"


def get_model_info(name: str) -> ModelInfo:
    """The registered model of that name. Raises UnknownModelError that lists what there is."""
    if not isinstance(name, str) or name not in MODELS:
        raise UnknownModelError(f"There is no model {str(name)[:100]!r} here; there is {', '.join(MODELS)}.")
    return MODELS[name]


def load_model(name: str, source: str | Path | None = None) -> LoadedModel:
    """A model in float32 on the CPU, in eval mode, never with code or pickles from its repository.

    Args:
        name: what the model is called from now on.
        source: a local folder or a hub id; by default the registered one.

    Raises:
        UnknownModelError: when there is no source and the name is not registered.
        ModelLoadError: when the files are missing, broken or out of reach.
    """
    source = get_model_info(name).source if source is None else source
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, trust_remote_code=False, use_safetensors=True)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        first_line = str(error).strip().split("\n")[0][:200]
        raise ModelLoadError(f"{name} could not be loaded from {source}: {first_line}") from error
    except Exception as error:
        # safetensors raises its own type, an Exception with no other parent
        if type(error).__name__ != "SafetensorError":
            raise
        raise ModelLoadError(f"{name} could not be loaded from {source}: its weights file is broken.") from error
    return LoadedModel(name, model.eval(), tokenizer, _revision(model, source))


def _revision(model: PreTrainedModel, source: str | Path) -> str:
    """The commit that a hub model came from; for a local folder a hash of its weights."""
    commit = getattr(model.config, "_commit_hash", None)
    if commit:
        return commit
    digest = hashlib.sha256()
    for file in sorted(Path(source).glob("*.safetensors")):
        digest.update(file.read_bytes())
    return f"sha256:{digest.hexdigest()[:16]}"
