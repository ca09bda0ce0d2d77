"""Explorer: (model, prompt) -> Analysis. Ties models, capture, store and scoring together."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from cachetools import LRUCache

from headroles.attention import Attention, Head
from headroles.capture import PatternReader
from headroles.categories import HeadCategories
from headroles.errors import InvalidInputError
from headroles.models import MODELS, LoadedModel, ModelInfo, get_model_info, load_model
from headroles.readings import Analysis, HeadView
from headroles.roles import Role
from headroles.scoring import as_float_tensor, as_token_ids, read_head, read_roles
from headroles.store import check_belongs, load_head_categories, source_of

Summary = dict[str, list[dict[str, int | float | bool]]]


@dataclass(frozen=True)
class _Ready:
    """A model that can be asked: loaded, tested, and with a record that belongs to it."""

    loaded: LoadedModel
    reader: PatternReader
    categories: HeadCategories


class Explorer:
    """Answers for any number of threads. Models load on first use; patterns are kept up to `cache_bytes`, so that looking at
    a head of a prompt just analysed takes no second forward.
    """

    def __init__(self, cache_bytes: int = 256 * 1024 * 1024) -> None:
        self._ready: dict[str, _Ready] = {}
        self._loading = threading.Lock()
        self._patterns: LRUCache[tuple[str, str, tuple[int, ...]], Attention] = LRUCache(
            cache_bytes, getsizeof=lambda attention: attention.patterns.nbytes
        )
        self._cache_lock = threading.Lock()

    def models(self) -> tuple[ModelInfo, ...]:
        """The models there are, in the order of the page."""
        return tuple(MODELS.values())

    def categories(self, model: str) -> HeadCategories:
        """A model's record, checked against the model. Raises as `analyze` does."""
        return self._get(model).categories

    def analyze(self, model: str, prompt: str) -> Analysis:
        """What every role's top heads do on a prompt.

        Raises:
            UnknownModelError, ModelLoadError, UnsupportedModelError: when there is no such model, or it cannot be read.
            NoHeadCategoriesError, InvalidRecordError: when it has no roles, or they do not fit it.
            PromptError: when the prompt is empty or too long.
        """
        ready = self._get(model)
        attention = self._attention(ready, prompt)
        return Analysis(
            model=model,
            prompt=prompt,
            tokens=attention.tokens,
            source=source_of(ready.categories),
            num_layers=attention.num_layers,
            num_heads=attention.num_heads,
            roles=read_roles(attention, ready.categories),
        )

    def view_head(self, model: str, prompt: str, head: Head, role: Role | None = None) -> HeadView:
        """One head on a prompt, looked at for `role`, by default its primary one.

        Raises:
            InvalidInputError: for a head outside the model.
            And all that `analyze` raises.
        """
        ready = self._get(model)
        head.check_inside(ready.categories.num_layers, ready.categories.num_heads)
        attention = self._attention(ready, prompt)
        primary = ready.categories.primary_role(head)
        role = role or primary
        return HeadView(
            model=model,
            tokens=attention.tokens,
            head=head,
            role=role,
            primary=primary,
            pattern=attention.pattern(head),
            expected=role.expected_keys(torch.tensor(attention.token_ids)),
            readings=read_head(attention, ready.categories, head),
        )

    def _get(self, model: str) -> _Ready:
        get_model_info(model)
        with self._loading:
            if model not in self._ready:
                categories = load_head_categories(model)
                loaded = load_model(model)
                check_belongs(categories, loaded)
                self._ready[model] = _Ready(loaded, PatternReader(loaded), categories)
            return self._ready[model]

    def _attention(self, ready: _Ready, prompt: str) -> Attention:
        token_ids = ready.loaded.encode(prompt)
        key = (ready.loaded.name, ready.loaded.revision, token_ids)
        with self._cache_lock:
            if (known := self._patterns.get(key)) is not None:
                return known
        attention = ready.reader.read(token_ids)
        if attention.patterns.nbytes <= self._patterns.maxsize:
            with self._cache_lock:
                self._patterns[key] = attention
        return attention


def get_active_head_summary(activation_data: Attention | Mapping, model_name: str) -> Summary:
    """What the top heads of each role do on a prompt, in plain Python types.

    Args:
        activation_data: an Attention, or a mapping with `token_ids` [seq], `patterns` [layer, head, seq, seq] and, if you
            like, `tokens` (texts).
        model_name: whose record to read; the patterns must have its layers and heads.

    Returns:
        `{category: [{layer, head, score, activation_score, is_active}, ...]}`, every category, best head first.

    Raises:
        InvalidInputError: names what is wrong with the data.
        NoHeadCategoriesError, InvalidRecordError: when the model has no record, or the patterns do not fit it.
    """
    attention = _as_attention(activation_data, model_name)
    return {
        reading.role.name: [
            {
                "layer": head.head.layer,
                "head": head.head.index,
                "score": head.score,
                "activation_score": head.activation,
                "is_active": head.is_active,
            }
            for head in reading.heads
        ]
        for reading in read_roles(attention, load_head_categories(model_name))
    }


def _as_attention(activation_data: Attention | Mapping, model_name: str) -> Attention:
    if isinstance(activation_data, Attention):
        return activation_data
    if not isinstance(activation_data, Mapping) or not {"token_ids", "patterns"} <= set(activation_data):
        raise InvalidInputError("activation_data must be an Attention, or a mapping with 'token_ids' and 'patterns'.")
    ids = as_token_ids(activation_data["token_ids"])
    patterns = as_float_tensor(activation_data["patterns"], "patterns")
    tokens = activation_data.get("tokens") or [str(token_id) for token_id in ids.tolist()]
    return Attention(model_name, tuple(ids.tolist()), tuple(tokens), patterns)
