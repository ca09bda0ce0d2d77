"""Roles that patterns alone cannot show: measured by what a head writes."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor

from headroles.core.roles.measurement import Capture, Measurement
from headroles.core.roles.measures import Calibration, Measure, Need, Probes
from headroles.core.roles.second_scores import SecondScore
from headroles.errors import InvalidInputError

FULL = 1.5  # logits at which a bar is full


@dataclass(frozen=True)
class DirectEffect(Measure):
    """Mean direct effect on the logit of a token, over the texts on which the role can show; in logits, less the mean of words.

    Attributes:
        of: the effect in words, as in "direct effect on ...".
        lowers: whether the role is to lower the logit; the score is then minus the effect, and the best head lowers it most.
        second_score: another number for the role; one in logits is turned round likewise.
    """

    of: str
    probes: Probes
    lowers: bool = False
    second_score: SecondScore | None = None
    needs: ClassVar[Need] = "outputs"
    range: ClassVar[tuple[float, float]] = (-100.0, 100.0)
    beats_uniform: ClassVar[bool] = False
    offline: ClassVar[str] = "Scored by what heads write on probe texts; what they write on yours, ask below"
    takes_precedence: ClassVar[bool] = False

    @property
    def second(self) -> SecondScore | None:
        """The other number of the role, where it has one."""
        return self.second_score

    @property
    def definition(self) -> str:
        """As for every measure."""
        return f"{'minus the ' if self.lowers else ''}direct effect on {self.of}, in logits"

    def __call__(self, evidence: Capture) -> Measurement:
        """The effects, with their sign turned where the role lowers the logit."""
        if evidence.effects is None:
            raise InvalidInputError("This role is measured on what heads write; their effects must be given.")
        values = -evidence.effects if self.lowers else evidence.effects
        return Measurement(
            values,
            values[..., None],
            torch.zeros(len(values), dtype=values.dtype, device=values.device),
            torch.ones(len(values), 1, dtype=torch.bool, device=values.device),
        )

    def verdict(self, measured: Measurement, calibration: Calibration | None = None) -> Bool[Tensor, "batch *heads"]:
        """Heads whose effect goes the way of the role."""
        return measured.values > 0

    @property
    def phrase(self) -> str:
        """The effect on the token, in logits."""
        effect = "{negated:+.2f}" if self.lowers else "{score:+.2f}"
        return f"its direct effect on {self.of}, is {effect} logits"

    def format_score(self, score: float) -> str:
        """The score in logits."""
        return f"{score:.2f} logits"

    def fill(self, value: float) -> float:
        """The share of FULL, 0 to 1."""
        return min(max(value / FULL, 0.0), 1.0)
