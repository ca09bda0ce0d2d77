"""How far a mean over texts would be another with other texts of the same kind: percentile intervals by the bootstrap."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headroles.errors import InvalidInputError

RESAMPLES = 1000
TAILS = (0.025, 0.975)  # what lies between is 95 % of the resamples' means
MIN_TEXTS = 2  # one text says nothing of how texts differ


def mean_interval(values: Float[Tensor, "text head"], seed: int) -> Float[Tensor, "head bound"]:
    """Between what 95 % of the means of resampled texts lie, low and high, of each head; the mean itself always lies there too.

    Efron 1979, Bootstrap Methods: Another Look at the Jackknife: as many texts as there are, drawn from them with replacement,
    RESAMPLES times; all heads are averaged over the same draws.

    Args:
        values: in any unit, which is the result's too; the result is float64 on the CPU.
        seed: what texts are drawn with; the same one draws the same.

    Raises:
        InvalidInputError: for fewer than two texts.
    """
    texts = len(values)
    if texts < MIN_TEXTS:
        raise InvalidInputError(f"values must be of {MIN_TEXTS} texts or more, but has shape {tuple(values.shape)}.")
    exact = values.detach().cpu().double()
    mean = exact.mean(0)
    # only the distances are resampled, so that equal texts give a width of 0 and not the rounding of 1,000 sums
    means = mean + draws(texts, seed).double() @ (exact - mean) / texts
    low, high = torch.quantile(means, torch.tensor(TAILS, dtype=means.dtype), dim=0)
    # a very skewed sample may leave its own mean outside
    return torch.stack([low.minimum(mean), high.maximum(mean)], dim=-1)


def draws(texts: int, seed: int) -> Int[Tensor, "resample text"]:
    """How often each resample holds each text; every row sums to the number of texts."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(texts, (RESAMPLES, texts), generator=generator)
    return torch.zeros(RESAMPLES, texts, dtype=torch.long).scatter_add_(1, drawn, torch.ones_like(drawn))
