"""A second number for some roles, from other evidence than their score, so that a reader sees whether the two agree."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SecondScore:
    """Another number for a role, from other evidence than its score: shown beside it. It chooses no head.

    Attributes:
        probes: what it is measured on: random tokens that come twice, or the words of series by the weights alone.
        where: that in words, after the number.
        unit: of the number, before that; a share is shown in percent.
        definition: the number in words, as in a table.
    """

    probes: Literal["repeats", "weights"]
    where: str
    unit: Literal["logits", "share"]
    definition: str

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest number there can be."""
        return (0.0, 1.0) if self.unit == "share" else (-100.0, 100.0)


ON_REPEATS = SecondScore(
    "repeats",
    "on random repeats",
    "logits",
    "direct effect on the token that is to come, through the attention to it where it came the first time",
)
BY_WEIGHTS = SecondScore(
    "weights",
    "of series words by weights alone",
    "share",
    "share of series words whose next one the head raises most of all such words, through the first layer's MLP and its weights",
)
