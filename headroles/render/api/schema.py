"""What programs get of models, records and analyses. The field docstrings are the documentation of the API."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import AliasPath, Field, SerializerFunctionWrapHandler, model_serializer

from headroles.core.heads import Head
from headroles.core.readings.analysis import Analysis, HeadView
from headroles.core.readings.comparison import ModelComparison, PromptComparison
from headroles.core.records.head_categories import HeadCategories
from headroles.core.roles.roles import ROLES, Role, measured_roles
from headroles.render.api.result import Answer, IndexOfHead, LayerOfHead, Result, RoleKey, RoleName, Table
from headroles.render.wording.head_sentences import describe_head, describe_head_view
from headroles.render.wording.role_states import describe_role


class TokenEvidenceResult(Result):
    """What a head does at one token that calls for a role: positions of the token and of the expected key it looks at most.

    `attention` is that on all expected keys; `control` is the larger of what other tokens give them and what the head gives keys
    as far back. `most_key` is the key it looks at most, or null for its learned sink; `most_attention` is that on it.
    """

    query: int
    key: int
    attention: float
    control: float
    most_key: int | None
    most_attention: float


class HeadResult(Result):
    """One head in one role. Null stands for a score that the record does not hold, or a number that no text gives.

    For a role that a text triggers, `verdict` is "seen" or "not seen", `evidence` holds the strongest tokens, `excess` is that
    at the first of them, and `seen_at` counts the tokens at which the head is seen. For an always-on role, `verdict` is "as
    usual" or "unusual here", `percentile` ranks the head among ordinary texts, and nine in ten of those lie in `usual`.
    """

    layer: LayerOfHead
    head: IndexOfHead
    score: float | None
    activation_score: float | None = Field(validation_alias="activation")
    chance: float | None
    is_active: bool
    verdict: str = Field(validation_alias="state")
    excess: float | None = Field(validation_alias="triggered_excess")
    seen_at: int = Field(validation_alias="detections")
    evidence: list[TokenEvidenceResult]
    percentile: float | None
    usual: list[float] | None
    unusual: bool = Field(validation_alias="is_unusual")


class RoleEffectResult(Result):
    """By how much the mean loss increases, in nats, without a role's heads on `texts` probe texts, with its interval.

    `controls` is the same without each control set of other heads; `control_text` is of the same heads where nothing repeats,
    null for a role that needs no repetition.
    """

    texts: int
    heads: int
    loss_increase: float
    interval: list[float]
    controls: list[float]
    control_text: float | None


class RoleResult(Result):
    """One role on the prompt; `heads` are the model's top heads of this role, best first.

    `reason` says the `verdict` in a sentence; `tokens` counts those that call for the role and can be compared. `also_seen` are
    heads that are seen in the role without being known for it; for "other", heads that do not rest as usual, where no role says
    why. `suggested_prompt` is a text on which the role shows on this model, or empty. `effect` is what the model loses without
    the role's heads on the probe texts, null where that was not measured.
    """

    key: RoleKey
    display_name: RoleName
    description: str = Field(validation_alias=AliasPath("role", "description"))
    applicable: bool
    active: bool = Field(validation_alias="is_active")
    verdict: str = Field(validation_alias="state")
    unusual: bool = Field(validation_alias="is_unusual")
    tokens: int
    reason: str
    effect: RoleEffectResult | None
    suggested_prompt: str
    heads: list[HeadResult]
    also_seen: list[HeadResult] = Field(validation_alias="other_heads")


class HeadRoles(Result):
    """One head in every measured role, by role key; `description` says all its roles and where it rests, whatever the text."""

    layer: int
    head: int = Field(validation_alias="index")
    primary_role: str
    description: str
    roles: dict[str, HeadResult]


class AnalysisResult(Answer):
    """What every role's top heads do on the prompt; `heads` are all heads of the model if they were asked for, else none.

    Only where a model has them: `other_layers` says what its layers without an attention pattern are, by number; `learned_sink`
    is true where each head has a learned sink, which takes what a row of a pattern leaves of 1, and which First Token counts.
    """

    model: str
    prompt: str
    tokens: list[str]
    num_layers: int
    num_heads: int
    source: str = Field(validation_alias=AliasPath("source", "kind"))
    source_note: str = Field(validation_alias=AliasPath("source", "note"))
    dataset: str = Field(validation_alias=AliasPath("source", "dataset"))
    commit: str = Field(validation_alias=AliasPath("source", "commit"))
    analysis_date: str = Field(validation_alias=AliasPath("source", "analysis_date"))
    revision: str = Field(validation_alias=AliasPath("source", "revision"))
    roles: list[RoleResult]
    heads: list[HeadRoles]
    other_layers: dict[str, str]
    learned_sink: bool = Field(validation_alias="has_sink")

    @model_serializer(mode="wrap")
    def _leave_out_what_it_has_not(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value or name not in ("other_layers", "learned_sink")}


class BatchResult(Answer):
    """One analysis a prompt, in the order of the prompts."""

    model: str
    analyses: list[AnalysisResult]


class ModelResult(Result):
    """A model that can be analysed, why one would, and how many tokens a prompt may have."""

    name: str
    description: str = Field(validation_alias="title")
    architecture: str = Field(validation_alias="model_type")
    num_layers: int
    num_heads: int
    parameters: int
    license: str
    gated: bool
    prepend_bos: bool
    max_tokens: int


class LimitsResult(Result):
    """What this server takes; 0 means no limit."""

    prompt_characters: int
    batch_prompts: int
    waiting_requests: int
    prompts_a_minute: int


class ModelsResult(Answer):
    """Every model that can be picked by name."""

    limits: LimitsResult
    models: list[ModelResult]


class TopHeadResult(Result):
    """A head that stands for a role; `score` lies within the range of the role's measure.

    `interval` holds the score with 95 % confidence over texts such as the probes; null where no texts tell. `second_score` and
    its interval are another number, from other evidence; null for a role that has none.
    """

    layer: int
    head: int
    score: float
    interval: list[float] | None
    second_score: float | None
    second_interval: list[float] | None


class CategoryResult(Result):
    """One role in one model; `top_heads` best first; `scores` [layer][head], empty where the role or the layer is not scored.

    `second_scores` are another number for the role, which `second_definition` explains; empty where the role has none.
    """

    key: str = Field(validation_alias="name")
    display_name: str
    description: str
    threshold: float
    top_heads: list[TopHeadResult]
    scores: Table
    second_definition: str
    second_scores: Table


class CategoriesResult(Answer):
    """Which head plays which role in a model, measured offline; `primary_roles` [layer][head] are role keys."""

    model: str = Field(validation_alias="model_name")
    revision: str
    analysis_date: str
    num_layers: int
    num_heads: int
    recipe: dict[str, str | int | bool | None]
    roles: list[CategoryResult]
    primary_roles: list[list[str]]


class RoleChangeResult(Result):
    """One role on two texts; `change` is "turns on", "turns off", "stays on" or "stays off"."""

    key: RoleKey
    display_name: RoleName
    applicable_a: bool = Field(validation_alias=AliasPath("a", "applicable"))
    applicable_b: bool = Field(validation_alias=AliasPath("b", "applicable"))
    change: str


class HeadChangeResult(Result):
    """One head on two texts, in the role in which it changes most; `difference` is the activation on B minus that on A.

    `evidence` is what the verdicts go by, B minus A: the excess, or the activation of an always-on role where it is unusual.
    """

    layer: int = Field(validation_alias=AliasPath("a", "head", "layer"))
    head: int = Field(validation_alias=AliasPath("a", "head", "index"))
    role: RoleKey
    activation_a: float | None = Field(validation_alias=AliasPath("a", "activation"))
    activation_b: float | None = Field(validation_alias=AliasPath("b", "activation"))
    difference: float
    evidence: float
    is_active_a: bool = Field(validation_alias=AliasPath("a", "is_active"))
    is_active_b: bool = Field(validation_alias=AliasPath("b", "is_active"))


class RoleCensusResult(Result):
    """The heads of two models whose primary role this is: counts in slices of relative depth, and shares of all heads."""

    key: RoleKey
    display_name: RoleName
    counts_a: list[int] = Field(validation_alias=AliasPath("a", "counts"))
    counts_b: list[int] = Field(validation_alias=AliasPath("b", "counts"))
    share_a: float = Field(validation_alias=AliasPath("a", "share"))
    share_b: float = Field(validation_alias=AliasPath("b", "share"))
    active_a: bool
    active_b: bool


class ComparisonResult(Answer):
    """Two texts on one model (`kind` "prompts": `changes` and `heads`), or two models on one text ("models": `census`)."""

    kind: str
    a: AnalysisResult
    b: AnalysisResult
    changes: list[RoleChangeResult] = Field(default_factory=list)
    heads: list[HeadChangeResult] = Field(default_factory=list)
    census: list[RoleCensusResult] = Field(default_factory=list)


class ExplainResult(Answer):
    """What goes on in a text, in lines of words: the answer, then a line a role, then notes."""

    model: str
    prompt: str
    words: str


class PatternResult(Answer):
    """One head's attention; `pattern` [query][key]; `roles` by role key; `sink` [query] only for a head with a learned sink."""

    model: str
    tokens: list[str]
    layer: LayerOfHead
    head: IndexOfHead
    pattern: Table
    primary_role: str = Field(validation_alias=AliasPath("primary", "name"))
    description: str
    roles: dict[str, HeadResult] = Field(validation_alias="readings")
    sink: list[float]

    @model_serializer(mode="wrap")
    def _leave_out_what_it_has_not(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value or name != "sink"}


def analysis_result(analysis: Analysis, all_heads: bool = False) -> AnalysisResult:
    """Builds the answer to an analysis.

    Args:
        analysis: The analysis of one text.
        all_heads: Whether to add every head of the model in every role.
    """
    return AnalysisResult.of(
        analysis,
        roles=[RoleResult.of(reading, reason=describe_role(reading, analysis)) for reading in analysis.roles],
        heads=[_head_roles(analysis, head) for head in analysis.heads.heads()] if all_heads else [],
        other_layers={str(layer): kind for layer, kind in analysis.other_layers.items()},
    )


def batch_result(model: str, analyses: Sequence[Analysis], all_heads: bool = False) -> BatchResult:
    """Builds the answer to several texts.

    Args:
        model: The model's name.
        analyses: The analysis of each text.
        all_heads: Whether to add every head of the model in every role, to each text.
    """
    return BatchResult(model=model, analyses=[analysis_result(analysis, all_heads) for analysis in analyses])


def comparison_result(comparison: PromptComparison | ModelComparison) -> ComparisonResult:
    """Builds the answer to a comparison of two texts, or of two models."""
    parts: Mapping[str, object] = {"kind": "models", "census": comparison.roles}
    if isinstance(comparison, PromptComparison):
        parts = {"kind": "prompts", "changes": comparison.roles, "heads": comparison.heads}
    return ComparisonResult.model_validate(
        {**parts, "a": analysis_result(comparison.a), "b": analysis_result(comparison.b)}, from_attributes=True
    )


def pattern_result(view: HeadView) -> PatternResult:
    """Builds the answer to one head's pattern."""
    return PatternResult.of(view, pattern=view.pattern.tolist(), description=describe_head_view(view))


def categories_result(record: HeadCategories) -> CategoriesResult:
    """Builds the answer to a model's record."""
    return CategoriesResult.of(
        record,
        recipe=record.recipe.model_dump(exclude_unset=True),
        roles=[_category(record, role) for role in ROLES.values()],
        primary_roles=[[role.name for role in row] for row in record.primary_roles],
    )


def _category(record: HeadCategories, role: Role) -> CategoryResult:
    return CategoryResult.of(
        role,
        top_heads=[
            TopHeadResult(
                layer=head.layer,
                head=head.index,
                score=record.score(role, head),
                interval=_as_list(record.interval(role, head)),
                second_score=record.second_score(role, head),
                second_interval=_as_list(record.second_interval(role, head)),
            )
            for head in record.top_heads(role)
        ],
        scores=record.all_scores.get(role.name, ()),
        second_definition=role.second.definition if role.second else "",
        second_scores=record.second_table.get(role.name, ()),
    )


def _as_list(bounds: tuple[float, float] | None) -> list[float] | None:
    return None if bounds is None else list(bounds)


def _head_roles(analysis: Analysis, head: Head) -> HeadRoles:
    return HeadRoles.of(
        head,
        primary_role=analysis.heads.primary_role(head).name,
        description=describe_head(analysis, head),
        roles={role.name: analysis.heads.reading(role, head) for role in measured_roles()},
    )
