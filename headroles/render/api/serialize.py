"""Readings -> plain numbers, strings, lists and dicts, in the shapes of `results`: what programs and files get."""

import base64
from collections.abc import Sequence

from headroles.core.heads import Head
from headroles.core.readings.analysis import Analysis, HeadView
from headroles.core.readings.comparison import ModelComparison, PromptComparison
from headroles.core.readings.head_readings import HeadReading
from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.role_effects import RoleEffect
from headroles.core.roles.roles import ROLES, measured_roles
from headroles.render.api.schema import (
    AnalysisResult,
    BatchResult,
    CategoriesResult,
    ComparisonResult,
    ExplainResult,
    FigureResult,
    HeadResult,
    HeadRoles,
    HeatmapResult,
    PatternResult,
    RoleEffectResult,
)
from headroles.render.wording.head_sentences import describe_head, describe_head_view
from headroles.render.wording.role_states import describe_role
from headroles.render.wording.states import get_state

API_VERSION = "1"  # changes when a field goes or changes its meaning, not when one is added


def explain_result(analysis: Analysis, words: str) -> ExplainResult:
    return {"api_version": API_VERSION, "model": analysis.model, "prompt": analysis.prompt, "words": words}


def categories_result(record: HeadCategories) -> CategoriesResult:
    return {
        "api_version": API_VERSION,
        "model": record.model_name,
        "revision": record.revision,
        "analysis_date": record.analysis_date,
        "num_layers": record.num_layers,
        "num_heads": record.num_heads,
        "recipe": record.recipe.model_dump(exclude_unset=True),
        "roles": [
            {
                "key": role.name,
                "display_name": role.display_name,
                "description": role.description,
                "threshold": role.threshold,
                "top_heads": [
                    {
                        "layer": head.layer,
                        "head": head.index,
                        "score": record.score(role, head),
                        "interval": _pair(record.interval(role, head)),
                        "second_score": record.second_score(role, head),
                        "second_interval": _pair(record.second_interval(role, head)),
                    }
                    for head in record.top_heads(role)
                ],
                "scores": [list(row) for row in record.all_scores.get(role.name, ())],
                "second_definition": role.second.definition if role.second else "",
                "second_scores": [list(row) for row in record.second_table.get(role.name, ())],
            }
            for role in ROLES.values()
        ],
        "primary_roles": [[role.name for role in row] for row in record.primary_roles],
    }


def head_result(reading: HeadReading) -> HeadResult:
    return {
        "layer": reading.head.layer,
        "head": reading.head.index,
        "score": reading.score,
        "activation_score": reading.activation,
        "chance": reading.chance,
        "is_active": reading.is_active,
        "verdict": get_state(reading),
        "excess": reading.excess if reading.is_triggered else None,
        "seen_at": reading.detections,
        "places": [
            {
                "query": place.query,
                "key": place.key,
                "attention": place.attention,
                "control": place.control,
                "most_key": place.most_key,
                "most_attention": place.most_attention,
            }
            for place in reading.evidence
        ],
        "percentile": reading.percentile,
        "usual": _pair(reading.usual),
        "unusual": reading.is_unusual,
    }


def effect_result(effect: RoleEffect | None) -> RoleEffectResult | None:
    if effect is None:
        return None
    return {
        "texts": effect.texts,
        "heads": effect.heads,
        "rise": effect.loss_increase,
        "interval": list(effect.interval),
        "controls": list(effect.controls),
        "control_text": effect.control_text,
    }


def analysis_result(analysis: Analysis, all_heads: bool = False) -> AnalysisResult:
    result = _usual_result(analysis, all_heads)
    if analysis.other_layers:
        result["other_layers"] = {str(layer): kind for layer, kind in analysis.other_layers.items()}
    if analysis.has_sink:
        result["learned_sink"] = True
    return result


def _usual_result(analysis: Analysis, all_heads: bool) -> AnalysisResult:
    """What is said of every model."""
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
                "verdict": reading.state,
                "unusual": reading.is_unusual,
                "tokens": reading.tokens,
                "reason": describe_role(reading, analysis),
                "effect": effect_result(reading.effect),
                "suggested_prompt": reading.suggested_prompt,
                "heads": [head_result(head) for head in reading.heads],
                "also_seen": [head_result(head) for head in reading.other_heads],
            }
            for reading in analysis.roles
        ],
        "heads": [_head_roles(analysis, head) for head in analysis.heads.heads()] if all_heads else [],
    }


def batch_result(model: str, analyses: Sequence[Analysis], all_heads: bool = False) -> BatchResult:
    results = [analysis_result(analysis, all_heads) for analysis in analyses]
    return {"api_version": API_VERSION, "model": model, "analyses": results}


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
                "evidence": head.evidence,
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
    result: PatternResult = {
        "api_version": API_VERSION,
        "model": view.model,
        "tokens": list(view.tokens),
        "layer": view.head.layer,
        "head": view.head.index,
        "pattern": view.pattern.tolist(),
        "primary_role": view.primary.name,
        "description": describe_head_view(view),
        "roles": {name: head_result(reading) for name, reading in view.readings.items()},
    }
    if view.has_sink:
        result["sink"] = list(view.sink)
    return result


def heatmap_result(view: HeadView, media_type: str, content: bytes) -> HeatmapResult:
    return {**figure_result(media_type, content), "description": describe_head_view(view)}


def figure_result(media_type: str, content: bytes) -> FigureResult:
    is_text = media_type == "image/svg+xml"
    return {
        "api_version": API_VERSION,
        "media_type": media_type,
        "encoding": "utf-8" if is_text else "base64",
        "data": (content if is_text else base64.b64encode(content)).decode("utf-8"),
    }


def _pair(bounds: tuple[float, float] | None) -> list[float] | None:
    return None if bounds is None else list(bounds)


def _head_roles(analysis: Analysis, head: Head) -> HeadRoles:
    return {
        "layer": head.layer,
        "head": head.index,
        "primary_role": analysis.heads.primary_role(head).name,
        "told": describe_head(analysis, head),
        "roles": {role.name: head_result(analysis.heads.reading(role, head)) for role in measured_roles()},
    }
