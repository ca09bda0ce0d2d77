"""What passes through a model in one forward, kept or changed on its way, through PyVene.

PyVene's own gathering and scattering copy what they meet; here it is met as it is. Values are tapped where attention functions
take them, head outputs at the input of the projection that joins them: a pattern is seen after the output was made from it, so
changing it there would change nothing.
"""

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

with contextlib.redirect_stdout(io.StringIO()):  # importing it prints a line about an optional package
    import pyvene

HookFunction = Callable[[Tensor], Tensor | None]  # what is done with a tensor on its way; None leaves it as it is


class _HookIntervention(pyvene.ConstantSourceIntervention, pyvene.LocalistRepresentationIntervention):
    """Hands what passes to a function, which may keep a part of it or give what goes on in its place."""

    def __init__(self, hook: HookFunction) -> None:
        super().__init__(keep_last_dim=True)
        self._hook = hook

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, base: Tensor, source: None = None, subspaces: None = None, **_: object
    ) -> Tensor:
        changed = self._hook(base)
        return base if changed is None else changed


class _HookedModel(pyvene.IntervenableModel):
    """PyVene without the clone of what is met, and without writing back what was not changed."""

    def _gather_intervention_output(self, output: object, representations_key: str, unit_locations: None) -> Tensor:
        return output[0] if isinstance(output, tuple) else output  # type: ignore[return-value]

    def _scatter_intervention_output(
        self, output: Tensor, intervened_representation: Tensor, representations_key: str, unit_locations: None
    ) -> Tensor:
        return output if intervened_representation is output else output.copy_(intervened_representation)


class Hooks:
    """Runs a model's body with taps on it; whoever runs it holds the model's lock.

    Args:
        body: the model without its unembedding.
        places: for each path, as `named_modules` of the body has it, which side of the module is tapped, "input" or "output",
            and what is done there.
    """

    def __init__(self, body: nn.Module, hook_points: Sequence[tuple[str, str, HookFunction]]) -> None:
        self._body = body
        taps = [
            {"component": f"{pyvene_path(path)}.{side}", "unit": "pos", "intervention": _HookIntervention(met)}
            for path, side, met in hook_points
        ]
        self._model = _HookedModel(taps, body)

    def run(self, inputs: Mapping[str, object]) -> Tensor:
        """The last hidden state, after the body's own last norm."""
        with torch.no_grad():
            _, output = self._model(dict(inputs))
        return output.last_hidden_state  # type: ignore[no-any-return, union-attr]


def pyvene_path(path: str) -> str:
    """A path as PyVene writes it: `layers[0].self_attn`."""
    parts = path.split(".")
    return "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in parts).removeprefix(".")
