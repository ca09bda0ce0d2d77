"""What a model loses without the heads of a role, on the probe texts: measured offline, as a record carries it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headroles.core.outputs.ablation import CONTROLS, judge_effect
from headroles.core.text.phrases import signed

Nats = Annotated[float, Field(ge=-1000, le=1000, allow_inf_nan=False)]


class RoleEffect(BaseModel):
    """The rise of the mean loss without a role's top heads, beside that without as many other heads of the same layers.

    Attributes:
        texts: how many were read.
        heads: how many were taken out.
        tokens: whose losses count: those after a token that calls for the role, or all.
        rise: in nats; `interval` is where it lies with 95 % confidence, by a bootstrap over the texts.
        controls: of each control set.
        control_text: of the same heads where every earlier copy of a token is replaced; None for a role that needs none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    method: Literal["zero"] = "zero"
    texts: Annotated[int, Field(ge=1)]
    heads: Annotated[int, Field(ge=1)]
    tokens: Literal["called", "all"]
    rise: Nats
    interval: Annotated[list[Nats], Field(min_length=2, max_length=2)]
    controls: Annotated[list[Nats], Field(max_length=CONTROLS)]
    control_text: Nats | None = None

    @model_validator(mode="after")
    def _belongs_together(self) -> "RoleEffect":
        low, high = self.interval
        if not low <= self.rise <= high:
            raise ValueError("an effect lies outside its own interval")
        return self

    @property
    def describe(self) -> str:
        """The effect, its interval and its controls, in a sentence."""
        heads = f"its {self.heads} heads" if self.heads > 1 else "its head"
        which = "tokens that the role foretells" if self.tokens == "called" else "all tokens"
        low, high = self.interval
        said = f"On {self.texts} probe texts, without {heads}, the mean loss of {which} changes by {signed(self.rise)} nats"
        said = f"{said} ({signed(low)} to {signed(high)})"
        if not self.controls:
            return f"{said}; there are no other heads to compare with."
        others = f"without {len(self.controls)} sets of as many others, of the same layers where these have enough, by"
        said = f"{said}, {others} {signed(min(self.controls))} to {signed(max(self.controls))}: {judge_effect(self.rise, self.controls)}."
        if self.control_text is not None:
            said += f" Where nothing repeats, they are worth {signed(self.control_text)}."
        return said
