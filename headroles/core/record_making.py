"""A model's record from the scores of its heads, with the heads that stand for each role."""

from collections.abc import Collection, Mapping

from jaxtyping import Float
from pydantic import JsonValue
from torch import Tensor

from headroles.core.calibration import AlwaysOn, Triggered
from headroles.core.records import MAX_TOP_HEADS, SCHEMA_VERSION, Category, HeadCategories, Recipe, TopHead
from headroles.core.roles import OTHER, MeasuredRole, measured_roles


def build_record(
    scores: Mapping[str, Float[Tensor, "layer head"]],
    *,
    model_name: str,
    revision: str,
    date: str,
    recipe: Recipe,
    other_layers: Collection[int] = (),
) -> HeadCategories:
    """The record of a model from the scores of the roles that were measured.

    Args:
        scores: of the layers that have attention patterns.
        other_layers: the layers that have none, by their number in the model.
    """
    num_scored, num_heads = next(iter(scores.values())).shape
    num_layers = num_scored + len(other_layers)
    tables = {role.name: scores[role.name].tolist() for role in measured_roles() if role.name in scores}
    rounded: dict[str, list[list[float]]] = {}
    for name, table in tables.items():
        rows = iter([[round(score, 6) for score in row] for row in table])
        rounded[name] = [[] if layer in other_layers else next(rows) for layer in range(num_layers)]
    categories = {
        role.name: Category(
            display_name=role.display_name,
            description=role.description,
            icon=role.icon,
            requires_repetition=role.requires_repetition,
            top_heads=select_top_heads(rounded[role.name], role),
        )
        for role in measured_roles()
        if role.name in rounded
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


def with_calibration(record: HeadCategories, found: Mapping[str, Triggered | AlwaysOn]) -> HeadCategories:
    """The record with the calibration of some of its roles, checked as one that is read from a file."""
    entries = {**(record.calibration or {}), **{name: _entry(made) for name, made in found.items()}}
    return HeadCategories.model_validate({**record.model_dump(exclude_unset=True), "calibration": entries})


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
