"""What a record knows of its heads beyond scores: how much excess each shows by accident, and where each usually is.

The analysis makes it (`headroles.models.scoring.calibration`), one of two kinds a role. A role that a text *triggers*, as a
repetition triggers induction, has for each head the tail of its excess on null texts; one that is *always on* has each head's
usual range.
"""

import math
import sys
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

# the shares of tokens of null texts whose excess is larger than the numbers that a record holds of a head
TAIL = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005)
SHORTEST = 8  # tokens of an ordinary text; what is usual on shorter ones, nobody measured
USUAL = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)  # the shares of ordinary texts on which a head's activation is smaller
# of other null texts of one kind and length, on average, on which a role is seen; the aim is 0.05 at most, and of some hundred
# texts a share is known to two hundredths
ROLE_LEVEL = 0.02
LEVELS = (16, 32, 64, 128)  # tokens of a text; from the last on, longer ones show no more
OTHERS = 0.25  # heads a null text that are seen without being known for the role; the aim is 1 on other texts
KNOWN_LEVEL = 0.02  # of a text, for a head that is known for the role, once the role is seen
LEAST_EXCESS = 0.08  # what is less is not shown as seen, however rare it is
LEAST_STEP = 0.01  # between two numbers of a tail: rounding, and heads that never move, make no evidence

Number = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Tail = Annotated[list[Number], Field(min_length=len(TAIL), max_length=len(TAIL))]
Usual = Annotated[list[Share], Field(min_length=len(USUAL), max_length=len(USUAL))]
Texts = Annotated[int, Field(ge=1, le=1_000_000)]


def _check_prompt(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("a suggested prompt is one line of visible characters")
    return text


Prompt = Annotated[str, Field(max_length=300), AfterValidator(_check_prompt)]


class _Calibrated(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class Triggered(_Calibrated):
    """How much excess each head shows by accident, and from when on the role is seen.

    Attributes:
        null_texts, null_tokens: how many texts, and eligible tokens in them, the tails are from.
        tails: [layer][head], of the layers that have heads: the excess that a share TAIL of these tokens exceeds.
        role_tail, any_tail: the same of the largest excess at a token among the role's own heads, and among all of the model;
            none for a role without heads.
        role_level, any_level: on a share ROLE_LEVEL of the null texts, `chance_of` under these tails is below it.
        role_levels: the first of them for texts of LEVELS tokens each: tails are mostly of long texts, and short ones show more
            by accident; `role_level` is the lowest. None in records that do not tell them apart.
        other_level: for a head that is not known for the role: OTHERS of them a null text have a `chance_of` below it.
        positive_texts: texts that repeat a passage; on `recall` of them the role is seen, and `head_recall` of its own heads.
        suggested_prompt: the first of the role's prompts on which it is seen by all this; empty where it is on none, None where
            nobody looked.
    """

    kind: Literal["triggered"] = "triggered"
    null_texts: Texts
    null_tokens: Texts
    tails: list[list[Tail]]
    role_tail: Tail | None
    any_tail: Tail
    role_level: Share
    any_level: Share
    other_level: Share
    positive_texts: Texts
    recall: Share
    head_recall: Share
    role_levels: Annotated[list[Share], Field(min_length=len(LEVELS), max_length=len(LEVELS))] | None = None
    suggested_prompt: Prompt | None = None

    @model_validator(mode="after")
    def _tails_rise(self) -> "Triggered":
        joint = [tail for tail in (self.role_tail, self.any_tail) if tail is not None]
        if any(tail != sorted(tail) for row in [*self.tails, joint] for tail in row):
            raise ValueError("a tail does not rise")
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """Layers that have heads, and heads a layer."""
        return _shape(self.tails)

    def level_at(self, tokens: int) -> float:
        """The level that the role's null probability must be below on a text of so many tokens.

        Between LEVELS, its logarithm lies on a straight line over the logarithm of the tokens.
        """
        if self.role_levels is None:
            return self.role_level
        levels = [math.log(max(level, sys.float_info.min)) for level in self.role_levels]
        place = min(max(math.log2(max(tokens, 1)) - math.log2(LEVELS[0]), 0.0), len(LEVELS) - 1.0)
        low = min(int(place), len(LEVELS) - 2)
        return math.exp(levels[low] + (levels[low + 1] - levels[low]) * (place - low))

    def threshold(self) -> float:
        """The excess from which on the role is seen on a text with one token that calls for it, to a thousandth; 1 for never."""
        steps = torch.arange(1001) / 1000
        rare = shares_above(steps, torch.tensor(self.role_tail or [1.0] * len(TAIL))) < self.role_level
        return float(steps[rare][0]) if rare.any() else 1.0

    @cached_property
    def table(self) -> Float[Tensor, "layer head tail"]:
        """The tails as a tensor."""
        return torch.tensor(self.tails)


class AlwaysOn(_Calibrated):
    """Where each head's activation usually is.

    Attributes:
        texts: ordinary ones that these numbers are from.
        usual: [layer][head], of the layers that have heads: the activation below which a share USUAL of the texts lies.
        margin: how far outside, in the head's own width, is far: on every second of these texts one head of the model was.
    """

    kind: Literal["always on"] = "always on"
    texts: Texts
    usual: list[list[Usual]]
    margin: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _ranges_rise(self) -> "AlwaysOn":
        if any(usual != sorted(usual) for row in self.usual for usual in row):
            raise ValueError("a usual range does not rise")
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """Layers that have heads, and heads a layer."""
        return _shape(self.usual)

    @cached_property
    def table(self) -> Float[Tensor, "layer head share"]:
        """The usual ranges as a tensor."""
        return torch.tensor(self.usual)


# for a record without calibration, the strictest of what SmolLM2-135M-Instruct's says: of all its heads and both of its roles
# that a text triggers the largest number at each share, and the lowest levels
DEFAULT = Triggered(
    null_texts=1,
    null_tokens=1,
    tails=[[[0.0165, 0.0399, 0.0956, 0.1523, 0.2064, 0.388, 0.4892, 0.6213]]],
    role_tail=[0.0316, 0.0667, 0.1393, 0.1914, 0.2698, 0.545, 0.6774, 0.7289],
    any_tail=[0.1745, 0.255, 0.385, 0.495, 0.6038, 0.6864, 0.7391, 0.763],
    role_level=0.0048,
    any_level=0.0067,
    other_level=0.00039,
    positive_texts=1,
    recall=0.0,
    head_recall=0.0,
)


def parse_calibration(entry: Mapping[str, object] | None) -> Triggered | AlwaysOn | None:
    """A role's calibration as a record holds it; None where there is none. Raises ValueError for one that is not valid."""
    kinds = {"triggered": Triggered, "always on": AlwaysOn}
    kind = kinds.get(str((entry or {}).get("kind")))
    return None if kind is None else kind.model_validate(entry)


def shares_above(excess: Float[Tensor, "*heads place"], tails: Float[Tensor, "*heads tail"]) -> Float[Tensor, "*heads place"]:
    """The share of tokens of null texts at which a head shows as much; 1 where it is below the first number of its tail.

    Between the numbers of a tail, and beyond the last, the logarithm of the share goes on in a straight line.
    """
    shares = torch.tensor(TAIL, dtype=excess.dtype, device=excess.device).log()
    above = torch.searchsorted(tails.contiguous(), excess.contiguous())
    low = (above - 1).clamp(0, len(TAIL) - 2)
    at_low, at_high = tails.gather(-1, low), tails.gather(-1, low + 1)
    slope = (shares[low + 1] - shares[low]) / (at_high - at_low).clamp(min=LEAST_STEP)
    logarithm = shares[low] + slope * (excess - at_low)
    return torch.where((above > 0) & (excess >= LEAST_EXCESS), logarithm.exp(), 1.0)


def null_probabilities_by_rank(shares: Float[Tensor, "*heads place"]) -> Float[Tensor, "*heads place"]:
    """How likely a null text has as many tokens as extreme, for the most extreme one, the two most, and so on: n p(k) / k."""
    tokens = shares.shape[-1]
    rank = torch.arange(1, tokens + 1, dtype=shares.dtype, device=shares.device)
    return shares.sort(-1).values * tokens / rank


def null_probability(excess: Float[Tensor, "*heads place"], tails: Float[Tensor, "*heads tail"]) -> Float[Tensor, "*heads"]:
    """How likely a head shows so much on a null text with as many tokens to look at, 0 to 1.

    Simes 1986, An improved Bonferroni procedure for multiple tests of significance: one token must be as extreme as it takes
    among so many, but several together need less each.
    """
    return null_probabilities_by_rank(shares_above(excess, tails)).amin(-1).clamp(max=1)


def distance_from_usual(activation: Float[Tensor, "*heads"], usual: Float[Tensor, "*heads share"]) -> Float[Tensor, "*heads"]:
    """How far outside its usual range a head is, in widths of that range: 0 within, above 0 for more than usual, else below."""
    low, high = usual[..., 1], usual[..., -2]
    width = high - low + LEAST_EXCESS
    return ((activation - high).clamp(min=0) - (low - activation).clamp(min=0)) / width


def compute_percentile(activation: Float[Tensor, "*heads"], usual: Float[Tensor, "*heads share"]) -> Float[Tensor, "*heads"]:
    """On which share of ordinary texts a head's activation is smaller, 0 to 1."""
    shares = torch.tensor(USUAL, dtype=activation.dtype)
    above = torch.searchsorted(usual.contiguous(), activation[..., None].contiguous(), right=True).squeeze(-1)
    low = (above - 1).clamp(0, len(USUAL) - 2)
    at_low, at_high = (usual.gather(-1, place[..., None]).squeeze(-1) for place in (low, low + 1))
    inside = ((activation - at_low) / (at_high - at_low).clamp(min=1e-6)).clamp(0, 1)
    return shares[low] + (shares[low + 1] - shares[low]) * inside


def _shape(rows: list[list[list[float]]]) -> tuple[int, int]:
    lengths = {len(row) for row in rows}
    return len(rows), lengths.pop() if len(lengths) == 1 else 0
