"""Reads a model's patterns through TransformerLens, layer by layer; they are scored at once and not kept."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.exceptions import StopAtLayerException
from transformers import PreTrainedTokenizerFast

from headroles.core.roles.measurement import HeadWeights
from headroles.errors import UnsupportedModelError
from headroles.models.loading.loader import LoadedModel
from headroles.models.probes.probe_texts import Probe
from headroles.models.scoring.sweep import Sweep
from headroles.models.untrusted.tokenizer_loader import NAMED_TOKENS


def open_bridge(loaded: LoadedModel, device: str = "cpu") -> TransformerBridge:
    """Opens the model under TransformerLens, without its weight processing.

    It replaces modules inside `loaded.model`, which cannot be used otherwise afterwards.

    Args:
        loaded: the model.
        device: as torch names it.

    Raises:
        UnsupportedModelError: when TransformerLens does not know the architecture, or has no patterns of it to hook.
    """
    try:
        loaded.model.to(device)  # type: ignore[arg-type]
        # always with a tokenizer: without it, the bridge would look for one on the hub
        tokenizer = _bridge_tokenizer(loaded)
        bridge = TransformerBridge.boot_transformers(loaded.name, hf_model=loaded.model, tokenizer=tokenizer, device=device)
    except (ValueError, KeyError, NotImplementedError, AttributeError) as error:
        kind = loaded.model.config.model_type
        first_sentence = str(error).strip().split("\n")[0].split(". ")[0].rstrip(".")[:150]  # a list of all it knows follows
        raise UnsupportedModelError(
            f"TransformerLens cannot analyse {loaded.name} ({kind}): {first_sentence or type(error).__name__}."
        ) from error
    if not {hook_name(layer) for layer in loaded.layers} <= set(bridge.hook_dict):
        raise UnsupportedModelError(f"TransformerLens cannot analyse {loaded.name}: it has no attention patterns.")
    return bridge


def hook_name(layer: int) -> str:
    """What TransformerLens calls the pattern of a layer."""
    return f"blocks.{layer}.attn.hook_pattern"


def score_model(bridge: TransformerBridge, loaded: LoadedModel, probes: Iterable[Probe]) -> Sweep:
    """Scores every head in every measured role on the probes for it.

    One forward pass for each probe, which ends with the last patterns.

    Args:
        bridge: from `open_bridge`.
        loaded: the model.
        probes: batches of texts.

    Raises:
        UnsupportedModelError: when TransformerLens knows the architecture, but not the modules of this model.
    """
    sweep = Sweep(loaded)
    for probe in probes:
        with torch.no_grad():
            _stream(bridge, probe, sweep, loaded.layers)
    return sweep


def _bridge_tokenizer(loaded: LoadedModel) -> PreTrainedTokenizerFast:
    """The model's tokenizer with a BOS: for any other the bridge opens another copy, from files that were not checked.

    Nothing is read with it, since the bridge is given tokens.
    """
    tokenizer = loaded.tokenizer
    assert isinstance(tokenizer, PreTrainedTokenizerFast)  # one in another process is the server's alone
    named = {name: token for name in NAMED_TOKENS if isinstance(token := getattr(tokenizer, name, None), str)}
    switches = {"add_bos_token": True} if "bos_token" in named else {}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, name_or_path=loaded.name, **named, **switches)


def head_weights(bridge: TransformerBridge, layers: Sequence[int]) -> Iterator[HeadWeights]:
    """Yields the value and output weights of the heads of each layer, in float32 on the CPU, as `score_weights` takes them.

    Args:
        bridge: from `open_bridge`.
        layers: from 0.
    """
    for layer in layers:
        attention = bridge.blocks[layer].attn
        value, output = attention.W_V.detach().float().cpu(), attention.W_O.detach().float().cpu()
        # where heads share a value, it stands there once for all of them, in their order
        yield HeadWeights(value.repeat_interleave(len(output) // len(value), dim=0), output)


def _stream(bridge: TransformerBridge, probe: Probe, sweep: Sweep, layers: Sequence[int]) -> None:
    """Adds the scores of one probe to the sweep, of the layers that have patterns."""
    last = layers[-1]

    def score_layer(pattern: Float[Tensor, "batch head query key"], layer: int) -> None:
        sweep.add(probe, layer, pattern)
        if layer == last:
            raise StopAtLayerException(pattern)  # TransformerLens' own way to end a forward

    hooks: list[tuple[str | Callable, Callable]] = [
        (hook_name(layer), lambda pattern, hook, layer=layer: score_layer(pattern, layer)) for layer in layers
    ]
    try:
        bridge.run_with_hooks(probe.token_ids.to(bridge.cfg.device), fwd_hooks=hooks, return_type=None)
    except RuntimeError as error:
        if "set_original_component" not in str(error):  # a module that its adapter expects, and this model has not
            raise
        raise UnsupportedModelError(
            f"TransformerLens cannot analyse {bridge.cfg.model_name}: it does not know all of its modules."
        ) from error
