"""Which layers of a model have attention patterns and what the others are, as its config says it."""

from transformers import PreTrainedConfig

# in a hybrid layer, attention stands beside a state space, or before it
ATTENTION_KINDS = {"full_attention", "sliding_attention", "chunked_attention", "hybrid", "global", "local"}
KIND_NAMES = {"linear_attention": "linear attention", "conv": "convolution", "mlp": "feed-forward", "moe": "feed-forward"}
# transformers calls every layer that carries a state from token to token "linear_attention"
LINEAR_KIND_NAMES = {
    "bamba": "state space",
    "granitemoehybrid": "state space",
    "jamba": "state space",
    "nemotron_h": "state space",
    "recurrent_gemma": "recurrence",
    "zamba2": "state space",
}


def layer_kinds(config: PreTrainedConfig) -> list[str]:
    """What the config calls each layer; a config that does not say so has attention in all."""
    text = config.get_text_config()
    kinds = getattr(text, "layer_types", None) or getattr(text, "attention_layers", None)
    return list(kinds) if kinds else ["full_attention"] * text.num_hidden_layers


def other_layers(config: PreTrainedConfig) -> dict[int, str]:
    """The layers without an attention pattern, by number, and what they are in words."""
    words = KIND_NAMES | {
        "linear_attention": LINEAR_KIND_NAMES.get(config.get_text_config().model_type, KIND_NAMES["linear_attention"])
    }
    kinds = enumerate(layer_kinds(config))
    return {layer: words.get(kind, kind.replace("_", " ")) for layer, kind in kinds if kind not in ATTENTION_KINDS}
