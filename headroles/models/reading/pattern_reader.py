"""One model's attention patterns, read through PyVene.

PyVene's own `attention_weight` component does not fire under transformers 5. So the capture looks for the modules whose output is
the pattern, in one of two ways. Most model files let their attention function be replaced: ours, registered with transformers'
`AttentionInterface`, runs the file's own eager attention and passes the weights through an `nn.Identity` probe. The older files
(GPT-Neo, Bloom, GPT-J) still have a dropout module right after the softmax. PyVene collects what either of them puts out.
"""

import contextlib
import io
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import TypeVar, cast
from weakref import WeakValueDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from headroles.core.heads import ROW_SUM_TOLERANCE, Attention, check_patterns, sink_mass
from headroles.core.registry import MODELS
from headroles.errors import HeadRolesError, InvalidInputError, UnsupportedModelError, keep_for_debugging, layers_listed
from headroles.models.loading.loader import LoadedModel
from headroles.models.zero_gpu import on_gpu, to_forward_device

with contextlib.redirect_stdout(io.StringIO()):  # importing it prints a line about an optional package
    import pyvene

T = TypeVar("T")
PROBED_ATTENTION = "headroles_probed"
SELF_TEST_TOKENS = 8
MAX_TESTED_WINDOW = 512  # longer windows than any text that is read here need no test
_attention_modules: ContextVar[list[nn.Module] | None] = ContextVar("attention_modules", default=None)


def probed_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: object
) -> tuple[Tensor, Tensor]:
    """The eager attention of the module's own file; its weights pass through the module's probe, if it has one."""
    if (met := _attention_modules.get()) is not None:
        met.append(module)
    eager = sys.modules[type(module).__module__].eager_attention_forward  # type: ignore[attr-defined]
    if (value_probe := getattr(module, "value_probe", None)) is not None:
        value = value_probe(value)
    output, weights = eager(module, query, key, value, attention_mask, **kwargs)
    probe = getattr(module, "attention_probe", None)
    return output, weights if probe is None else probe(weights)


AttentionInterface.register(PROBED_ATTENTION, probed_attention)
AttentionMaskInterface.register(PROBED_ATTENTION, eager_mask)  # without its mask function there would be no causal mask at all


class _PatternStack:
    """One forward's patterns of all layers that have one, in one float32 tensor [layer, batch, head, query, key]."""

    def __init__(self, layers: int) -> None:
        self._layers = layers
        self._patterns: Tensor | None = None

    def put(self, layer: int, pattern: Float[Tensor, "batch head query key"]) -> Tensor:
        """Copies a pattern to its place, which the first one of a forward makes; one of another shape is left where it is."""
        if self._patterns is None:
            self._patterns = torch.empty((self._layers, *pattern.shape), dtype=torch.float32, device=pattern.device)
        return self._patterns[layer].copy_(pattern) if pattern.shape == self._patterns.shape[1:] else pattern

    def take(self) -> Tensor | None:
        """What was put since the last time; nothing of it stays here, because those who read keep it."""
        patterns, self._patterns = self._patterns, None
        return patterns


class _CollectPattern(pyvene.CollectIntervention):
    """Collects one layer's patterns next to those of the others, instead of a copy of its own that is joined to them later."""

    def __init__(self, stack: _PatternStack, layer: int) -> None:
        super().__init__(keep_last_dim=True)
        self._stack, self._layer = stack, layer

    def forward(self, base: Tensor, source: None = None, subspaces: None = None, **_: object) -> Tensor:
        return self._stack.put(self._layer, base)


class _CollectingModel(pyvene.IntervenableModel):
    """PyVene without the clone that it makes of what is collected: the collecting itself copies."""

    def _gather_intervention_output(self, output: Tensor, representations_key: str, unit_locations: None) -> Tensor:
        return output


_readers: WeakValueDictionary[int, "PatternReader"] = WeakValueDictionary()


@on_gpu
def collect_patterns(
    reader: int, token_ids: Int[Tensor, "batch token"]
) -> tuple[Float[Tensor, "layer batch head query key"], list[torch.Size]]:
    """`PatternReader.collect` of the reader with that id, because a number can cross to the process that has the GPU."""
    return _readers[reader].collect(token_ids)


class ReaderExtras:
    """What else is made of a model once somebody asks for it: each kind once, and a refusal is remembered too."""

    def __init__(self) -> None:
        self._instances: dict[type, object] = {}
        self._lock = threading.RLock()

    def get(self, kind: type[T], make: Callable[[], T]) -> T:
        """The one of that kind. Raises what `make` does, each time."""
        with self._lock:
            if kind not in self._instances:
                try:
                    self._instances[kind] = make()
                except UnsupportedModelError as error:
                    self._instances[kind] = str(error)
            made = self._instances[kind]
        if isinstance(made, str):
            raise UnsupportedModelError(made)
        return cast(T, made)


class PatternReader:
    """Reads a model's attention patterns; built once a model, safe to share between threads.

    Raises:
        UnsupportedModelError: when building it, if no layer has a pattern, or the self-test finds one that is not causal, does
            not keep to its layer's window, or does not sum to 1 (to less, where heads have a learned sink).
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded, self.extras = loaded, ReaderExtras()
        self._body = cast(PreTrainedModel, loaded.model.base_model)  # the unembedding is not needed for patterns
        self._device = self._body.device
        if loaded.model.config.is_encoder_decoder:
            raise self._unsupported_error("it is an encoder-decoder, not a model that reads from left to right")
        with self.translate_errors(), loaded.lock:
            paths = self._probe_attention_functions() or self._find_dropouts()
            self.paths = by_layer = self._paths_by_layer(paths)
            self._stack = _PatternStack(len(by_layer))
            collect = [
                {"component": f"{path}.output", "unit": "pos", "intervention": _CollectPattern(self._stack, row)}
                for row, path in enumerate(by_layer.values())
            ]
            self._intervenable = _CollectingModel(collect, self._body)
        _readers[id(self)] = self
        with self.translate_errors():
            self._self_test()

    def read(self, token_ids: Sequence[int]) -> Attention:
        """Every head's pattern on one text, in float32 on the CPU."""
        patterns = self.read_batch(torch.tensor([list(token_ids)]))[0].cpu()
        return self._attention(tuple(token_ids), patterns)

    def read_texts(self, texts: Sequence[Sequence[int]]) -> Iterator[Attention]:
        """Every head's pattern on several texts, one text at a time, from one forward over all of them, padded on the right."""
        lengths = [len(text) for text in texts]
        padded = torch.zeros(len(texts), max(lengths), dtype=torch.long)  # any id will do, see `read_batch`
        for row, text in enumerate(texts):
            padded[row, : len(text)] = torch.tensor(list(text))
        layers = self.read_layers(padded)
        for row, (text, length) in enumerate(zip(texts, lengths)):
            patterns = layers[:, row, :, :length, :length].cpu().clone(memory_format=torch.contiguous_format)
            yield self._attention(tuple(text), patterns)

    def read_batch(self, token_ids: Int[Tensor, "batch token"]) -> Float[Tensor, "batch layer head query key"]:
        """Every head's pattern on several texts, in float32 on the model's device.

        Pad shorter texts on the right with any id: causal rows before the padding stay exact.
        """
        return self.read_layers(token_ids).transpose(0, 1)

    def read_layers(self, token_ids: Int[Tensor, "batch token"]) -> Float[Tensor, "layer batch head query key"]:
        """As `read_batch`, layer by layer."""
        with self.translate_errors(), self.loaded.lock:
            return collect_patterns(id(self), token_ids)[0]

    def collect(
        self, token_ids: Int[Tensor, "batch token"]
    ) -> tuple[Float[Tensor, "layer batch head query key"], list[torch.Size]]:
        """The forward itself, with the shape of everything that PyVene collected; needs the model's lock."""
        inputs = {"input_ids": token_ids.to(to_forward_device(self._body)), "use_cache": False}
        try:
            with torch.no_grad():
                (_, collected), _ = self._intervenable(inputs)
        finally:
            patterns = self._stack.take()  # also what a forward that failed has left
        assert patterns is not None  # every path of the forward was met when the reader was built
        if not patterns.sum().isfinite():  # weights that are no numbers, or grow past them on this text
            raise self._unsupported_error("its attention on this text is no number")
        # a GPU that was lent is gone when this returns
        return patterns.to(self._device), [pattern.shape for pattern in collected]

    def _attention(self, ids: tuple[int, ...], patterns: Float[Tensor, "layer head query key"]) -> Attention:
        loaded = self.loaded
        texts = loaded.token_texts(ids)
        return Attention(loaded.name, ids, texts, patterns, loaded.windows, loaded.other_layers, loaded.has_sink)

    def _paths_by_layer(self, paths: Sequence[str]) -> dict[int, str]:
        """The paths by the number of their layer, which is the first in each, `layers[3].self_attn`, in the order of the layers.

        Raises UnsupportedModelError unless they are one for each layer that has a pattern by the config.
        """
        expected = self.loaded.layers
        if not paths or not expected:
            raise self._unsupported_error("no module of it puts out attention patterns")
        if len(set(paths)) < len(paths):
            raise self._unsupported_error("some of its attention modules are used several times in one forward")
        if len(paths) != len(expected):
            raise self._unsupported_error(f"it gives {len(paths)} attention patterns for {len(expected)} layers")
        numbers = [re.search(r"\[(\d+)\]", path) for path in paths]
        by_layer = dict(sorted((int(number[1]), path) for number, path in zip(numbers, paths) if number))
        if tuple(by_layer) != expected:
            found = layers_listed(by_layer) if by_layer else "no numbered layer"
            raise self._unsupported_error(
                f"its attention patterns come from {found}, but its config names {layers_listed(expected)}"
            )
        return by_layer

    def _probe_attention_functions(self) -> list[str]:
        """Puts a probe on every module that calls the attention function; their paths in the order of the calls, or none."""
        met: list[nn.Module] = []
        token = _attention_modules.set(met)
        try:
            self.loaded.model.set_attn_implementation(PROBED_ATTENTION)
            self._dry_forward()
        except (AttributeError, ValueError):  # a file without a replaceable function, or without an eager one
            return []
        finally:
            _attention_modules.reset(token)
        for module in met:
            module.attention_probe, module.value_probe = nn.Identity(), nn.Identity()
        return [f"{path}.attention_probe" for path in self._paths(met)]

    def _find_dropouts(self) -> list[str]:
        """The paths of the dropout modules that an attention pattern passes, in the order of the forward."""
        met: list[nn.Module] = []

        def keep_patterns(module: nn.Module, _: tuple, output: Tensor) -> None:
            if output.ndim == 4 and output.shape[-2:] == (SELF_TEST_TOKENS, SELF_TEST_TOKENS):
                met.append(module)

        self.loaded.model.set_attn_implementation("eager")
        dropouts = [module for module in self._body.modules() if isinstance(module, nn.Dropout)]
        hooks = [module.register_forward_hook(keep_patterns) for module in dropouts]
        try:
            self._dry_forward()
        finally:
            for hook in hooks:
                hook.remove()
        return self._paths(met)

    def _paths(self, modules: Sequence[nn.Module]) -> list[str]:
        """As PyVene writes them: `layers[0].self_attn`."""
        names = {module: name for name, module in self._body.named_modules()}
        return [re.sub(r"\.(\d+)", r"[\1]", names[module]) for module in modules]

    def _dry_forward(self) -> None:
        with torch.no_grad():
            self._body(input_ids=self.test_ids(SELF_TEST_TOKENS).to(self._body.device), use_cache=False)

    def test_ids(self, count: int = SELF_TEST_TOKENS) -> Int[Tensor, "1 token"]:
        """Token ids to test the model with."""
        return torch.arange(1, count + 1)[None] % self.loaded.model.config.get_text_config().vocab_size

    def _self_test(self) -> None:
        has_sink, of_layer = self.loaded.has_sink, {layer: self.loaded.windows[layer] for layer in self.loaded.layers}
        windows = [window for window in of_layer.values() if window and window <= MAX_TESTED_WINDOW]
        token_ids = self.test_ids(max([SELF_TEST_TOKENS, *(window + 2 for window in windows)]))
        with self.loaded.lock:
            patterns, shapes = collect_patterns(id(self), token_ids)
        if len(shapes) != len(of_layer):
            raise self._unsupported_error(f"it gives {len(shapes)} attention patterns for {len(of_layer)} layers")
        if len(set(shapes)) > 1:
            raise self._unsupported_error("its layers differ in their number of heads")
        try:
            for pattern, (layer, window) in zip(patterns, of_layer.items()):
                check_patterns(pattern, token_ids.shape[1], f"its layer {layer}", window, has_sink)
        except InvalidInputError as error:
            raise self._unsupported_error(str(error).rstrip(".")) from error
        if has_sink and sink_mass(patterns).max() <= ROW_SUM_TOLERANCE:
            raise self._unsupported_error("its learned sinks do not show in its attention patterns")

    @contextlib.contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Around forwards: a model that the registry does not name can break one in any way; in a registered one it is a bug."""
        try:
            yield
        except HeadRolesError:
            raise
        except Exception as error:
            if self.loaded.name in MODELS:
                raise
            keep_for_debugging(error)
            raise self._unsupported_error("a forward through it fails") from None

    def _unsupported_error(self, why: str) -> UnsupportedModelError:
        kind = self.loaded.model.config.model_type
        return UnsupportedModelError(f"{self.loaded.name} ({kind}) cannot be read by headroles: {why}.")
