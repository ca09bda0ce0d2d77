"""A model's record from the scores of its heads, with the heads that stand for each role."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

import torch
from jaxtyping import Float
from pydantic import JsonValue
from torch import Tensor

from headroles.core.records.bootstrap import MIN_TEXTS, mean_interval
from headroles.core.records.calibration import AlwaysOn, Triggered
from headroles.core.records.head_categories import MAX_TOP_HEADS, SCHEMA_VERSION, Category, HeadCategories, Recipe, TopHead
from headroles.core.records.role_effects import RoleEffect
from headroles.core.roles.roles import OTHER, MeasuredRole, measured_roles


def build_record(
    scores: Mapping[str, Float[Tensor, "layer head"]],
    *,
    model_name: str,
    revision: str,
    date: str,
    recipe: Recipe,
    other_layers: Collection[int] = (),
    by_text: Mapping[str, Float[Tensor, "text layer head"]] | None = None,
) -> HeadCategories:
    """The record of a model from the scores of the roles that were measured.

    Args:
        scores: by role, of the layers that have attention patterns.
        model_name: the model's name on the Hub, or its folder's.
        revision: of the model.
        date: of the analysis, as in `2026-01-31`.
        recipe: how the scores were measured.
        other_layers: the layers that have none, by their number in the model.
        by_text: what each text gives every head, of the same layers; the top heads of these roles get an interval, by draws of
            the recipe's seed, unless there is one text alone.
    """
    num_scored, num_heads = next(iter(scores.values())).shape
    num_layers = num_scored + len(other_layers)
    layers = [layer for layer in range(num_layers) if layer not in other_layers]
    roles = [role for role in measured_roles() if role.name in scores]
    rounded = {role.name: _whole_table(scores[role.name], layers, num_layers) for role in roles}
    categories = {
        role.name: _category(role, rounded[role.name], (by_text or {}).get(role.name), layers, recipe.seed) for role in roles
    }
    left_over = Category(
        display_name=OTHER.display_name, description=OTHER.description, icon=OTHER.icon, requires_repetition=False, top_heads=[]
    )
    return HeadCategories(
        schema_version=SCHEMA_VERSION,
        model_name=model_name,
        revision=revision,
        num_layers=num_layers,
        num_heads=num_heads,
        analysis_date=date,
        recipe=recipe,
        categories={**categories, OTHER.name: left_over},
        all_scores=rounded,
    )


def with_scores(
    record: HeadCategories,
    by_text: Mapping[str, Float[Tensor, "text layer head"]],
    seconds: Mapping[str, Float[Tensor, "text layer head"]] = MappingProxyType({}),
) -> HeadCategories:
    """The record with roles that were scored apart; a score is the mean over the texts.

    Args:
        record: to add to; it stays as it is.
        by_text: by role, what each text gives every head of the layers that have patterns.
        seconds: the same for the second number of some of these roles.
    """
    roles = [role for role in measured_roles() if role.name in by_text]
    tables = {role.name: _whole_table(by_text[role.name].mean(0), record.layers, record.num_layers) for role in roles}
    made = {
        role.name: _category(role, tables[role.name], by_text[role.name], record.layers, record.recipe.seed) for role in roles
    }
    second_tables = {name: _whole_table(found.mean(0), record.layers, record.num_layers) for name, found in seconds.items()}
    for role in roles:
        if role.name in seconds and (second := role.measure.second):
            top_heads = made[role.name].top_heads
            scores = [second_tables[role.name][top.layer][top.head] for top in top_heads]
            found = _intervals(top_heads, scores, second.range, seconds[role.name], record.layers, record.recipe.seed)
            updated = [top.model_copy(update={"second_interval": interval}) for top, interval in zip(top_heads, found)]
            made[role.name] = made[role.name].model_copy(update={"top_heads": updated or top_heads})
    # in the order of roles, whoever scored them first
    order = [*(role.name for role in measured_roles()), OTHER.name]
    categories, scores = {**record.categories, **made}, {**record.all_scores, **tables}
    names = [name for name in order if name in categories] + [name for name in categories if name not in order]
    fields = {
        "categories": {name: categories[name].model_dump(exclude_unset=True) for name in names},
        "all_scores": {name: scores[name] for name in names if name in scores},
    }
    if second_tables:
        fields["second_scores"] = {**(record.second_scores or {}), **second_tables}
    return HeadCategories.model_validate({**record.model_dump(exclude_unset=True), **fields})


def _whole_table(scores: Float[Tensor, "layer head"], layers: Sequence[int], num_layers: int) -> list[list[float]]:
    """[layer][head] of the whole model, rounded; empty rows for layers without a pattern."""
    rows = dict(zip(layers, ([_rounded(score) for score in row] for row in scores.tolist())))
    return [rows.get(layer, []) for layer in range(num_layers)]


def _category(
    role: MeasuredRole,
    table: list[list[float]],
    by_text: Float[Tensor, "text layer head"] | None,
    layers: Sequence[int],
    seed: int,
) -> Category:
    return Category(
        display_name=role.display_name,
        description=role.description,
        icon=role.icon,
        requires_repetition=role.requires_repetition,
        top_heads=_with_intervals(select_top_heads(table, role), role, by_text, layers, seed),
    )


def _with_intervals(
    top_heads: list[TopHead],
    role: MeasuredRole,
    by_text: Float[Tensor, "text layer head"] | None,
    layers: Sequence[int],
    seed: int,
) -> list[TopHead]:
    """The same heads, each with where its score lies; as they were where no texts, or too few, say it."""
    if by_text is None:
        return top_heads
    found = _intervals(top_heads, [top.score for top in top_heads], role.measure.range, by_text, layers, seed)
    return [top.model_copy(update={"interval": interval}) for top, interval in zip(top_heads, found)] or top_heads


def _intervals(
    top_heads: list[TopHead],
    scores: list[float],
    bounds: tuple[float, float],
    by_text: Float[Tensor, "text layer head"],
    layers: Sequence[int],
    seed: int,
) -> list[list[float]]:
    """Where each head's score lies; none where texts are too few to say it."""
    if len(by_text) < MIN_TEXTS or not top_heads:
        return []
    values = torch.stack([by_text[:, layers.index(top.layer), top.head] for top in top_heads], dim=-1)
    least, most = bounds
    # a score is rounded from another sum of the same texts: by a last digit it may lie outside
    return [
        [max(least, min(_rounded(low), score)), min(most, max(_rounded(high), score))]
        for score, (low, high) in zip(scores, mean_interval(values, seed).tolist())
    ]


def with_calibration(record: HeadCategories, found: Mapping[str, Triggered | AlwaysOn]) -> HeadCategories:
    """The record with the calibration of some of its roles, checked as one that is read from a file."""
    entries = {**(record.calibration or {}), **{name: _entry(made) for name, made in found.items()}}
    return HeadCategories.model_validate({**record.model_dump(exclude_unset=True), "calibration": entries})


def with_effects(record: HeadCategories, found: Mapping[str, RoleEffect]) -> HeadCategories:
    """The record with what the model loses without the heads of its roles."""
    entries = {name: effect.model_dump() for name, effect in found.items()}
    return HeadCategories.model_validate({**record.model_dump(exclude_unset=True), "effects": entries})


def with_prompts(record: HeadCategories, found: Mapping[str, str]) -> HeadCategories:
    """The record with a suggested prompt, or an empty one, for some of its calibrated roles, checked likewise."""
    entries = dict(record.calibration or {})
    entries |= {name: {**entries[name], "suggested_prompt": prompt} for name, prompt in found.items()}
    return HeadCategories.model_validate({**record.model_dump(exclude_unset=True), "calibration": entries})


def _entry(made: Triggered | AlwaysOn) -> dict[str, JsonValue]:
    """As a record holds it; a prompt that nobody looked for is left out."""
    entry = made.model_dump()
    if entry.get("suggested_prompt", "") is None:
        del entry["suggested_prompt"]
    return entry


def select_top_heads(scores: list[list[float]], role: MeasuredRole) -> list[TopHead]:
    """The heads that stand for a role: those at or above its threshold, best first, at most 8.

    When more than half of them come from one layer, the best head of every other layer that reaches the diversity threshold
    joins them; past 8 it takes the place of the crowded layer's weakest head, but never of its best.
    """
    ranked = sorted(
        (TopHead(layer=layer, head=head, score=s) for layer, row in enumerate(scores) for head, s in enumerate(row)),
        key=lambda top: (-top.score, top.layer, top.head),
    )
    chosen = [top for top in ranked if top.score >= role.threshold][:MAX_TOP_HEADS]
    layers = [top.layer for top in chosen]
    crowded = next((layer for layer in set(layers) if layers.count(layer) * 2 > len(layers)), None)
    if crowded is None:
        return chosen
    best_of_layer = {top.layer: top for top in reversed(ranked)}
    for candidate in sorted(best_of_layer.values(), key=ranked.index):
        if candidate.layer == crowded or candidate.score < role.diversity_threshold or candidate in chosen:
            continue
        if len(chosen) == MAX_TOP_HEADS:
            crowd = [top for top in chosen if top.layer == crowded]
            if len(crowd) == 1:
                break
            chosen.remove(crowd[-1])
        chosen.append(candidate)
    return sorted(chosen, key=ranked.index)


def _rounded(score: float) -> float:
    """As a record holds it."""
    return round(score, 6)
