"""What others have published of single heads, with the source of each fact: `literature.json`, checked when it is read.

A claim is `primary` when it was read in the paper, the course or the code of those who found it, and `reported` when it is
what some repository says of its own run, which nobody reviewed.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, model_validator

from headroles.core.heads import Head
from headroles.core.roles.roles import Role, get_measured_role, measured_roles

LITERATURE = Path(__file__).with_suffix(".json")

Text = Annotated[str, Field(min_length=1, max_length=200)]
Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Statistic = Literal["heads at rest", "mean by layer"]


def _head(pair: object) -> object:
    """[layer, head], as the JSON has it, becomes a Head; anything else is refused by the field's own check."""
    return Head(*pair) if isinstance(pair, list) and len(pair) == 2 else pair


class _Checked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Claim(_Checked):
    """One published fact: heads that do a job, or a statistic over all heads of the model.

    Attributes:
        job: what the heads are said to do, as in "name mover" head.
        role: the name of our role for that job; None where we measure nothing like it.
        heads: the heads named; empty for a statistic.
        statistic: `heads at rest`, the share of all heads with at least half of their attention on the first token, or
            `mean by layer`, the mean attention on the first token of each layer's heads.
        values: the published numbers, 0 to 1, or in logits of a role that is measured in them: one a head or none at all; for a
            statistic its share, or one a layer.
        is_second: whether the numbers are of the role's second score, and not of its score.
        setting: the texts it was seen on.
        kind: `primary` or `reported`, as told apart above.
        cited_as, source: who said it, short for the page and in full.
    """

    job: Text
    role: str | None
    heads: tuple[Annotated[Head, BeforeValidator(_head)], ...] = ()
    statistic: Statistic | None = None
    values: tuple[Number, ...] = ()
    is_second: bool = False
    setting: Text
    kind: Literal["primary", "reported"]
    cited_as: Text
    source: Text

    @model_validator(mode="after")
    def _belongs_together(self) -> "Claim":
        if self.role is not None and self.role not in {role.name for role in measured_roles()}:
            raise ValueError(f"{self.role} is no role that is measured")
        most = 1.0 if self.role is None else get_measured_role(self.role).measure.range[1]
        if self.is_second and (self.role is None or get_measured_role(self.role).measure.second is None):
            raise ValueError(f"the role of {self.job} has no second score")
        if any(value > most for value in self.values):
            raise ValueError(f"the values of {self.job} must be less than or equal to {most:g}")
        if (self.statistic is None) == (not self.heads):
            raise ValueError(f"a claim names heads or a statistic, this one of {self.job} neither or both")
        if self.statistic and (self.role is None or not self.values):
            raise ValueError(f"the statistic {self.statistic} needs a role and values")
        if self.heads and len(self.values) not in (0, len(self.heads)):
            raise ValueError(f"{len(self.heads)} heads have {len(self.values)} values")
        return self

    def value(self, head: Head) -> float | None:
        """The published score of a head that the claim names; None where none was given."""
        return self.values[self.heads.index(head)] if self.values else None


class KnownModel(_Checked):
    """All that is published of one model, and the shape that its heads must lie in."""

    also_called: tuple[Text, ...] = ()
    num_layers: int
    num_heads: int
    claims: tuple[Claim, ...]

    @model_validator(mode="after")
    def _lies_inside(self) -> "KnownModel":
        for claim in self.claims:
            for head in claim.heads:
                head.check_inside(self.num_layers, self.num_heads)
            expected = {"heads at rest": 1, "mean by layer": self.num_layers}.get(claim.statistic or "")
            if expected not in (None, len(claim.values)):
                raise ValueError(f"the statistic {claim.statistic} has {len(claim.values)} values and not {expected}")
        return self


def known_model(model_name: str) -> KnownModel | None:
    """What is published of a model, by its own name or another of the hub's; None where nothing is."""
    library = _library()
    return library.get(model_name) or next((found for found in library.values() if model_name in found.also_called), None)


def known_models() -> tuple[str, ...]:
    """The models that something is published of."""
    return tuple(_library())


def claims(model_name: str) -> tuple[Claim, ...]:
    """What is published of a model's heads, the primary claims first; empty where nothing is."""
    found = known_model(model_name)
    return found.claims if found else ()


def published_claims(model_name: str, head: Head, role: Role | None = None) -> tuple[Claim, ...]:
    """The claims that name a head; with `role`, those alone that name it for that role."""
    named = (claim for claim in claims(model_name) if head in claim.heads)
    return tuple(claim for claim in named if role is None or claim.role == role.name)


@lru_cache
def _library() -> Mapping[str, KnownModel]:
    return TypeAdapter(dict[str, KnownModel]).validate_json(LITERATURE.read_bytes())
