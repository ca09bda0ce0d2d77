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
        beside: another number for the role; one in logits is turned round likewise.
    """

    of: str
    probes: Probes
    lowers: bool = False
    beside: SecondScore | None = None
    needs: ClassVar[Need] = "outputs"
    range: ClassVar[tuple[float, float]] = (-100.0, 100.0)
    beats_uniform: ClassVar[bool] = False
    offline: ClassVar[str] = "Scored by what heads write on probe texts; what they write on yours, ask below"
    takes_precedence: ClassVar[bool] = False

    @property
    def second(self) -> SecondScore | None:
        return self.beside

    @property
    def definition(self) -> str:
        return f"{'minus the ' if self.lowers else ''}direct effect on {self.of}, in logits"

    def __call__(self, evidence: Capture) -> Measurement:
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
        return measured.values > 0

    @property
    def phrase(self) -> str:
        effect = "{negated:+.2f}" if self.lowers else "{score:+.2f}"
        return f"its direct effect on {self.of}, is {effect} logits"

    def format_score(self, score: float) -> str:
        return f"{score:.2f} logits"

    def fill(self, value: float) -> float:
        return min(max(value / FULL, 0.0), 1.0)
