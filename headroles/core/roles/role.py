"""What a role is: its words, how it is measured, when it counts. The roles there are stand in `headroles.core.roles.roles`.

Offline analysis and run-time verification both call `MeasuredRole.measure`, so they cannot disagree.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from headroles.core.roles.measures import Measure
from headroles.core.roles.second_scores import SecondScore
from headroles.core.text.tokens import is_delimiter

Shape = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Example:
    """A short text on which a role shows, a word a token, and the sentence that says what is to be seen."""

    text: str
    caption: str

    @property
    def words(self) -> tuple[str, ...]:
        """Its words, which stand for tokens."""
        return tuple(self.text.split())

    def token_ids(self) -> Int[Tensor, " query"]:
        """The same number for the same word."""
        return torch.tensor([self.words.index(word) for word in self.words])

    def delimiters(self) -> Bool[Tensor, " query"]:
        """Which words are delimiters."""
        return torch.tensor([is_delimiter(word) for word in self.words])


@dataclass(frozen=True, kw_only=True)
class Role:
    """What a head can mainly be: a role that is measured, or what is left over.

    Attributes:
        name: the key in records and in the API.
        display_name, icon, description, explanation: for people; `explanation` speaks to students.
        try_this: an experiment for students; every one of them works on the embedded model and on a published one, and a
            test carries it out on both.
        look_for: what a head's heatmap shows when it plays the role.
        shape: stands for it in pictures, beside the colour, for those who see colours otherwise: a polygon in a unit square,
            points (x, y) with y downwards.
        suggested_prompt: a text on which it shows; empty for none. The analysis of a model looks whether it does there.
        source: the paper that describes it.
        threshold: the score that a top head needs; 0 for what is left over.
        is_content: whether it says what a head does, and not where it rests.
        rests_on: of a role that may be no more than a rest state, where such a head rests.
        example: the text of its lesson's picture; None for a role without one.
    """

    name: str
    display_name: str
    icon: str
    color: str
    shape: Shape
    description: str
    explanation: str
    try_this: str
    look_for: str
    suggested_prompt: str = ""
    source: str = ""
    threshold: float = 0.0
    is_content: bool = False
    rests_on: str = ""
    example: Example | None = None

    @property
    def requires_repetition(self) -> bool:
        """Whether only a text that repeats a token can show it."""
        return False

    @property
    def second(self) -> SecondScore | None:
        """Another number for it, shown beside its score; None for none."""
        return None

    def fill(self, value: float) -> float:
        """How full its shape or bar is at a value of its measure, 0 to 1; always full without one."""
        return 1.0

    def expected_keys(
        self,
        token_ids: Int[Tensor, " query"],
        window: int | None = None,
        delimiters: Bool[Tensor, " query"] | None = None,
    ) -> Bool[Tensor, "query key"]:
        """The cells of a pattern that the role expects to be strong, inside the window; none where it expects none.

        Args:
            token_ids: the tokens of the text.
            window: how many keys back a query sees, its own included; None for all.
            delimiters: which tokens are delimiters; a role that needs to know raises InvalidInputError without.
        """
        return torch.zeros(len(token_ids), len(token_ids), dtype=torch.bool, device=token_ids.device)


@dataclass(frozen=True, kw_only=True)
class MeasuredRole(Role):
    """One job a head can have.

    Attributes:
        measure: the number behind it, and all that depends on what kind of number it is.
        threshold, diversity_threshold: the score a top head needs, and one from an otherwise unheard layer.
        why_inactive: completes "Not visible here: ..." when no query of a prompt is eligible.
        other_prompts: tried in this order, of a role that a text triggers, on a model where the suggested one does not show it.
    """

    measure: Measure
    why_inactive: str = ""
    threshold: float = 0.4
    diversity_threshold: float = 0.3
    other_prompts: tuple[str, ...] = ()

    @property
    def prompts(self) -> tuple[str, ...]:
        """All texts that are made to show it, in the order in which they are tried."""
        return tuple(prompt for prompt in (self.suggested_prompt, *self.other_prompts) if prompt)

    @property
    def requires_repetition(self) -> bool:
        """As for any role; it is scored on such texts alone."""
        return self.measure.probes == "repeats"

    @property
    def second(self) -> SecondScore | None:
        """The measure's second number, where it has one."""
        return self.measure.second

    def fill(self, value: float) -> float:
        """Where a value lies in the measure's range, 0 to 1."""
        return self.measure.fill(value)

    def expected_keys(
        self,
        token_ids: Int[Tensor, " query"],
        window: int | None = None,
        delimiters: Bool[Tensor, " query"] | None = None,
    ) -> Bool[Tensor, "query key"]:
        """The cells that the measure expects to be strong, inside the window."""
        return self.measure.expected_keys(token_ids, window, delimiters)

    def measure_in(self, has_sink: bool) -> Measure:
        """Its measure in a model whose heads have a learned sink, or have none."""
        return self.measure.with_sink() if has_sink else self.measure
