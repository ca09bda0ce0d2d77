"""Scores of all heads for all roles in one pass: offline on the probes, here on one text."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from headroles.core.heads import Attention, Head, as_head, check_patterns
from headroles.core.patterns.excess import Excess
from headroles.core.roles.measurement import Capture, Measurement
from headroles.core.roles.roles import MeasuredRole, Role, get_role, measured_roles
from headroles.core.text.tokens import is_delimiter
from headroles.errors import InvalidInputError

Numbers = Tensor | np.ndarray | Sequence


def measure_heads(
    patterns: Float[Tensor, "batch *heads query key"],
    token_ids: Int[Tensor, "batch query"],
    lengths: Int[Tensor, " batch"] | None = None,
    roles: Sequence[MeasuredRole] | None = None,
    window: int | None = None,
    has_sink: bool = False,
    delimiters: Bool[Tensor, "batch query"] | None = None,
) -> dict[str, Measurement]:
    """Every role that needs patterns for every head, by role name, on the device of `patterns`.

    Args:
        patterns: attention after softmax; any axes between batch and query, for instance layer and head.
        token_ids: the tokens behind it.
        lengths: how many tokens of each row are real, where rows are padded on the right; None for all.
        roles: those to measure; None for all that need patterns, and no more than what is given here.
        window: how many keys back from the query these heads see, the query's own included; None for all.
        has_sink: whether each of these heads has a learned sink, which takes what its rows leave of 1.
        delimiters: which tokens are delimiters, as their texts tell.

    Raises:
        InvalidInputError: when the shapes do not belong together, or a role is asked for that goes by delimiters, and they are
            not given.
    """
    if roles is None:
        roles = [role for role in pattern_roles() if delimiters is not None or not role.measure.reads_texts]
    evidence = Capture(patterns, token_ids, lengths, window, delimiters=delimiters)
    return {role.name: role.measure_in(has_sink)(evidence) for role in roles}


def pattern_roles() -> tuple[MeasuredRole, ...]:
    """The roles that a text can show in a head's pattern."""
    return tuple(role for role in measured_roles() if role.measure.needs == "patterns")


def measure_windows(attention: Attention) -> dict[int | None, dict[str, Measurement]]:
    """All patterns measured under each window that their layers have on this prompt: one, unless windows are shorter than it."""
    windows = {attention.window(layer) for layer in attention.layers}
    token_ids = torch.tensor([attention.token_ids], device=attention.patterns.device)
    options = {"has_sink": attention.has_sink, "delimiters": attention.delimiters[None].to(token_ids.device)}
    return {window: measure_heads(attention.patterns[None], token_ids, window=window, **options) for window in windows}


def can_show(role: Role, measured: Mapping[int | None, Mapping[str, Measurement]]) -> bool:
    """Whether a text, measured under each window, has a query at which the role can show."""
    return any(bool(under[role.name].count[0] > 0) for under in measured.values())


def stack_layers(
    attention: Attention,
    measured: Mapping[int | None, Mapping[str, Measurement]],
    role: str,
    of: Callable[[Measurement], Tensor] = lambda measurement: measurement.values,
) -> Shaped[Tensor, "layer head"]:
    """What `measure_windows` found of one role in every head, each layer under its own window."""
    tables = {window: of(under[role])[0] for window, under in measured.items()}
    return torch.stack([tables[attention.window(layer)][row] for row, layer in enumerate(attention.layers)])


def excess_by_window(
    role: MeasuredRole,
    patterns: Float[Tensor, "layer head query key"],
    token_ids: Int[Tensor, " query"],
    windows: Sequence[int | None],
    first_query: int = 0,
) -> Excess:
    """A triggered role's excess on one text, each layer under its own window; 0 at a query whose keys a window hides.

    Args:
        role: one that a text triggers.
        patterns: of the layers that have them.
        token_ids: the tokens of the text.
        windows: of each layer of `patterns`; None for one that sees all.
        first_query: queries before it do not count.
    """
    length = len(token_ids)
    shortened = [None if window is None or window >= length else window for window in windows]
    found = {window: role.measure.excess(patterns[_at(shortened, window)], token_ids, window) for window in set(shortened)}
    queries = torch.cat([excess.queries for excess in found.values()]).unique()
    queries = queries[queries >= first_query]
    mass, elsewhere, shifted = (patterns.new_zeros(*patterns.shape[:2], length) for _ in range(3))
    for window, excess in found.items():
        rows = torch.tensor(_at(shortened, window), device=patterns.device)[:, None, None]
        heads = torch.arange(patterns.shape[1], device=patterns.device)[None, :, None]
        for table, values in ((mass, excess.mass), (elsewhere, excess.elsewhere), (shifted, excess.shifted)):
            table[rows, heads, excess.queries] = values
    return Excess(queries, mass[..., queries], elsewhere[..., queries], shifted[..., queries])


def _at(windows: Sequence[int | None], wanted: int | None) -> list[int]:
    return [row for row, window in enumerate(windows) if window == wanted]


def verify_head_activation(
    attention_weights: Numbers,
    tokens: Numbers,
    head_info: Head | Mapping | str | tuple[int, int],
    category: Role | str,
    window: int | None = None,
    has_sink: bool = False,
    texts: Sequence[str] | None = None,
) -> float:
    """How strongly one head plays a role on one text: the role's own measure, 0.0 to 1.0.

    Args:
        attention_weights: the head's pattern [seq, seq], query by key, after softmax.
        tokens: token ids [seq].
        head_info: a Head, a mapping with `layer` and `head`, `"L2H3"` or `(2, 3)`.
        category: a role, or its name; what no pattern shows gives 0.0, as does a text on which the role cannot show.
        window: the sliding window of the head's layer in tokens; None for none.
        has_sink: whether the head has a learned sink, which takes what its rows leave of 1.
        texts: the tokens' texts, for the role that goes by punctuation and line breaks.

    Raises:
        InvalidInputError: names the argument, its shape or value, and what is allowed.
    """
    role = get_role(category)
    as_head(head_info)
    token_ids = as_token_ids(tokens)
    pattern = as_float_tensor(attention_weights, "attention_weights")
    if pattern.ndim != 2:
        raise InvalidInputError(
            f"attention_weights must be [seq, seq], but has shape {tuple(pattern.shape)}, with {len(token_ids)} tokens."
        )
    check_patterns(pattern, len(token_ids), "attention_weights", window, has_sink)
    if texts is not None and len(texts) != len(token_ids):
        raise InvalidInputError(f"texts must be one for each of the {len(token_ids)} tokens, but are {len(texts)}.")
    delimiters = None if texts is None else torch.tensor([[is_delimiter(text) for text in texts]])
    asked = [shown for shown in pattern_roles() if shown == role]
    options = {"window": window, "has_sink": has_sink, "delimiters": delimiters}
    measured = measure_heads(pattern[None], token_ids[None], roles=asked, **options)
    return float(measured[role.name].values) if asked else 0.0


def as_float_tensor(values: Numbers, name: str) -> Tensor:
    """Numbers of any kind as a float tensor on the CPU. Raises InvalidInputError that names the argument."""
    try:
        tensor = values.detach().cpu() if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{name} must be a tensor, an array or nested lists of numbers.") from error
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def as_token_ids(tokens: Numbers) -> Int[Tensor, " seq"]:
    """Token ids of any kind as a tensor on the CPU. Raises InvalidInputError for what are none."""
    ids = torch.as_tensor(as_float_tensor(tokens, "tokens"))
    if ids.ndim != 1 or len(ids) == 0:
        raise InvalidInputError(f"tokens must be token ids [seq], one at least, but has shape {tuple(ids.shape)}.")
    if not torch.equal(ids, ids.round()):
        raise InvalidInputError("tokens must be whole numbers: token ids, not text or embeddings.")
    return ids.long()
