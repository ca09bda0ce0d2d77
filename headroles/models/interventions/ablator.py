"""Heads ablated: what a model says without what some of its heads put out, many sets of them in one forward.

The input of each layer's output projection is what its heads put out, side by side; there a head's slice is replaced, in each row
of the batch for another set of heads.
"""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headroles.core.heads import Head
from headroles.core.outputs.ablation import CONTROLS, AblationMethod, draw_control_sets
from headroles.core.patterns.excess import remove_excess
from headroles.core.roles.roles import MeasuredRole
from headroles.errors import InvalidInputError
from headroles.models.loading.loader import LoadedModel
from headroles.models.probes.calibration_texts import encode_without_bos
from headroles.models.probes.probe_texts import ProbeSizes, encoded_sentences
from headroles.models.probes.sentences import CALIBRATION_SENTENCES
from headroles.models.reading.batches import TokenIds
from headroles.models.reading.hooks import HookFunction, Hooks
from headroles.models.reading.output_reader import NOT_FINITE, OutputReader
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.reading.residual_map import UnknownResidualMapError
from headroles.models.zero_gpu import call_on_device, to_forward_device

MAX_FORWARD_TOKENS = 2048  # of one forward: more texts side by side are hardly quicker, and who cancels waits for it
MAX_TOP_TOKENS = 50  # next words that are looked at


@dataclass(frozen=True)
class AblatedOutput:
    """What the model says with one set of heads ablated.

    Attributes:
        top: the likeliest tokens after the query, likeliest first, with the logarithm of their probability.
        log_probs: of the tokens that were asked for.
        logits: of the same, less the mean of all words'.
        losses: of each token of the text but the first, in nats; empty where they were not asked for.
    """

    top: tuple[tuple[int, float], ...]
    log_probs: tuple[float, ...]
    logits: tuple[float, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Replacement:
    """What stands in place of a head's output.

    Attributes:
        method: how it is made.
        outputs: by layer, [token or 1, head, width]; empty for zeros, and where patterns are changed instead.
        expected: where patterns are changed: the cells of the role that is taken out of them, by layer.
    """

    method: AblationMethod
    outputs: Mapping[int, Float[Tensor, "token head _"]]
    expected: Mapping[int, Bool[Tensor, "query key"]]


class Ablator:
    """Knocks heads out of a model; built once a model, safe to share between threads."""

    def __init__(self, outputs: OutputReader) -> None:
        self._outputs, self.loaded = outputs, outputs.loaded
        self._plan: _Plan | None = None
        self._collected: dict[int, Tensor] | None = None
        self._mean_outputs: dict[int, Tensor] | None = None
        with self.loaded.lock:
            self._hooks = Hooks(outputs.body, list(self._hook_points()))

    def run(
        self,
        token_ids: TokenIds,
        sets: Sequence[Collection[Head]],
        replacement: Replacement,
        targets: Sequence[int] = (),
        query: int = -1,
        losses: bool = True,
    ) -> Iterator[AblatedOutput]:
        """Yields what the model says of a text without each of these sets of heads; an empty set is the model as it is.

        Several sets go through one forward, and between two forwards others may use the model.

        Args:
            token_ids: of the text.
            sets: the heads that are ablated together.
            replacement: what stands in place of their outputs.
            targets: tokens whose log-probabilities and logits are wanted.
            query: after which token; by default the last.
            losses: whether the loss of every token is wanted.
        """
        at_once = max(1, MAX_FORWARD_TOKENS // len(token_ids))
        query %= len(token_ids)
        for first in range(0, len(sets), at_once):
            some = tuple(tuple(heads) for heads in sets[first : first + at_once])
            with self._outputs.translate_errors(), self.loaded.lock:
                found = call_on_device(self, "forward", token_ids, some, replacement, tuple(targets), query, losses)
            yield from found

    def forward(
        self,
        token_ids: TokenIds,
        sets: Sequence[Sequence[Head]],
        replacement: Replacement,
        targets: Sequence[int],
        query: int,
        losses: bool,
    ) -> list[AblatedOutput]:
        """One forward, a row for each set; needs the model's lock."""
        ids = torch.tensor([token_ids] * len(sets)).to(to_forward_device(self._outputs.body))
        self._plan = _Plan(self._rows(sets, ids.device), replacement)
        try:
            hidden = self._hooks.run({"input_ids": ids, "use_cache": False})
        finally:
            self._plan = None
        if not hidden.sum().isfinite():  # weights that are no numbers, or grow past them on this text
            raise UnknownResidualMapError(NOT_FINITE)
        ends = self._outputs.unembed(hidden[:, query], lambda logits: _summarize_logits(logits, targets))
        top, log_probs, of_words = ([row for part in ends for row in part[column]] for column in range(3))
        rows = self._losses(hidden, ids) if losses else [()] * len(sets)
        return [AblatedOutput(*row) for row in zip(top, log_probs, of_words, rows)]

    def predict_all(self, token_ids: TokenIds, count: int) -> tuple[list[tuple[tuple[int, float], ...]], tuple[float, ...]]:
        """The likeliest next tokens after each token of a text, with the logarithms of their probability, and `After.losses`."""
        with self._outputs.translate_errors(), self.loaded.lock:
            found: tuple[list, tuple] = call_on_device(self, "predict_forward", token_ids, count)
        return found

    def predict_forward(self, token_ids: TokenIds, count: int) -> tuple[list[tuple[tuple[int, float], ...]], tuple[float, ...]]:
        """The forward itself; needs the model's lock."""
        ids = torch.tensor([token_ids]).to(to_forward_device(self._outputs.body))
        hidden = self._hooks.run({"input_ids": ids, "use_cache": False})
        parts = self._outputs.unembed(hidden[0], partial(_top_tokens, count=count))
        return [row for part in parts for row in part], self._losses(hidden, ids)[0]

    def _losses(self, hidden: Float[Tensor, "row token model"], ids: Int[Tensor, "row token"]) -> list[tuple[float, ...]]:
        """In nats, of every token but the first."""
        work = partial(torch.nn.functional.cross_entropy, reduction="none")
        found = self._outputs.unembed(hidden[:, :-1].flatten(0, 1), work, ids[:, 1:].flatten())
        return [tuple(row) for row in torch.cat(found).view(len(ids), -1).tolist()] if found else [()] * len(ids)

    def replacement(
        self, method: AblationMethod, token_ids: TokenIds, role: MeasuredRole | None = None, seed: int = 0
    ) -> Replacement:
        """What stands in place of a head's output on a text.

        Args:
            method: `zero`: nothing. `mean`: what the head puts out on average on the probe sentences. `resample`: what it puts
                out at the same positions of another text, which the seed picks. `null`: its own pattern on this text, with what
                a role adds to it taken out.
            token_ids: of the text.
            role: which one, for `null`.
            seed: picks the other text of `resample`.

        Raises:
            InvalidInputError: for `null` without a role that a text triggers.
        """
        if method == "null":
            if role is None or not role.measure.is_triggered:
                raise InvalidInputError(
                    "Only what a role that a text triggers adds to a pattern can be taken out of it; name one."
                )
            ids = torch.tensor(token_ids, device=self._outputs.device)
            windows = self.loaded.windows
            return Replacement(method, {}, {layer: role.expected_keys(ids, windows[layer]) for layer in self.loaded.layers})
        if method == "mean":
            return Replacement(method, self.mean_outputs(), {})
        if method == "resample":
            return Replacement(method, self.outputs_on(self._resample_text(len(token_ids), seed)), {})
        return Replacement("zero", {}, {})

    def mean_outputs(self) -> dict[int, Float[Tensor, "1 head _"]]:
        """What each head puts out on average at the tokens of the probe sentences, a BOS left out, by layer."""
        if self._mean_outputs is None:
            texts = [self.outputs_on(ids) for ids in encoded_sentences(self.loaded, ProbeSizes())]
            start = len(self.loaded.bos)
            self._mean_outputs = {
                layer: torch.cat([text[layer][start:] for text in texts]).mean(0, keepdim=True) for layer in self.loaded.layers
            }
        return self._mean_outputs

    def outputs_on(self, token_ids: TokenIds) -> dict[int, Float[Tensor, "token head _"]]:
        """What each head puts out at every token of a text, by layer, on the model's device."""
        with self._outputs.translate_errors(), self.loaded.lock:
            found: dict[int, Tensor] = call_on_device(self, "collect", token_ids)
        return found

    def collect(self, token_ids: TokenIds) -> dict[int, Tensor]:
        """The forward itself; needs the model's lock."""
        self._collected = {}
        try:
            self._hooks.run(
                {"input_ids": torch.tensor([token_ids]).to(to_forward_device(self._outputs.body)), "use_cache": False}
            )
        finally:
            kept, self._collected = self._collected, None
        return {layer: outputs.to(self._outputs.device) for layer, outputs in kept.items()}

    def _resample_text(self, length: int, seed: int) -> TokenIds:
        """Another text of that many tokens, of the sentences that calibration has for itself."""
        draw = random.Random(seed)
        ids = [*self.loaded.bos]
        while len(ids) < length:
            ids += encode_without_bos(self.loaded, " ".join(draw.sample(CALIBRATION_SENTENCES, len(CALIBRATION_SENTENCES))) + " ")
        return tuple(ids[:length])

    def _rows(self, sets: Sequence[Sequence[Head]], device: torch.device) -> dict[int, Bool[Tensor, "row head"]]:
        """Which heads are ablated in which row, by layer; only of the layers where any is."""
        rows: dict[int, Tensor] = {}
        for row, heads in enumerate(sets):
            for head in heads:
                if head.layer not in rows:
                    rows[head.layer] = torch.zeros(len(sets), self.loaded.identity.num_heads, dtype=torch.bool, device=device)
                rows[head.layer][row, head.index] = True
        return rows

    def _hook_points(self) -> Iterator[tuple[str, str, HookFunction]]:
        """Patterns and values, which are looked at where patterns are changed, and the input of every output projection."""
        for writing in self._outputs.residual_map.output_layers:
            layer = writing.layer
            pattern, (values, shape) = self._outputs.attention_path(layer), self._outputs.value_hook_point(layer)
            yield pattern, "output", partial(self._capture, layer, "pattern")
            yield values, "output", lambda value, layer=layer, shape=shape: self._capture(layer, "values", shape(value))
            yield self._outputs.body_path(writing.projection), "input", partial(self._replace, layer)

    def _capture(self, layer: int, what: str, passing: Tensor) -> None:
        if self._plan is not None and self._plan.replacement.expected and layer in self._plan.rows:
            self._plan.captured[what] = passing

    def _replace(self, layer: int, passing: Float[Tensor, "row token all_heads"]) -> Tensor | None:
        """The heads' outputs of a layer with those of the plan replaced; kept as they are where nothing is planned."""
        outputs = passing.unflatten(-1, (self.loaded.identity.num_heads, -1))
        if self._collected is not None:
            self._collected[layer] = outputs[0].clone()
        if self._plan is None or layer not in self._plan.rows:
            return None
        which = self._plan.rows[layer][:, None, :, None]
        return torch.where(which, self._plan.replaced_outputs(layer, outputs), outputs).flatten(-2)


@dataclass
class _Plan:
    """What is replaced in the forward under way.

    Attributes:
        rows: which heads in which row of the batch, by layer.
        seen: the patterns and values of the layer that was met last.
    """

    rows: Mapping[int, Bool[Tensor, "row head"]]
    replacement: Replacement
    captured: dict[str, Tensor] = field(default_factory=dict)

    def replaced_outputs(self, layer: int, outputs: Float[Tensor, "row token head width"]) -> Float[Tensor, "*some"]:
        """What stands in place of all heads' outputs of a layer."""
        if not self.replacement.expected:
            made = self.replacement.outputs.get(layer)
            return outputs.new_zeros(()) if made is None else made.to(outputs)
        pattern, values = self.captured["pattern"], self.captured["values"]
        values = values.repeat_interleave(pattern.shape[1] // values.shape[1], dim=1)
        without = torch.stack([remove_excess(one, self.replacement.expected[layer].to(one.device)) for one in pattern])
        mixed, other = ((some @ values).transpose(1, 2) for some in (pattern, without))
        # some models multiply what heads mix by a gate of the query
        gates = torch.where(mixed == 0, torch.ones_like(mixed), outputs / mixed)
        return outputs + gates * (other - mixed)


def _summarize_logits(logits: Float[Tensor, "row word"], targets: Sequence[int]) -> tuple[list, list, list]:
    """Of the logits after the query in each row: the likeliest tokens, and those that were asked for."""
    log_probs, asked = logits.log_softmax(-1), list(targets)
    less = logits[:, asked] - logits.mean(-1, keepdim=True)
    return (
        _top_tokens(logits, MAX_TOP_TOKENS),
        [tuple(row) for row in log_probs[:, asked].tolist()],
        [tuple(row) for row in less.tolist()],
    )


def _top_tokens(logits: Float[Tensor, "token word"], count: int) -> list[tuple[tuple[int, float], ...]]:
    """The likeliest words in each row, with the logarithm of their probability."""
    found = logits.log_softmax(-1).topk(min(count, logits.shape[-1]))
    return [tuple(zip(*row)) for row in zip(found.indices.tolist(), found.values.tolist())]


def draw_control_heads(
    loaded: LoadedModel, heads: Collection[Head], excluded_controls: Collection[Head] = (), seed: int = 0
) -> tuple[tuple[Head, ...], ...]:
    """Sets of as many other heads of the same layers, drawn at random, none of them spared ones."""
    every = {Head(layer, index) for layer in loaded.layers for index in range(loaded.identity.num_heads)}
    return tuple(draw_control_sets(heads, every - {*heads, *excluded_controls}, CONTROLS, seed))


def open_outputs(reader: PatternReader) -> OutputReader:
    """What a model writes. Raises UnsupportedModelError when that cannot be read."""
    return reader.extras.get(OutputReader, lambda: OutputReader(reader))


def open_ablator(reader: PatternReader) -> Ablator:
    """What is lost without some of a model's heads. Raises as `open_outputs`."""
    return reader.extras.get(Ablator, lambda: Ablator(open_outputs(reader)))
