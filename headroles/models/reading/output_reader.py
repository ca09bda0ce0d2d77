"""What a model's heads write, and what the model says comes next: the output side of a model whose patterns are read.

Opened the first time that somebody asks for it, and tested then: what all parts write must add up to the logits.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from headroles.core.outputs.linear_norm import FITS
from headroles.core.outputs.residual_stream import OutputPath, ResidualStream
from headroles.errors import UnsupportedModelError
from headroles.models.reading.hooks import Hooks
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.reading.residual_map import OutputLayer, ResidualMap, UnknownResidualMapError, map_residual_stream
from headroles.models.zero_gpu import call_on_device, to_forward_device

TESTED_TOKENS = 64
NOT_FINITE = "what they put out on this text is no number"
MAX_LOGITS_PER_CHUNK = 1 << 22  # 16 MB of them in float32: 256 tokens of a vocabulary of 150,000 would be 150 MB
T = TypeVar("T")


@dataclass(frozen=True)
class CachedForward:
    """What one forward left at one query; of the layers that have heads, but for the blocks.

    Attributes:
        pattern: the query's row of each head.
        values: of each head at every key; a layer's heads are as wide as each other, two layers' need not be.
        outputs: what each head gives the projection.
        blocks: the residual stream before the first layer and after each.
    """

    pattern: Float[Tensor, "layer head key"]
    values: tuple[Float[Tensor, "head key _"], ...]
    outputs: tuple[Float[Tensor, "head _"], ...]
    residual: Float[Tensor, "block model"]

    def mixed_values(self) -> list[Float[Tensor, "head _"]]:
        """Each head's values, mixed by its pattern."""
        return [torch.einsum("hk,hkd->hd", pattern, values) for pattern, values in zip(self.pattern, self.values)]


class OutputReader:
    """Reads what a model writes; built once a model, safe to share between threads.

    Raises:
        UnsupportedModelError: when building it, if what its parts write does not add up to its logits.
    """

    def __init__(self, patterns: PatternReader) -> None:
        self.patterns, self.loaded = patterns, patterns.loaded
        self._model: PreTrainedModel = self.loaded.model
        self.body: Any = self._model.base_model
        self._unembedding: Any = self._model.get_output_embeddings()
        self.device = self.body.device
        with self.translate_errors():
            with self.loaded.lock:
                self.residual_map = self._map_residual_stream()
                self._hooks = Hooks(self.body, list(self._hook_points()))
            self._is_gated = False
            self._self_test()

    def read(self, token_ids: Sequence[int], query: int = -1) -> ResidualStream:
        """What every part of the model wrote at one token of a text, by default the last; on the model's device."""
        with self.translate_errors(), self.loaded.lock, torch.no_grad():
            kept: CachedForward = call_on_device(self, "collect", tuple(token_ids), query % len(token_ids))
            last = kept.residual[-1]
            if not last.sum().isfinite():
                raise UnknownResidualMapError(NOT_FINITE)
            # these call projections and norms, which others' forwards have taps on
            ways = tuple(map(self._output_path, self.residual_map.output_layers, kept.outputs))
            normed = self._module(self.residual_map.norm_path)(last)
        rest = kept.residual[1:] - kept.residual[:-1]
        for writing, way, outputs in zip(self.residual_map.output_layers, ways, kept.outputs):
            rest[writing.layer] -= way.given(outputs)
        return ResidualStream(
            query=query % len(token_ids),
            pattern=kept.pattern,
            values=kept.values,
            gates=self._gates(kept),
            paths=ways,
            embedding=kept.residual[0],
            rest=rest,
            norm=self.residual_map.norm,
            scale=self.residual_map.norm.scale(last, normed),
            last=normed,
        )

    def tokens_to_residual_directions(self, token_ids: Sequence[int]) -> Float[Tensor, "target model"]:
        """The directions of these tokens' logits, for a `Stream`: each less the mean of all words."""
        return self.residual_map.scale * (self._unembedding.weight[list(token_ids)] - self._mean_unembedding).detach()

    def logits(self, stream: ResidualStream) -> Float[Tensor, " word"]:
        """The model's logits for the token that comes next."""
        with self.loaded.lock:
            return self.unembed(stream.last[None], lambda logits: logits)[0][0]

    def centered_logits(self, logits: Float[Tensor, " word"]) -> Float[Tensor, " word"]:
        """Logits before the cap that some models have, less the mean of all words': what the parts of a stream add up to."""
        cap = self.residual_map.cap
        before = logits if cap is None else cap * torch.atanh(logits / cap)
        return before - before.mean()

    def direct_logits(self, written: Float[Tensor, " model"]) -> Float[Tensor, " word"]:
        """What a part of the last norm's output gives the logit of each word."""
        return self.residual_map.scale * (self._unembedding.weight.detach() @ written)

    def unembedding_bias(self, token_ids: Sequence[int]) -> Float[Tensor, " target"]:
        """What the unembedding gives these tokens whatever comes before, less the mean of all words; 0 without a bias."""
        bias = self._unembedding.bias
        if bias is None:
            return torch.zeros(len(token_ids), device=self.device)
        return self.residual_map.scale * (bias[list(token_ids)] - bias.mean()).detach()

    def unembed(self, hidden: Float[Tensor, "token model"], function: Callable[..., T], *aligned: Tensor) -> list[T]:
        """What `work` gives for the logits of a few tokens at a time, and the same rows of what stands `beside` them.

        All logits are never in memory at once. Needs the model's lock.
        """
        found, rows = [], max(1, MAX_LOGITS_PER_CHUNK // self._unembedding.weight.shape[0])
        with torch.no_grad():
            for some, *others in zip(hidden.split(rows), *(one.split(rows) for one in aligned)):
                logits, cap = self.residual_map.scale * self._unembedding(some), self.residual_map.cap
                found.append(function(logits if cap is None else cap * torch.tanh(logits / cap), *others))
        return found

    def collect(self, token_ids: tuple[int, ...], query: int) -> CachedForward:
        """The forward itself, and what it left at the query; needs the model's lock."""
        self._cache, self._query = {}, query
        ids = torch.tensor([token_ids])
        try:
            self._hooks.run({"input_ids": ids.to(to_forward_device(self.body)), "use_cache": False})
        finally:
            kept, self._cache = self._cache, {}
        heads = self.loaded.identity.num_heads

        def of_layers(name: str) -> list[Tensor]:
            return [kept[name, writing.layer].to(self.device) for writing in self.residual_map.output_layers]

        return CachedForward(
            pattern=torch.stack(of_layers("pattern")),
            values=tuple(value.repeat_interleave(heads // len(value), dim=0) for value in of_layers("values")),
            outputs=tuple(of_layers("outputs")),
            residual=torch.stack([kept["block", number] for number in range(len(self.residual_map.blocks) + 1)]).to(self.device),
        )

    def _hook_points(self) -> Iterator[tuple[str, str, Callable[[Tensor], None]]]:
        """What is tapped: patterns, values and head outputs of the layers with heads, and what each layer gets and gives."""

        def keep(name: str, number: int, part: Callable[[Tensor], Tensor]) -> Callable[[Tensor], None]:
            def met(passing: Tensor) -> None:
                self._cache[name, number] = part(passing)

            return met

        heads = self.loaded.identity.num_heads
        for writing in self.residual_map.output_layers:
            path, values = self._attention[writing.layer], self.value_hook_point(writing.layer)
            yield path, "output", keep("pattern", writing.layer, lambda pattern: pattern[0, :, self._query].clone())
            yield values[0], "output", keep("values", writing.layer, lambda value, shape=values[1]: shape(value)[0].clone())
            yield (
                self.body_path(writing.projection),
                "input",
                keep("outputs", writing.layer, lambda mixed: mixed[0, self._query].unflatten(-1, (heads, -1)).clone()),
            )
        first = self.body_path(self.residual_map.blocks[0])
        yield first, "input", keep("block", 0, lambda stream: stream[0, self._query].clone())
        for number, block in enumerate(self.residual_map.blocks, start=1):
            yield self.body_path(block), "output", keep("block", number, lambda stream: stream[0, self._query].clone())

    @cached_property
    def _attention(self) -> dict[int, str]:
        """The path in the body of the module that puts out each layer's patterns."""
        return {layer: path.replace("[", ".").replace("]", "") for layer, path in self.patterns.paths.items()}

    def attention_path(self, layer: int) -> str:
        """The path in the body of the module that puts out a layer's patterns."""
        return self._attention[layer]

    def value_hook_point(self, layer: int) -> tuple[str, Callable[[Tensor], Tensor]]:
        """Where a layer's values are met, and how they become [batch, head, key, width]."""
        heads = self.loaded.identity.num_heads
        attention = self._attention[layer].rpartition(".")[0]
        modules = dict(self.body.get_submodule(attention).named_children())
        if "value_probe" in modules:
            return f"{attention}.value_probe", lambda value: value if value.ndim == 4 else value[:, None]
        if "v_proj" in modules:
            return f"{attention}.v_proj", lambda value: value.unflatten(-1, (heads, -1)).transpose(1, 2)
        if "query_key_value" in modules:  # Bloom's, head by head
            return (
                f"{attention}.query_key_value",
                lambda value: value.unflatten(-1, (heads, 3, -1))[..., 2, :].transpose(1, 2),
            )
        raise UnknownResidualMapError("its values are not met on their way")

    def _map_residual_stream(self) -> ResidualMap:
        prefix = next(name for name, module in self._model.named_modules() if module is self.body)
        attention = {layer: f"{prefix}.{path.rpartition('.')[0]}" for layer, path in self._attention.items()}
        config = self._model.config.get_text_config()
        cap = getattr(config, "final_logit_softcapping", None) or getattr(config, "logits_soft_cap", None)
        self._prefix = f"{prefix}."
        return map_residual_stream(self._model, attention, self.patterns.test_ids().to(self.device), cap)

    def body_path(self, path: str) -> str:
        """A module's path inside the body of the model."""
        return path.removeprefix(self._prefix)

    def projection(self, writing: OutputLayer) -> Any:
        """The module that takes a layer's heads back into the residual stream."""
        return self._module(writing.projection)

    def output_weights(self, writing: OutputLayer) -> Float[Tensor, "head width model"]:
        """Its weights, head by head."""
        projection = self.projection(writing)
        weight = projection.weight.detach() if isinstance(projection, Conv1D) else projection.weight.detach().T
        return weight.unflatten(0, (self.loaded.identity.num_heads, -1))

    def _module(self, path: str) -> nn.Module:
        return self._model.get_submodule(path)

    def _output_path(self, writing: OutputLayer, mixed: Float[Tensor, "head width"]) -> OutputPath:
        """How a layer's heads write; the scale of their norm is the one that it has for what they wrote together.

        Needs the model's lock.
        """
        projection, scale = self.projection(writing), None
        bias = None if projection.bias is None else projection.bias.detach()
        if writing.norm is not None:
            before = projection(mixed.flatten()[None])
            scale = writing.norm.scale(before, self._module(writing.norm_path)(before))[0]
        return OutputPath(self.output_weights(writing), bias, writing.norm, scale, writing.factor)

    @cached_property
    def _mean_unembedding(self) -> Float[Tensor, " model"]:
        return self._unembedding.weight.detach().mean(0)

    def _gates(self, kept: CachedForward) -> tuple[Float[Tensor, "head _"], ...] | None:
        """What the mixed values were multiplied by on their way to the projection; None in models without such gates."""
        if not self._is_gated:
            return None
        return tuple(
            torch.where(mixed == 0, torch.zeros_like(mixed), outputs / mixed)
            for mixed, outputs in zip(kept.mixed_values(), kept.outputs)
        )

    def _self_test(self) -> None:
        """Raises UnknownAnatomyError unless heads put out what they mix, and all that is written adds up to the logits."""
        token_ids = self.patterns.test_ids()
        with self.loaded.lock:
            kept = call_on_device(self, "collect", tuple(token_ids[0].tolist()), token_ids.shape[1] - 1)
            with torch.no_grad():
                logits = (
                    self._model(input_ids=token_ids.to(to_forward_device(self.body)), use_cache=False)
                    .logits[0, -1]
                    .to(self.device)
                )
        mixed, outputs = (torch.cat([one.flatten() for one in layers]) for layers in (kept.mixed_values(), kept.outputs))
        largest = float(mixed.abs().max())
        self._is_gated = float((mixed - outputs).abs().max()) > FITS * largest
        gates = (outputs / mixed)[mixed.abs() > FITS * largest]
        if self._is_gated and not (gates.min() > -FITS and gates.max() < 1 + FITS):
            raise UnknownResidualMapError("its heads do not put out what they mix from their values")
        words = torch.linspace(0, len(logits) - 1, TESTED_TOKENS).long().tolist()
        logits = self.centered_logits(logits.float())
        worst = float((self._sum_of_parts(token_ids[0].tolist(), words) - logits[words]).abs().max())
        if not worst <= FITS * float(logits.abs().max()):
            raise UnknownResidualMapError(f"what its parts write misses its logits by {worst:.1g}")

    def _sum_of_parts(self, token_ids: Sequence[int], words: Sequence[int]) -> Float[Tensor, " target"]:
        """The logits of some words after a text, each less the mean of all words', as the sum of what every part gives them."""
        stream, unembedding = self.read(token_ids), self.tokens_to_residual_directions(words)
        embedding, rest, biases = stream.other_parts(unembedding)
        return stream.by_key(unembedding).sum((0, 1, 2)) + embedding + rest.sum(0) + biases + self.unembedding_bias(words)

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """As the patterns' own; what is not found out about a model is said of its outputs alone."""
        with self.patterns.translate_errors():
            try:
                yield
            except UnknownResidualMapError as error:
                kind = self._model.config.model_type
                raise UnsupportedModelError(
                    f"What the heads of {self.loaded.name} ({kind}) write cannot be read, only their attention: {error}."
                ) from None
