"""One model's attention patterns, read through PyVene.

PyVene's own `attention_weight` component does not fire under transformers 5. So the model runs with an attention function of
ours, registered with transformers' `AttentionInterface`: the model file's own eager attention, whose weights then pass an
`nn.Identity` probe on the attention module, and PyVene collects the probe's output.
"""

import contextlib
import io
import re
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from headroles.attention import Attention, check_patterns
from headroles.errors import InvalidInputError, UnsupportedModelError
from headroles.models import LoadedModel

with contextlib.redirect_stdout(io.StringIO()):  # importing it prints a line about an optional package
    import pyvene

PROBED = "headroles_probed"
_attention_modules: ContextVar[list[nn.Module] | None] = ContextVar("attention_modules", default=None)


def probed_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: object
) -> tuple[Tensor, Tensor]:
    """The eager attention of the module's own file; its weights pass through the module's probe, if it has one."""
    if (met := _attention_modules.get()) is not None:
        met.append(module)
    eager = sys.modules[type(module).__module__].eager_attention_forward  # type: ignore[attr-defined]
    output, weights = eager(module, query, key, value, attention_mask, **kwargs)
    probe = getattr(module, "attention_probe", None)
    return output, weights if probe is None else probe(weights)


AttentionInterface.register(PROBED, probed_attention)
AttentionMaskInterface.register(PROBED, eager_mask)  # without its mask function there would be no causal mask at all


class PatternReader:
    """Reads a model's attention patterns; built once a model, safe to share between threads.

    Raises:
        UnsupportedModelError: when building it, if the self-test finds no pattern a layer that is causal and sums to 1.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self._body = cast(PreTrainedModel, loaded.model.base_model)  # the unembedding is not needed for patterns
        with loaded.lock:
            modules = self._attention_modules()
            for module in modules.values():
                module.attention_probe = nn.Identity()
            collect = [
                {
                    "component": f"{path}.attention_probe.output",
                    "unit": "pos",
                    "intervention": pyvene.CollectIntervention(keep_last_dim=True),
                }
                for path in modules
            ]
            self._intervenable = pyvene.IntervenableModel(collect, self._body)
        self._self_test()

    def read(self, token_ids: Sequence[int]) -> Attention:
        """Every head's pattern on one text, in float32 on the CPU."""
        patterns = self.read_batch(torch.tensor([list(token_ids)]))[0]
        ids = tuple(token_ids)
        return Attention(self._loaded.name, ids, self._loaded.token_texts(ids), patterns)

    def read_batch(self, token_ids: Int[Tensor, "batch token"]) -> Float[Tensor, "batch layer head query key"]:
        """Every head's pattern on several texts; pad shorter ones on the right with any id, causal rows before it stay exact."""
        inputs = {"input_ids": token_ids.to(self._body.device), "use_cache": False}
        with self._loaded.lock, torch.no_grad():
            (_, collected), _ = self._intervenable(inputs)
        return torch.stack([pattern.float().cpu() for pattern in collected], dim=1)

    def _attention_modules(self) -> dict[str, nn.Module]:
        """The modules that call the attention function, in the order of their calls, by PyVene's path."""
        met: list[nn.Module] = []
        token = _attention_modules.set(met)
        try:
            self._loaded.model.set_attn_implementation(PROBED)
            with torch.no_grad():
                self._body(input_ids=torch.zeros(1, 2, dtype=torch.long, device=self._body.device), use_cache=False)
        except (AttributeError, ValueError) as error:
            raise self._unsupported("its model file has no attention function that can be replaced") from error
        finally:
            _attention_modules.reset(token)
        if not met:
            raise self._unsupported("its attention cannot be replaced by a probed one")
        names = {module: name for name, module in self._body.named_modules()}
        return {re.sub(r"\.(\d+)", r"[\1]", names[module]): module for module in met}

    def _self_test(self) -> None:
        vocabulary = self._loaded.model.config.get_text_config().vocab_size
        token_ids = torch.arange(1, 9)[None] % vocabulary
        patterns = self.read_batch(token_ids)
        layers = self._loaded.model.config.get_text_config().num_hidden_layers
        if patterns.shape[1] != layers:
            raise self._unsupported(f"it gives {patterns.shape[1]} attention patterns for {layers} layers")
        try:
            check_patterns(patterns, token_ids.shape[1], "its attention")
        except InvalidInputError as error:
            raise self._unsupported(str(error).rstrip(".")) from error

    def _unsupported(self, why: str) -> UnsupportedModelError:
        kind = self._loaded.model.config.model_type
        return UnsupportedModelError(f"{self._loaded.name} ({kind}) cannot be read by headroles: {why}.")
