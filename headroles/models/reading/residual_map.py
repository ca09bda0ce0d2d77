"""Where a model's heads write: found by watching one forward, never by an architecture's name.

Every layer of a model that has a residual stream adds to it. What its heads add is the output of a projection, in some models
normalised and scaled before it is added; the rest is the MLP's. That this is so is not believed but fitted: a layer's output less
its input must be what the projection gives plus what other modules of the layer give, each times a number.
"""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from headroles.core.outputs.linear_norm import FITS, LinearNorm, fit_norm

MAX_ROUNDINGS = 4  # as often is a number rounded, at most, on its way through a layer
MAX_OTHER_PARTS = 2  # of a layer, beside its heads: an MLP, and at most one more such as a state-space mixer or a per-layer input
NO_STREAM = "its layers do not add to one residual stream"


class UnknownResidualMapError(Exception):
    """Raised when it is not found out where heads write; completes "... cannot be read because"."""


@dataclass(frozen=True, eq=False)
class ModuleCall:
    """One call of a module in a forward: the first tensor that it got, and the first that it gave."""

    name: str
    module: nn.Module
    input: Tensor | None
    output: Tensor | None


@dataclass(frozen=True)
class OutputLayer:
    """A layer whose heads write.

    Attributes:
        layer: its number.
        projection: the module that takes all heads' outputs side by side back into the residual stream; its path in the model.
        norm: what is done to its output before it is added, its scale left open; None where nothing is.
        norm_path: the module that does.
        factor: what it is multiplied by.
    """

    layer: int
    projection: str
    norm: LinearNorm | None
    norm_path: str
    factor: float


@dataclass(frozen=True)
class ResidualMap:
    """Where the heads of a model write, and how its last residual stream becomes logits; paths are those of `named_modules`.

    Attributes:
        writing: the layers that have heads.
        blocks: all layers.
        norm, norm_path: before the unembedding.
        scale, cap: logits are cap * tanh(scale * unembedded / cap), or scale * unembedded where cap is None.
    """

    output_layers: tuple[OutputLayer, ...]
    blocks: tuple[str, ...]
    norm: LinearNorm
    norm_path: str
    scale: float
    cap: float | None


def map_residual_stream(
    model: nn.Module, attention: dict[int, str], token_ids: Int[Tensor, "1 token"], cap: float | None = None
) -> ResidualMap:
    """Watches one forward of a causal language model; needs its lock.

    Args:
        model: in evaluation mode.
        attention: the path of each layer's attention module.
        token_ids: of the text that the forward reads.
        cap: of the logits, where the config has one.

    Raises:
        UnknownAnatomyError: when the layers do not add up, or the logits are not what the unembedding gives.
    """
    with record_calls(model) as calls, torch.no_grad():
        logits = model(input_ids=token_ids, use_cache=False).logits
    blocks = _blocks(attention, calls)
    streams = _layer_streams(blocks, calls)
    writing = tuple(_map_output_layer(layer, path, blocks[layer], streams[layer], calls) for layer, path in attention.items())
    head: Any = model.get_output_embeddings()  # type: ignore[operator]
    last = streams[-1][1]
    norm, norm_path = _final_norm(head, blocks, last, calls)
    unembedded = next(call.output for call in reversed(calls) if call.module is head)
    return ResidualMap(writing, blocks, norm, norm_path, *_fit_logit_scale(unembedded, logits, cap))


@contextmanager
def record_calls(model: nn.Module) -> Iterator[list[ModuleCall]]:
    """All calls of the model's modules while it lasts, in the order in which they end."""
    calls: list[ModuleCall] = []
    names = {module: name for name, module in model.named_modules()}

    def keep(module: nn.Module, args: tuple, kwargs: dict[str, object], output: object) -> None:
        given, made = _first_tensor((*args, *kwargs.values())), _first_tensor(output)
        calls.append(ModuleCall(names[module], module, *(None if one is None else one.clone() for one in (given, made))))

    hooks = [module.register_forward_hook(keep, with_kwargs=True) for module in names]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _first_tensor(value: object) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    values = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    return next((one for one in values if isinstance(one, Tensor)), None)


def _blocks(attention: dict[int, str], calls: Sequence[ModuleCall]) -> tuple[str, ...]:
    """The paths of all layers, by their number: `model.layers.0`."""
    containers = {path[: path.index(f".{layer}.")] for layer, path in attention.items() if f".{layer}." in path}
    if len(containers) != 1:
        raise UnknownResidualMapError(NO_STREAM)
    container = containers.pop()
    numbers = {call.name.removeprefix(f"{container}.") for call in calls if call.name.startswith(f"{container}.")}
    return tuple(f"{container}.{number}" for number in sorted(int(number) for number in numbers if number.isdigit()))


def _layer_streams(blocks: Sequence[str], calls: Sequence[ModuleCall]) -> list[tuple[Tensor, Tensor]]:
    """What each layer gets and gives; each must get what the one before it gave."""
    by_name = {call.name: call for call in calls}
    streams = []
    for block in blocks:
        call = by_name[block]
        if call.input is None or call.output is None or call.input.shape != call.output.shape:
            raise UnknownResidualMapError(NO_STREAM)
        streams.append((call.input, call.output))
    if any(not torch.equal(before[1], after[0]) for before, after in itertools.pairwise(streams)):
        raise UnknownResidualMapError(NO_STREAM)
    return streams


def _map_output_layer(
    layer: int, path: str, block: str, stream: tuple[Tensor, Tensor], calls: Sequence[ModuleCall]
) -> OutputLayer:
    inside = [call for call in calls if call.name.startswith(f"{block}.") and call.output is not None]
    same = [call for call in inside if call.output.numel() == stream[0].numel()]  # type: ignore[union-attr]
    projections = [call for call in same if call.name.startswith(f"{path}.") and isinstance(call.module, nn.Linear | Conv1D)]
    if not projections:
        raise UnknownResidualMapError("its attention has no output projection")
    projection = projections[-1]
    after = [call for call in same if call is not projection and _has_same_values(call.input, projection.output)]
    changed = [call for call in after if not _has_same_values(call.output, projection.output)]
    for written in (*changed, projection):
        others = [call for call in same if call is not projection and call not in after]
        if (factor := _fit_factor(written, others, block, stream)) is not None:
            norm = None if written is projection else _fit_module_norm(written)
            return OutputLayer(layer, projection.name, norm, "" if norm is None else written.name, factor)
    raise UnknownResidualMapError(f"what its layer {layer} adds is not what its heads and other modules of it give")


def _fit_factor(written: ModuleCall, others: Sequence[ModuleCall], block: str, stream: tuple[Tensor, Tensor]) -> float | None:
    """What the heads' part is multiplied by, if it and one or two of the other modules make up what was added."""
    direct = [call for call in others if "." not in call.name.removeprefix(f"{block}.")]
    choices = [(), *((call,) for call in others), *itertools.combinations(direct, MAX_OTHER_PARTS)]
    before, after = (one.flatten().double() for one in stream)
    target = after - before
    # a stream of 10,000 is rounded to a thousandth each time that something is added
    rounding = MAX_ROUNDINGS * torch.finfo(stream[1].dtype).eps * torch.maximum(before.abs(), after.abs())
    allowed = FITS * target.abs().max() + rounding
    for choice in choices:
        columns = torch.stack([call.output.flatten().double() for call in (written, *choice)], dim=1)  # type: ignore[union-attr]
        factors = torch.linalg.lstsq(columns, target[:, None], driver="gelsd").solution[:, 0]
        if ((columns @ factors - target).abs() <= allowed).all() and float(factors[0].abs()) > FITS:
            return _snap_to_one(float(factors[0]))
    return None


def _final_norm(head: nn.Module, blocks: Sequence[str], last: Tensor, calls: Sequence[ModuleCall]) -> tuple[LinearNorm, str]:
    unembedded = next((call for call in reversed(calls) if call.module is head), None)
    norms = [call for call in calls if not call.name.startswith(tuple(blocks)) and _has_same_values(call.input, last)]
    for call in norms:
        if unembedded is not None and call.module is not head and _has_same_values(call.output, unembedded.input):
            return _fit_module_norm(call), call.name
    raise UnknownResidualMapError("between its last layer and its unembedding is more than a norm")


def _fit_module_norm(call: ModuleCall) -> LinearNorm:
    assert call.input is not None
    assert call.output is not None
    norm = fit_norm(call.module, call.input, call.output)
    if norm is None:
        raise UnknownResidualMapError(f"{call.name} is no norm that is known")
    return norm


def _fit_logit_scale(unembedded: Tensor | None, logits: Tensor, cap: float | None) -> tuple[float, float | None]:
    if unembedded is None or unembedded.shape != logits.shape:
        raise UnknownResidualMapError("its logits are not what its unembedding gives")
    before = unembedded.double()
    after = logits.double() if cap is None else cap * torch.atanh((logits.double() / cap).clamp(-1 + 1e-12, 1 - 1e-12))
    inside = torch.ones_like(after, dtype=torch.bool) if cap is None else logits.abs() < 0.9 * cap
    scale = float((before * after)[inside].sum() / (before * before)[inside].sum())
    made = scale * before if cap is None else cap * torch.tanh(scale * before / cap)
    if (made - logits).abs().max() > FITS * logits.abs().max():
        raise UnknownResidualMapError("its logits are not what its unembedding gives")
    return _snap_to_one(scale), cap


def _snap_to_one(factor: float) -> float:
    """A fitted number that is 1 up to rounding is 1."""
    return 1.0 if abs(factor - 1) < FITS / 10 else factor


def _has_same_values(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether two tensors hold the same numbers, in one shape or with tokens and texts as one axis."""
    return one is not None and other is not None and one.numel() == other.numel() and torch.equal(one.flatten(), other.flatten())
