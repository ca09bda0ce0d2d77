"""How each of `results` is made, and how what programs send is checked. Knows nothing of gradio."""

import base64
from collections.abc import Iterable, Sequence
from functools import cache
from reprlib import repr as shortened
from typing import TypeVar, cast

from headroles.attention import Head
from headroles.categories import HeadCategories
from headroles.comparison import ModelComparison, PromptComparison
from headroles.errors import InvalidInputError
from headroles.explorer import MAX_BATCH_PROMPTS
from headroles.models import MAX_PROMPT_CHARACTERS, max_prompt_tokens
from headroles.readings import Analysis, HeadReading, HeadView
from headroles.registry import ModelInfo
from headroles.results import (
    AnalysisResult,
    BatchResult,
    CategoriesResult,
    ComparisonResult,
    HeadResult,
    HeadRoles,
    HeatmapResult,
    ModelResult,
    ModelsResult,
    PatternResult,
)
from headroles.roles import MEASURED_ROLES, ROLES, Role, get_role
from headroles.settings import Settings
from headroles.wording import describe_head

API_VERSION = "1"  # changes when a field goes or changes its meaning, not when one is added
MAX_HEAD_NUMBER = 9_999  # far above any model's layers and heads

T = TypeVar("T", bound=str)


def models_result(models: Iterable[ModelInfo], settings: Settings) -> ModelsResult:
    return {
        "api_version": API_VERSION,
        "limits": {
            "prompt_characters": MAX_PROMPT_CHARACTERS,
            "batch_prompts": MAX_BATCH_PROMPTS,
            "waiting_requests": settings.max_waiting,
            "prompts_a_minute": settings.prompts_a_minute,
        },
        "models": [model_result(info) for info in models],
    }


def model_result(info: ModelInfo) -> ModelResult:
    return {
        "name": info.name,
        "description": info.title,
        "architecture": info.model_type,
        "num_layers": info.num_layers,
        "num_heads": info.num_heads,
        "parameters": info.parameters,
        "license": info.license,
        "gated": info.gated,
        "prepend_bos": info.prepend_bos,
        "max_tokens": max_tokens(info),
    }


@cache
def max_tokens(info: ModelInfo) -> int:
    """How many tokens a prompt may have on a registered model, without loading it."""
    return max_prompt_tokens(info.config())


def categories_result(record: HeadCategories) -> CategoriesResult:
    return {
        "api_version": API_VERSION,
        "model": record.model_name,
        "revision": record.revision,
        "analysis_date": record.analysis_date,
        "num_layers": record.num_layers,
        "num_heads": record.num_heads,
        "recipe": record.recipe.model_dump(),
        "roles": [
            {
                "key": role.name,
                "display_name": role.display_name,
                "description": role.description,
                "threshold": role.threshold if role.measure else 0.0,
                "top_heads": [
                    {"layer": head.layer, "head": head.index, "score": record.score(role, head)}
                    for head in record.top_heads(role)
                ],
                "scores": [list(row) for row in record.all_scores.get(role.name, ())],
            }
            for role in ROLES.values()
        ],
        "primary_roles": [
            [record.primary_role(Head(layer, index)).name for index in range(record.num_heads)]
            for layer in range(record.num_layers)
        ],
    }


def head_result(reading: HeadReading) -> HeadResult:
    return {
        "layer": reading.head.layer,
        "head": reading.head.index,
        "score": reading.score,
        "activation_score": reading.activation,
        "chance": reading.chance,
        "is_active": reading.is_active,
    }


def analysis_result(analysis: Analysis, all_heads: bool = False) -> AnalysisResult:
    return {
        "api_version": API_VERSION,
        "model": analysis.model,
        "prompt": analysis.prompt,
        "tokens": list(analysis.tokens),
        "num_layers": analysis.num_layers,
        "num_heads": analysis.num_heads,
        "source": analysis.source.kind,
        "source_note": analysis.source.note,
        "dataset": analysis.source.dataset,
        "commit": analysis.source.commit,
        "analysis_date": analysis.source.analysis_date,
        "revision": analysis.source.revision,
        "roles": [
            {
                "key": reading.role.name,
                "display_name": reading.role.display_name,
                "description": reading.role.description,
                "applicable": reading.applicable,
                "active": reading.is_active,
                "reason": reading.reason,
                "heads": [head_result(head) for head in reading.heads],
            }
            for reading in analysis.roles
        ],
        "heads": [_head_roles(analysis, head) for head in analysis.heads.heads()] if all_heads else [],
    }


def batch_result(model: str, analyses: Sequence[Analysis]) -> BatchResult:
    return {"api_version": API_VERSION, "model": model, "analyses": [analysis_result(analysis) for analysis in analyses]}


def prompts_result(comparison: PromptComparison) -> ComparisonResult:
    return {
        "api_version": API_VERSION,
        "kind": "prompts",
        "a": analysis_result(comparison.a),
        "b": analysis_result(comparison.b),
        "changes": [
            {
                "key": role.role.name,
                "display_name": role.role.display_name,
                "applicable_a": role.a.applicable,
                "applicable_b": role.b.applicable,
                "change": role.change,
            }
            for role in comparison.roles
        ],
        "heads": [
            {
                "layer": head.a.head.layer,
                "head": head.a.head.index,
                "role": head.role.name,
                "activation_a": head.a.activation,
                "activation_b": head.b.activation,
                "difference": head.difference,
                "is_active_a": head.a.is_active,
                "is_active_b": head.b.is_active,
            }
            for head in comparison.heads
        ],
        "census": [],
    }


def two_models_result(comparison: ModelComparison) -> ComparisonResult:
    return {
        "api_version": API_VERSION,
        "kind": "models",
        "a": analysis_result(comparison.a),
        "b": analysis_result(comparison.b),
        "changes": [],
        "heads": [],
        "census": [
            {
                "key": role.role.name,
                "display_name": role.role.display_name,
                "counts_a": list(role.a.counts),
                "counts_b": list(role.b.counts),
                "share_a": role.a.share,
                "share_b": role.b.share,
                "active_a": role.active_a,
                "active_b": role.active_b,
            }
            for role in comparison.roles
        ],
    }


def pattern_result(view: HeadView) -> PatternResult:
    return {
        "api_version": API_VERSION,
        "model": view.model,
        "tokens": list(view.tokens),
        "layer": view.head.layer,
        "head": view.head.index,
        "pattern": view.pattern.tolist(),
        "primary_role": view.primary.name,
        "description": describe_head(view),
        "roles": {name: head_result(reading) for name, reading in view.readings.items()},
    }


def heatmap_result(view: HeadView, media_type: str, content: bytes) -> HeatmapResult:
    is_text = media_type == "image/svg+xml"
    return {
        "api_version": API_VERSION,
        "media_type": media_type,
        "encoding": "utf-8" if is_text else "base64",
        "data": (content if is_text else base64.b64encode(content)).decode("utf-8"),
        "description": describe_head(view),
    }


def checked_head(layer: object, head: object) -> Head:
    """A head as a program names it. Raises InvalidInputError, in one short sentence whatever the values are."""
    for name, value in (("layer", layer), ("head", head)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise InvalidInputError(f"{name} must be a whole number from 0 on, but is {_short(value)}.")
        if value > MAX_HEAD_NUMBER:
            raise InvalidInputError(f"{name} is outside any model; it must be at most {MAX_HEAD_NUMBER:,}.")
    return Head(layer, head)  # pyright: ignore[reportArgumentType]


def checked_role(name: object) -> Role | None:
    """The role of that name, None for an empty one. Raises InvalidInputError that lists the names there are."""
    if name is None or name == "":
        return None
    if not isinstance(name, str) or name not in ROLES:
        raise InvalidInputError(f"There is no role {_short(name)}; the roles are {', '.join(ROLES)}.")
    return get_role(name)


def checked_choice(name: str, value: object, choices: Sequence[T]) -> T:
    """The value itself. Raises InvalidInputError unless it is one of the choices."""
    if value not in choices:
        raise InvalidInputError(f"{name} must be {' or '.join(choices)}, but is {_short(value)}.")
    return choices[choices.index(cast(T, value))]


def checked_switch(name: str, value: object) -> bool:
    """The value itself. Raises InvalidInputError unless it is true or false."""
    if not isinstance(value, bool):
        raise InvalidInputError(f"{name} must be true or false, but is {_short(value)}.")
    return value


def _short(value: object) -> str:
    """A value that anyone may have sent, in a few characters on one line; huge ones are not written out first."""
    return "a very large number" if isinstance(value, int) and abs(value) > 10**40 else shortened(value)


def _head_roles(analysis: Analysis, head: Head) -> HeadRoles:
    return {
        "layer": head.layer,
        "head": head.index,
        "primary_role": analysis.heads.primary_role(head).name,
        "roles": {role.name: head_result(analysis.heads.reading(role, head)) for role in MEASURED_ROLES},
    }
