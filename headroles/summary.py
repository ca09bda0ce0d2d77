"""Attention patterns from anywhere -> what the top heads of each role do. Needs neither transformers nor PyVene."""

from collections.abc import Mapping

from headroles.core.heads import Attention
from headroles.core.readings.verdicts import read_heads, read_roles
from headroles.core.records.head_categories import HeadCategories
from headroles.core.roles.scoring import as_float_tensor, as_token_ids
from headroles.errors import InvalidInputError
from headroles.hub.record_store import load_head_categories

Summary = dict[str, list[dict[str, int | float | bool | None]]]


def get_active_head_summary(activation_data: Attention | Mapping, model_name: str) -> Summary:
    """What the top heads of each role do on a prompt, in plain Python types.

    Args:
        activation_data: an Attention, or a mapping with `token_ids` [seq], `patterns` [layer, head, seq, seq] (of the layers that
            have them, as transformers' `output_attentions` gives them) and, if you like, `tokens` (texts), without which nothing
            is known of delimiters.
        model_name: whose record to read; the patterns must have its layers and heads.

    Returns:
        `{category: [{layer, head, score, activation_score, is_active, excess, unusual}, ...]}`, every category, best head first;
        `is_active` means seen, of a role that a text calls for; `excess` is what its strongest token shows beyond the controls.

    Raises:
        InvalidInputError: names what is wrong with the data.
        NoHeadCategoriesError, InvalidRecordError: when the model has no record, or the patterns do not fit it.
    """
    categories = load_head_categories(model_name)
    attention = _as_attention(activation_data, categories)
    return {
        reading.role.name: [
            {
                "layer": head.head.layer,
                "head": head.head.index,
                "score": head.score,
                "activation_score": head.activation,
                "is_active": head.is_active,
                "excess": head.triggered_excess,
                "unusual": head.is_unusual,
            }
            for head in reading.heads
        ]
        for reading in read_roles(read_heads(attention, categories), categories)
    }


def _as_attention(activation_data: Attention | Mapping, record: HeadCategories) -> Attention:
    if isinstance(activation_data, Attention):
        return activation_data
    if not isinstance(activation_data, Mapping) or not {"token_ids", "patterns"} <= set(activation_data):
        raise InvalidInputError("activation_data must be an Attention, or a mapping with 'token_ids' and 'patterns'.")
    ids = as_token_ids(activation_data["token_ids"])
    patterns = as_float_tensor(activation_data["patterns"], "patterns")
    tokens = activation_data.get("tokens") or [str(token_id) for token_id in ids.tolist()]
    others = dict.fromkeys(record.other_layers, "no attention pattern") if len(patterns) == len(record.layers) else {}
    has_sink = record.recipe.learned_sink
    return Attention(record.model_name, tuple(ids.tolist()), tuple(tokens), patterns, other_layers=others, has_sink=has_sink)
