"""Other heads of a model, to hold what some heads do against."""

from collections.abc import Collection

from headroles.core.heads import Head
from headroles.core.outputs.ablation import CONTROLS, control_sets
from headroles.models.loading.loader import LoadedModel


def other_heads(
    loaded: LoadedModel, heads: Collection[Head], spared: Collection[Head] = (), seed: int = 0
) -> tuple[tuple[Head, ...], ...]:
    """Sets of as many other heads of the same layers, drawn at random, none of them spared ones."""
    every = {Head(layer, index) for layer in loaded.layers for index in range(loaded.identity.num_heads)}
    return tuple(control_sets(heads, every - {*heads, *spared}, CONTROLS, seed))
