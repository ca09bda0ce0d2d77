"""A norm whose scale is frozen: with the scale that a text gave it, it is linear, and what each head adds passes it alone.

The usual way to tell what a component does to the logits "directly" (Elhage et al. 2021; nostalgebraist's logit lens).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

# of the largest number: rounding of float32 in sums of a few hundred; a wrong reading is off by a tenth or more
FITS = 1e-4


@dataclass(frozen=True)
class LinearNorm:
    """`(x - mean) * gain * scale + bias`, where the scale is one number a token and is not part of this value.

    Attributes:
        centres: whether the mean is taken away (LayerNorm) or not (RMSNorm).
        gain, bias: as the module has them; a bias of None is none.
    """

    centres: bool
    gain: Float[Tensor, " model"]
    bias: Float[Tensor, " model"] | None

    def scale(self, before: Float[Tensor, "*token model"], after: Float[Tensor, "*token model"]) -> Float[Tensor, "*token"]:
        """The scale that the norm had at each token, from what it got and what it gave."""
        spread, made = self._spread(before), after if self.bias is None else after - self.bias
        return (spread * made).sum(-1) / (spread * spread).sum(-1).clamp_min(torch.finfo(spread.dtype).tiny)

    def apply(self, part: Float[Tensor, "*part model"], scale: Float[Tensor, "*#part"]) -> Float[Tensor, "*part model"]:
        """What a part of its input becomes; the bias belongs to no part."""
        return self._spread(part) * scale[..., None]

    def pull(
        self, direction: Float[Tensor, "*direction model"], scale: Float[Tensor, "*#direction"]
    ) -> Float[Tensor, "*direction model"]:
        """A direction after the norm, as the direction before it along which a part has the same effect."""
        pulled = direction * self.gain * scale[..., None]
        return pulled - pulled.mean(-1, keepdim=True) if self.centres else pulled

    def _spread(self, part: Float[Tensor, "*part model"]) -> Float[Tensor, "*part model"]:
        return (part - part.mean(-1, keepdim=True) if self.centres else part) * self.gain


def fit_norm(module: nn.Module, before: Float[Tensor, "*token model"], after: Float[Tensor, "*token model"]) -> LinearNorm | None:
    """The norm that a module is, by what it got and gave; None where it is none of these."""
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    ones = torch.ones(before.shape[-1], dtype=before.dtype, device=before.device)
    gains = [ones] if weight is None else [weight.detach(), 1 + weight.detach()]  # Gemma's norms keep what is more than 1
    bias = None if bias is None else bias.detach()
    for centres in (False, True):
        for gain in gains:
            norm = LinearNorm(centres, gain, bias)
            made = norm.apply(before, norm.scale(before, after)) + (0 if bias is None else bias)
            if (made - after).abs().max() <= FITS * after.abs().max():
                return norm
    return None
