"""What programs get: typed results of plain numbers, strings, lists and dicts, and how each is made. Knows nothing of gradio."""

import base64
from collections.abc import Iterable, Sequence
from functools import cache
from reprlib import repr as shortened
from typing import TypedDict, TypeVar, cast

from headroles.attention import Head
from headroles.categories import HeadCategories
from headroles.comparison import ModelComparison, PromptComparison
from headroles.errors import InvalidInputError
from headroles.explorer import MAX_BATCH_PROMPTS
from headroles.models import MAX_PROMPT_CHARACTERS, MAX_PROMPT_TOKENS
from headroles.readings import Analysis, HeadReading, HeadView
from headroles.registry import ModelInfo
from headroles.roles import MEASURED_ROLES, ROLES, Role, get_role
from headroles.settings import Settings
from headroles.wording import describe_head

API_VERSION = "1"  # changes when a field goes or changes its meaning, not when one is added
MAX_HEAD_NUMBER = 9_999  # far above any model's layers and heads

T = TypeVar("T", bound=str)


class HeadResult(TypedDict):
    """One head in one role; all numbers 0 to 1."""

    layer: int
    head: int
    score: float
    activation_score: float
    chance: float
    is_active: bool


class RoleResult(TypedDict):
    """One role on the prompt; `heads` are the model's top heads of this role, best first."""

    key: str
    display_name: str
    description: str
    applicable: bool
    active: bool
    reason: str
    heads: list[HeadResult]


class HeadRoles(TypedDict):
    """One head in every measured role, by role key."""

    layer: int
    head: int
    primary_role: str
    roles: dict[str, HeadResult]


class AnalysisResult(TypedDict):
    """What every role's top heads do on the prompt; `heads` are all heads of the model if they were asked for, else none."""

    api_version: str
    model: str
    prompt: str
    tokens: list[str]
    num_layers: int
    num_heads: int
    source: str
    source_note: str
    dataset: str
    commit: str
    analysis_date: str
    revision: str
    roles: list[RoleResult]
    heads: list[HeadRoles]


class BatchResult(TypedDict):
    """One analysis a prompt, in the order of the prompts."""

    api_version: str
    model: str
    analyses: list[AnalysisResult]


class ModelResult(TypedDict):
    """A model that can be analysed, why one would, and how many tokens a prompt may have."""

    name: str
    description: str
    architecture: str
    num_layers: int
    num_heads: int
    parameters: int
    license: str
    gated: bool
    prepend_bos: bool
    max_tokens: int


class LimitsResult(TypedDict):
    """What this server takes; 0 for any number."""

    prompt_characters: int
    batch_prompts: int
    waiting_requests: int
    prompts_a_minute: int


class ModelsResult(TypedDict):
    """Every model that can be picked by name."""

    api_version: str
    limits: LimitsResult
    models: list[ModelResult]


class TopHeadResult(TypedDict):
    """A head that stands for a role; `score` 0 to 1."""

    layer: int
    head: int
    score: float


class CategoryResult(TypedDict):
    """One role in one model; `top_heads` best first; `scores` [layer][head], empty for the role without a measure."""

    key: str
    display_name: str
    description: str
    threshold: float
    top_heads: list[TopHeadResult]
    scores: list[list[float]]


class CategoriesResult(TypedDict):
    """Which head plays which role in a model, measured offline; `primary_roles` [layer][head] are role keys."""

    api_version: str
    model: str
    revision: str
    analysis_date: str
    num_layers: int
    num_heads: int
    recipe: dict[str, str | int | bool | None]
    roles: list[CategoryResult]
    primary_roles: list[list[str]]


class RoleChangeResult(TypedDict):
    """One role on two texts; `change` is "turns on", "turns off", "stays on" or "stays off"."""

    key: str
    display_name: str
    applicable_a: bool
    applicable_b: bool
    change: str


class HeadChangeResult(TypedDict):
    """One head on two texts, in the role in which it changes most; `difference` is B minus A."""

    layer: int
    head: int
    role: str
    activation_a: float
    activation_b: float
    difference: float
    is_active_a: bool
    is_active_b: bool


class RoleCensusResult(TypedDict):
    """The heads of two models whose primary role this is: counts in slices of relative depth, and shares of all heads."""

    key: str
    display_name: str
    counts_a: list[int]
    counts_b: list[int]
    share_a: float
    share_b: float
    active_a: bool
    active_b: bool


class ComparisonResult(TypedDict):
    """Two texts on one model (`kind` "prompts": `changes` and `heads`), or two models on one text ("models": `census`)."""

    api_version: str
    kind: str
    a: AnalysisResult
    b: AnalysisResult
    changes: list[RoleChangeResult]
    heads: list[HeadChangeResult]
    census: list[RoleCensusResult]


class HeatmapResult(TypedDict):
    """A picture of one head's pattern; `data` is text for "utf-8", else the bytes in base64."""

    api_version: str
    media_type: str
    encoding: str
    data: str
    description: str


class PatternResult(TypedDict):
    """One head's attention; `pattern` [query][key]; `roles` by role key."""

    api_version: str
    model: str
    tokens: list[str]
    layer: int
    head: int
    pattern: list[list[float]]
    primary_role: str
    description: str
    roles: dict[str, HeadResult]


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
    """How many tokens a prompt may have on a registered model, without loading it: as `LoadedModel.max_tokens`."""
    context = getattr(info.config().get_text_config(), "max_position_embeddings", None) or MAX_PROMPT_TOKENS
    return min(MAX_PROMPT_TOKENS, context)


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
