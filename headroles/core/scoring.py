"""Scores of all heads for all roles in one pass, and what they say of one prompt."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headroles.core.heads import Attention, Head, check_patterns
from headroles.core.readings import HeadReading, HeadTable, RoleReading
from headroles.core.records import HeadCategories
from headroles.core.roles import MEASURED_ROLES, ROLES, Measurement, Role, get_role
from headroles.errors import InvalidInputError, InvalidRecordError

Numbers = Tensor | np.ndarray | Sequence


def measure_heads(
    patterns: Float[Tensor, "batch *heads query key"],
    token_ids: Int[Tensor, "batch query"],
    lengths: Int[Tensor, " batch"] | None = None,
    roles: Sequence[Role] = MEASURED_ROLES,
    window: int | None = None,
) -> dict[str, Measurement]:
    """Every one of the measured `roles` for every head, by role name, on the device of `patterns`.

    Args:
        patterns: attention after softmax; any axes between batch and query, for instance layer and head.
        token_ids: the tokens behind it.
        lengths: how many tokens of each row are real, where rows are padded on the right; None for all.
        window: how many keys back from the query these heads see, the query's own included; None for all.

    Raises:
        InvalidInputError: when the shapes do not belong together.
    """
    batch, length = token_ids.shape
    if patterns.shape[0] != batch or tuple(patterns.shape[-2:]) != (length, length):
        raise InvalidInputError(
            f"patterns {tuple(patterns.shape)} do not match token_ids {tuple(token_ids.shape)}: "
            f"they must be [{batch}, ..., {length}, {length}]."
        )
    return {role.name: role.measure(patterns, token_ids, lengths, window) for role in roles if role.measure}


def active_heads(role: Role, measured: Measurement) -> Bool[Tensor, "batch *heads"]:
    """Which heads play the role here: activation corrected for chance (kappa), or spread with no strong peak."""
    per_row = (-1,) + (1,) * (measured.values.ndim - 1)
    applicable = (measured.eligible > 0).view(per_row)
    if measured.peaks is not None and role.peak_ceiling is not None:
        return applicable & (measured.values >= role.active_threshold) & (measured.peaks <= role.peak_ceiling)
    chance = measured.chance.view(per_row)
    # kappa = (value - chance) / (1 - chance), without a division that chance 1 would break
    return applicable & (measured.values - chance >= role.active_threshold * (1 - chance)) & (chance < 1)


def read_heads(attention: Attention, categories: HeadCategories) -> HeadTable:
    """What every head of the model does on one prompt, in every measured role.

    Raises:
        InvalidRecordError: when the record belongs to a model of another shape.
    """
    check_fit(attention, categories)
    measured = _measure_windows(attention)
    windows = [attention.window(layer) for layer in range(attention.num_layers)]

    def cells(role: Role, of: Callable[[Measurement], Tensor]) -> tuple[tuple, ...]:
        """[layer][head], each layer from what was measured under its own window."""
        tables = {window: of(under[role.name])[0].tolist() for window, under in measured.items()}
        return tuple(tuple(tables[window][layer]) for layer, window in enumerate(windows))

    return HeadTable(
        scores={role.name: tuple(map(tuple, categories.all_scores[role.name])) for role in MEASURED_ROLES},
        activations={role.name: cells(role, lambda measurement: measurement.values) for role in MEASURED_ROLES},
        chances={role.name: tuple(float(measured[window][role.name].chance[0]) for window in windows) for role in MEASURED_ROLES},
        active={role.name: cells(role, partial(active_heads, role)) for role in MEASURED_ROLES},
        applicable={
            role.name: any(bool(under[role.name].eligible[0] > 0) for under in measured.values()) for role in MEASURED_ROLES
        },
        primary=tuple(
            tuple(categories.primary_role(Head(layer, index)) for index in range(categories.num_heads))
            for layer in range(categories.num_layers)
        ),
    )


def read_roles(heads: HeadTable, categories: HeadCategories) -> tuple[RoleReading, ...]:
    """What each role's top heads do on one prompt, in the order of ROLES."""
    readings = []
    for role in ROLES.values():
        if role.measure is None:
            readings.append(_left_over(role, categories))
            continue
        applicable = heads.applicable[role.name]
        top = tuple(heads.reading(role, head) for head in categories.top_heads(role))
        readings.append(RoleReading(role, applicable, _reason(role, applicable, top), top))
    return tuple(readings)


def read_head(attention: Attention, categories: HeadCategories, head: Head) -> dict[str, HeadReading]:
    """One head in every measured role on one prompt, by role name.

    Raises:
        InvalidInputError: for a head outside the model.
        InvalidRecordError: when the record belongs to a model of another shape.
    """
    check_fit(attention, categories)
    measured = _measure(attention.pattern(head)[None, None], attention.token_ids, attention.window(head.layer))
    return {
        role.name: HeadReading(
            head=head,
            score=categories.score(role, head),
            activation=float(measured[role.name].values),
            chance=float(measured[role.name].chance),
            is_active=bool(active_heads(role, measured[role.name])),
        )
        for role in MEASURED_ROLES
    }


def verify_head_activation(
    attention_weights: Numbers, tokens: Numbers, head_info: Head | Mapping, category: str, window: int | None = None
) -> float:
    """How strongly one head plays a role on one text: the role's own measure, 0.0 to 1.0.

    Args:
        attention_weights: the head's pattern [seq, seq], query by key, after softmax.
        tokens: token ids [seq].
        head_info: a Head, or a mapping with `layer` and `head`.
        category: a role's name; `other` has no measure and gives 0.0, as does a text on which the role cannot show.
        window: the sliding window of the head's layer in tokens; None for none.

    Raises:
        InvalidInputError: names the argument, its shape or value, and what is allowed.
    """
    role = get_role(category)
    _as_head(head_info)
    token_ids = as_token_ids(tokens)
    pattern = as_float_tensor(attention_weights, "attention_weights")
    if pattern.ndim != 2:
        raise InvalidInputError(
            f"attention_weights must be [seq, seq], but has shape {tuple(pattern.shape)}, with {len(token_ids)} tokens."
        )
    check_patterns(pattern, len(token_ids), "attention_weights", window)
    if role.measure is None:
        return 0.0
    return float(role.measure(pattern[None], token_ids[None], window=window).values)


def check_fit(attention: Attention, categories: HeadCategories) -> None:
    """Raises InvalidRecordError unless the record has the layers and heads of the patterns."""
    ours, theirs = (attention.num_layers, attention.num_heads), (categories.num_layers, categories.num_heads)
    if ours != theirs:
        raise InvalidRecordError(
            f"The roles of {categories.model_name} are for {theirs[0]} layers x {theirs[1]} heads, "
            f"but {attention.model} has {ours[0]} x {ours[1]}."
        )


def _measure(
    patterns: Float[Tensor, "layer head query key"], token_ids: Sequence[int], window: int | None
) -> dict[str, Measurement]:
    return measure_heads(patterns[None], torch.tensor([token_ids], device=patterns.device), window=window)


def _measure_windows(attention: Attention) -> dict[int | None, dict[str, Measurement]]:
    """All layers measured under each window that the model has on this prompt: one, unless windows are shorter than it."""
    windows = {attention.window(layer) for layer in range(attention.num_layers)}
    return {window: _measure(attention.patterns, attention.token_ids, window) for window in windows}


def _reason(role: Role, applicable: bool, heads: tuple[HeadReading, ...]) -> str:
    name = role.display_name.lower()
    if not heads:
        return f"No head of this model reaches the {name} threshold of {role.threshold:.1f}."
    if not applicable:
        return f"Not visible here: {role.why_inactive}"
    count = sum(head.is_active for head in heads)
    if not count:
        return f"Your text could show it, but none of the {name} heads does it here."
    return f"{count} of {len(heads)} {name} heads {'is' if count == 1 else 'are'} doing it on this text."


def _left_over(role: Role, categories: HeadCategories) -> RoleReading:
    total, rest = categories.num_layers * categories.num_heads, len(categories.heads_without_role())
    reason = f"{rest} of {total} heads reach no role's threshold; they do work that these roles do not name."
    return RoleReading(role, applicable=True, reason=reason, heads=())


def as_float_tensor(values: Numbers, name: str) -> Tensor:
    try:
        tensor = values.detach().cpu() if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{name} must be a tensor, an array or nested lists of numbers.") from error
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def as_token_ids(tokens: Numbers) -> Int[Tensor, " seq"]:
    ids = torch.as_tensor(as_float_tensor(tokens, "tokens"))
    if ids.ndim != 1 or len(ids) == 0:
        raise InvalidInputError(f"tokens must be token ids [seq], one at least, but has shape {tuple(ids.shape)}.")
    if not torch.equal(ids, ids.round()):
        raise InvalidInputError("tokens must be whole numbers: token ids, not text or embeddings.")
    return ids.long()


def _as_head(head_info: Head | Mapping) -> Head:
    if isinstance(head_info, Head):
        return head_info
    if not isinstance(head_info, Mapping) or not {"layer", "head"} <= set(head_info):
        raise InvalidInputError("head_info must be a Head, or a mapping with 'layer' and 'head'.")
    return Head(head_info["layer"], head_info["head"])
