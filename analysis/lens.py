"""TransformerLens reads a model's patterns layer by layer, headroles scores them at once; nothing is kept."""

import datetime
from collections.abc import Callable, Iterable
from importlib.metadata import version

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.exceptions import StopAtLayerException

from analysis.probes import Probe, Recipe, fitting_repeat_length
from headroles import categories
from headroles.categories import HeadCategories
from headroles.errors import UnsupportedModelError
from headroles.models import LoadedModel
from headroles.roles import MEASURED_ROLES
from headroles.scoring import measure_heads


def open_bridge(loaded: LoadedModel, device: str = "cpu") -> TransformerBridge:
    """The model under TransformerLens, raw. It swaps modules inside `loaded.model`, which is of no other use afterwards.

    Raises:
        UnsupportedModelError: when TransformerLens does not know the architecture.
    """
    try:
        loaded.model.to(device)  # type: ignore[arg-type]
        # always with the tokenizer: without it, the bridge would look for one on the hub
        return TransformerBridge.boot_transformers(loaded.name, hf_model=loaded.model, tokenizer=loaded.tokenizer, device=device)
    except (ValueError, KeyError, NotImplementedError, AttributeError) as error:
        kind = loaded.model.config.model_type
        reason = str(error).strip().split("\n")[0][:150]
        raise UnsupportedModelError(
            f"TransformerLens cannot analyse {loaded.name} ({kind}): {reason or type(error).__name__}"
        ) from error


def score_model(bridge: TransformerBridge, probes: Iterable[Probe]) -> dict[str, Float[Tensor, "layer head"]]:
    """Every measured role's score of every head: the mean over the probes that score it, on the CPU.

    One forward a probe; each layer's patterns are scored as they appear, and nothing after the last ones is computed.

    Raises:
        UnsupportedModelError: when the model has no attention patterns to hook.
    """
    shape = (bridge.cfg.n_layers, bridge.cfg.n_heads)
    totals = {role.name: torch.zeros(shape, device=bridge.cfg.device) for role in MEASURED_ROLES}
    counts = {role.name: 0 for role in MEASURED_ROLES}
    for probe in probes:
        for role in probe.roles:
            counts[role.name] += len(probe.token_ids)
        with torch.no_grad():
            _stream(bridge, probe, totals)
    return {name: (total / counts[name]).cpu() for name, total in totals.items()}


def _stream(bridge: TransformerBridge, probe: Probe, totals: dict[str, Float[Tensor, "layer head"]]) -> None:
    """Adds the scores of one probe to `totals`."""
    token_ids, lengths = probe.token_ids.to(bridge.cfg.device), probe.lengths.to(bridge.cfg.device)
    last = bridge.cfg.n_layers - 1

    def score_layer(pattern: Float[Tensor, "batch head query key"], layer: int) -> None:
        for name, measured in measure_heads(pattern, token_ids, lengths, probe.roles).items():
            totals[name][layer] += measured.values.sum(0)
        if layer == last:
            raise StopAtLayerException(pattern)  # TransformerLens' own way to end a forward

    hooks: list[tuple[str | Callable, Callable]] = [
        (f"blocks.{layer}.attn.hook_pattern", lambda pattern, hook, layer=layer: score_layer(pattern, layer))
        for layer in range(bridge.cfg.n_layers)
    ]
    try:
        bridge.run_with_hooks(token_ids, fwd_hooks=hooks, return_type=None)
    except KeyError as error:
        if "hook_pattern" not in str(error):
            raise
        raise UnsupportedModelError(
            f"TransformerLens cannot analyse {bridge.cfg.model_name}: it has no attention patterns."
        ) from error


def make_record(loaded: LoadedModel, scores: dict[str, Float[Tensor, "layer head"]], recipe: Recipe) -> HeadCategories:
    """The JSON record of a scored model, dated today."""
    how = categories.Recipe(
        transformer_lens=version("transformer-lens"),
        transformers=version("transformers"),
        torch=version("torch").split("+")[0],
        dtype="float32",
        seed=recipe.seed,
        prepend_bos=loaded.prepend_bos,
        tokenizer_sha256=loaded.tokenizer_sha256,
        repeated_sequences=recipe.repeated_sequences,
        repeat_length=fitting_repeat_length(loaded, recipe.repeat_length),
        sentences=recipe.sentences,
    )
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    return categories.build_record(scores, model_name=loaded.name, revision=loaded.revision, date=today, recipe=how)
