"""Which heads raise the next word of a series by their weights alone: no text around it, no pattern, no other layer.

A word's embedding goes through the first layer's MLP, which makes of a word what later layers read (its effective embedding), and
from there through a head's values and output projection to the words (Gould et al. 2023, Successor Heads).
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headroles.core.outputs.residual_stream import OutputPath
from headroles.models.probes.output_probes import successor_pairs
from headroles.models.reading.batches import TokenIds
from headroles.models.reading.hooks import HookFunction, Hooks
from headroles.models.reading.output_reader import OutputReader
from headroles.models.zero_gpu import call_on_device, to_forward_device


def successor_hits(outputs: OutputReader) -> Float[Tensor, "word layer head"] | None:
    """For each word of a series that has a next one: 1 where that is, of all such words, the one that a head raises most.

    None for a model whose vocabulary has no such words, or whose first layer has no heads: what that does is no MLP's alone.
    """
    pairs = successor_pairs(outputs.loaded)
    if not pairs or outputs.residual_map.output_layers[0].layer != 0:
        return None
    words = list(dict.fromkeys(token for pair in pairs for token in pair))
    at_once = outputs.loaded.max_tokens - len(outputs.loaded.bos)
    reader, found = _WordValueReader(outputs), []
    with outputs.translate_errors():
        for first in range(0, len(pairs), at_once):
            some = pairs[first : first + at_once]
            right = torch.tensor([words.index(following) for _, following in some], device=outputs.device)
            found.append(reader.most_raised([word for word, _ in some], words) == right[:, None, None])
    return torch.cat(found).float().cpu()


class _WordValueReader:
    """Reads what each head takes from words, one a position, that nothing but the first layer's MLP has looked at."""

    def __init__(self, outputs: OutputReader) -> None:
        self._outputs = outputs
        self._values: dict[int, Tensor] = {}
        self._first_layer: dict[str, Tensor] = {}
        self._effective: Tensor | None = None
        with outputs.loaded.lock:
            self._hooks = Hooks(outputs.body, list(self._hook_points()))

    def most_raised(self, token_ids: Sequence[int], words: Sequence[int]) -> Int[Tensor, "word layer head"]:
        """Which of the `words` each head raises most where it reads one of the tokens."""
        outputs = self._outputs
        with outputs.loaded.lock, torch.no_grad():
            values: tuple[Tensor, ...] = call_on_device(self, "collect", (*outputs.loaded.bos, *token_ids))
        directions = outputs.residual_map.norm.pull(
            outputs.tokens_to_residual_directions(words), torch.ones(1, device=outputs.device)
        )
        best = []
        for writing, of_layer in zip(outputs.residual_map.output_layers, values):
            # a norm's scale changes how much, not which
            way = OutputPath(
                outputs.output_weights(writing), None, writing.norm, torch.ones((), device=outputs.device), writing.factor
            )
            raised = torch.einsum("hkd,hdm,tm->kht", of_layer, way.writes, way.pull(directions))
            best.append(raised[-len(token_ids) :].argmax(-1))
        return torch.stack(best, dim=1)

    def collect(self, token_ids: TokenIds) -> tuple[Float[Tensor, "head key _"], ...]:
        """Two forwards: one for what the first layer's MLP makes of each word, one that gives that to every later layer."""
        ids = torch.tensor([token_ids]).to(to_forward_device(self._outputs.body))
        heads = self._outputs.loaded.identity.num_heads
        try:
            self._hooks.run({"input_ids": ids, "use_cache": False})
            self._effective = self._first_layer["output"] - self._first_layer["input"] - self._bias()
            self._hooks.run({"input_ids": ids, "use_cache": False})
            kept = [self._values[writing.layer].to(self._outputs.device) for writing in self._outputs.residual_map.output_layers]
        finally:
            self._effective, self._values, self._first_layer = None, {}, {}
        return tuple(value.repeat_interleave(heads // len(value), dim=0) for value in kept)

    def _bias(self) -> Tensor | float:
        """What the first layer's projection adds where its heads put out nothing."""
        writing = self._outputs.residual_map.output_layers[0]
        bias = self._outputs.projection(writing).bias
        return 0.0 if bias is None or writing.norm is not None else writing.factor * bias.detach()

    def _hook_points(self) -> Iterator[tuple[str, str, HookFunction]]:
        outputs = self._outputs
        first, *later = (outputs.body_path(block) for block in outputs.residual_map.blocks)
        yield first, "input", lambda stream: self._store_first_layer("input", stream)
        yield first, "output", lambda stream: self._store_first_layer("output", stream)
        yield outputs.body_path(outputs.residual_map.output_layers[0].projection), "input", torch.zeros_like
        for block in later:
            yield block, "input", lambda stream: self._effective
        for writing in outputs.residual_map.output_layers:
            path, shape = outputs.value_hook_point(writing.layer)
            yield path, "output", lambda value, layer=writing.layer, shape=shape: self._store_values(layer, shape(value))

    def _store_first_layer(self, end: str, stream: Tensor) -> None:
        self._first_layer[end] = stream.clone()

    def _store_values(self, layer: int, value: Tensor) -> None:
        self._values[layer] = value[0].clone()
