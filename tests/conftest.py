"""Shared fixtures: the embedded model, tiny random-weight models built from configs, and random attention."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from headroles.categories import HeadCategories
from headroles.explorer import Explorer
from headroles.models import EMBEDDED_MODEL, LoadedModel, load_model
from headroles.store import load_head_categories

torch.set_num_threads(2)
REPEATING = "The king and the queen lived in a castle. The king and the"
PLAIN = "She opened a door and saw the small garden behind it."


@pytest.fixture(scope="session")
def explorer() -> Explorer:
    return Explorer()


@pytest.fixture(scope="session")
def tiny() -> LoadedModel:
    """The embedded model, untouched by PyVene."""
    return load_model(EMBEDDED_MODEL)


@pytest.fixture
def fresh_tiny() -> LoadedModel:
    """A copy of the embedded model of one's own, for what changes it."""
    return load_model(EMBEDDED_MODEL)


@pytest.fixture(scope="session")
def record() -> HeadCategories:
    return load_head_categories(EMBEDDED_MODEL)


@pytest.fixture
def random_model(tiny: LoadedModel) -> Callable[[str], LoadedModel]:
    """Makes a small model of an architecture with random weights and the embedded model's tokenizer."""

    def make(architecture: str, seed: int = 0) -> LoadedModel:
        torch.manual_seed(seed)
        return LoadedModel(f"random-{architecture}", _build(architecture).eval(), tiny.tokenizer, "random")

    return make


def _build(architecture: str) -> PreTrainedModel:
    vocab = 3072
    if architecture == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(vocab_size=vocab, n_positions=128, n_embd=48, n_layer=3, n_head=4, initializer_range=0.5)
        )
    if architecture == "llama":
        config = LlamaConfig(
            vocab_size=vocab,
            hidden_size=48,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
            initializer_range=0.3,
        )
        return LlamaForCausalLM(config)
    raise ValueError(architecture)


def random_attention(*shape: int, length: int, seed: int = 0, sharpness: float = 3.0) -> torch.Tensor:
    """Causal attention patterns [*shape, length, length] with rows that sum to 1."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(*shape, length, length, generator=generator) * sharpness
    future = torch.triu(torch.ones(length, length, dtype=torch.bool), diagonal=1)
    return scores.masked_fill(future, float("-inf")).softmax(-1)


def uniform_attention(length: int) -> torch.Tensor:
    """The pattern [length, length] of a head that looks at everything alike."""
    return torch.tril(torch.ones(length, length)) / torch.arange(1, length + 1)[:, None]


class ExactTokens:
    """What TransformerLens' `detect_head` touches of a model, over given patterns [layer, head, query, key] and token ids.

    `detect_head` takes strings only, and no random token sequence survives being decoded and encoded again.
    """

    def __init__(self, patterns: torch.Tensor, token_ids: torch.Tensor) -> None:
        self._patterns, self._token_ids = patterns, token_ids
        layers, heads = patterns.shape[:2]
        self.cfg = SimpleNamespace(n_layers=layers, n_heads=heads, n_ctx=10_000, device="cpu", dtype=torch.float32)

    def to_tokens(self, _: str) -> torch.Tensor:
        return self._token_ids[None]

    def run_with_cache(self, _: torch.Tensor, remove_batch_dim: bool):
        assert remove_batch_dim
        return None, {("pattern", layer, "attn"): pattern for layer, pattern in enumerate(self._patterns)}
