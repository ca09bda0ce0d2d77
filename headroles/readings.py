"""What one prompt says of a model's heads: small frozen values that panel, page and API draw from and never compute."""

from dataclasses import dataclass
from typing import Literal

from headroles.attention import Head
from headroles.roles import Role


@dataclass(frozen=True)
class HeadReading:
    """One head in one role: `score` offline, `activation` on the prompt, both 0 to 1; `chance` is a uniform head's activation."""

    head: Head
    score: float
    activation: float
    chance: float
    is_active: bool


@dataclass(frozen=True)
class RoleReading:
    """One role on one prompt.

    Attributes:
        role: the role.
        applicable: whether the prompt has a query at which the role can show.
        reason: one sentence that says why the role is not active, or how many of its heads are.
        heads: the model's top heads of this role, best first; empty when the model has none.
    """

    role: Role
    applicable: bool
    reason: str
    heads: tuple[HeadReading, ...]

    @property
    def is_active(self) -> bool:
        return any(head.is_active for head in self.heads)


@dataclass(frozen=True)
class Source:
    """Where the offline scores came from, when they were measured, and on which revision of the model."""

    kind: Literal["embedded", "cached", "published", "analysed here"]
    analysis_date: str
    revision: str


@dataclass(frozen=True)
class Analysis:
    """Everything that panel, API and exports need of one prompt on one model; `roles` in the order of ROLES."""

    model: str
    prompt: str
    tokens: tuple[str, ...]
    source: Source
    num_layers: int
    num_heads: int
    roles: tuple[RoleReading, ...]

    def role(self, name: str) -> RoleReading:
        """The reading of the role of that name."""
        return next(reading for reading in self.roles if reading.role.name == name)
