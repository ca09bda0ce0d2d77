"""What a model loses without the heads of a role, on the probe texts: measured offline, as a record carries it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headroles.core.outputs.ablation import CONTROLS

Nats = Annotated[float, Field(ge=-1000, le=1000, allow_inf_nan=False)]


class RoleEffect(BaseModel):
    """How much the mean loss increases without a role's top heads, and without as many other heads of the same layers.

    Attributes:
        texts: how many were read.
        heads: how many were ablated.
        tokens: whose losses count: those after a token that calls for the role, or all.
        loss_increase: in nats; a record calls it `rise`.
        interval: of the loss increase, with 95 % confidence, by a bootstrap over the texts.
        controls: the loss increase without each control set.
        control_text: the loss increase where every earlier copy of a token is replaced; None for a role that needs none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_by_name=True, serialize_by_alias=True)

    method: Literal["zero"] = "zero"
    texts: Annotated[int, Field(ge=1)]
    heads: Annotated[int, Field(ge=1)]
    tokens: Literal["called", "all"]
    loss_increase: Annotated[Nats, Field(alias="rise")]
    interval: Annotated[list[Nats], Field(min_length=2, max_length=2)]
    controls: Annotated[list[Nats], Field(max_length=CONTROLS)]
    control_text: Nats | None = None

    @model_validator(mode="after")
    def _belongs_together(self) -> "RoleEffect":
        low, high = self.interval
        if not low <= self.loss_increase <= high:
            raise ValueError("an effect lies outside its own interval")
        return self
