"""What one prompt says of heads in roles: small frozen values that page and API draw from and never compute."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from headroles.core.heads import Head, as_head
from headroles.core.records.role_effects import RoleEffect
from headroles.core.roles.roles import MeasuredRole, Role, get_measured_role

# of a role on a text: the first three of one that a text triggers, the next two of one that is always on
State = Literal["seen", "not seen", "not applicable", "as usual", "unusual here", "scored offline", "not scored", "not a role"]
# why no token of a text can show a role: no query is eligible, or no eligible one has others to be compared with
Missing = Literal["no query", "no control"]

MARKED = 6  # heads that are kept of a token at which a role is seen


@dataclass(frozen=True)
class TokenEvidence:
    """What a head does at one token that calls for a role.

    Attributes:
        query: the token's position.
        key: of the expected keys, the one that it looks at most.
        attention: on all expected keys, 0 to 1.
        control: the larger of what other tokens give these keys, and what the head gives keys as far back from other tokens.
        most_key: of all keys, the one that it looks at most; None where the head's learned sink takes more than any.
        most_attention: on that one, or the sink, 0 to 1.
    """

    query: int
    key: int
    attention: float
    control: float
    most_key: int | None
    most_attention: float

    @property
    def excess(self) -> float:
        """The attention on the expected keys beyond the control, -1 to 1."""
        return self.attention - self.control


@dataclass(frozen=True)
class Mark:
    """A token of a text at which a triggered role is seen.

    Attributes:
        query: the token's position.
        heads: the heads that do it there, each with its evidence, strongest first; at most MARKED.
        count: how many heads do it there.
    """

    query: int
    heads: tuple[tuple[Head, TokenEvidence], ...]
    count: int


@dataclass(frozen=True)
class HeadReading:
    """One head in one measured role.

    Attributes:
        score: offline, within the measure's range; None where the record does not score the role.
        activation: on the prompt, 0 to 1; None for a role that no text changes.
        chance: a uniform head's activation; None where there is none.
        is_active: whether the head is seen in the role on the prompt; in one that is always on, whether it plays it at all.
        is_triggered: whether a text calls for the role at some tokens, or it is always on.
        evidence: of a triggered role, at the tokens where the head does most of it, strongest first; empty where none calls for
            it.
        detections: at how many tokens it is seen.
        usual: the range of its activation on nine of ten ordinary texts; None in a role that a text triggers, or where the record
            does not say.
        percentile: on which share of ordinary texts its activation is smaller; None likewise.
        is_unusual: whether the activation is far outside the head's usual range.
        interval: of the score, with 95 % confidence over texts such as the probes; None where the record does not say, as for a
            head that does not stand for the role.
        second: the role's second number (`core.roles.second_scores`); None for a role without one, or where the record does not
            say.
    """

    head: Head
    score: float | None
    activation: float | None
    chance: float | None
    is_active: bool
    is_triggered: bool = False
    evidence: tuple[TokenEvidence, ...] = ()
    detections: int = 0
    usual: tuple[float, float] | None = None
    percentile: float | None = None
    is_unusual: bool = False
    interval: tuple[float, float] | None = field(default=None, repr=False)
    second: float | None = field(default=None, repr=False)

    @property
    def can_show(self) -> bool:
        """Whether the text has a token that could show the role; where it has none, there is no number to show."""
        return bool(self.evidence) if self.is_triggered else bool(self.chance)

    @property
    def excess(self) -> float:
        """At its strongest token; 0 where no token calls for the role."""
        return self.evidence[0].excess if self.evidence else 0.0

    @property
    def triggered_excess(self) -> float | None:
        """Its excess; None for a role that is always on."""
        return self.excess if self.is_triggered else None

    @property
    def state(self) -> State:
        """What the head does in the role on the text."""
        if self.activation is None:
            return "scored offline"
        if not self.can_show:
            return "not applicable"
        if self.usual is not None:
            return "unusual here" if self.is_unusual else "as usual"
        return "seen" if self.is_active else "not seen"

    @property
    def distance(self) -> float:
        """How far its activation is from its usual range, 0 to 1."""
        low, high = self.usual or (0.0, 1.0)
        return max(low - (self.activation or 0.0), (self.activation or 0.0) - high, 0.0)

    @property
    def value(self) -> float:
        """What the head's bar and number say, 0 to 1.

        The attention at its strongest token, or the activation of an always-on role, or the score of one that no text changes.
        """
        if self.activation is None:
            return self.score or 0.0
        if self.is_triggered:
            return self.evidence[0].attention if self.evidence else 0.0
        return self.activation

    @property
    def baseline(self) -> float | None:
        """What that number is compared with: the control at that token, or else chance; None where there is neither."""
        if self.is_triggered:
            return self.evidence[0].control if self.evidence else None
        return self.chance


@dataclass(frozen=True)
class RoleReading:
    """One role on one prompt.

    Attributes:
        role: the role.
        state: what the role does here; "scored offline" for one that is not read on a text.
        heads: the model's top heads of this role, best first; empty when the model has none.
        applicable: whether the prompt has a query at which the role can show.
        other_heads: the heads that are seen in it here without being known for it, strongest first.
        tokens: at how many tokens of the prompt it could show, with something to compare with; 0 where it is always on.
        marks: of a triggered role, the tokens at which heads are seen in it, first to last.
        effect: what the model loses without the role's heads on the probe texts; None where nobody looked.
        suggested_prompt: a text on which it shows on this model; empty where the analysis found none, or there is none.
    """

    role: Role
    state: State
    heads: tuple[HeadReading, ...]
    applicable: bool
    other_heads: tuple[HeadReading, ...] = ()
    tokens: int = 0
    marks: tuple[Mark, ...] = ()
    effect: RoleEffect | None = None
    suggested_prompt: str = ""

    @property
    def is_active(self) -> bool:
        """Whether it is seen; for a role that is always on, whether any of its heads plays it here at all."""
        if self.state in ("as usual", "unusual here"):
            return any(head.is_active for head in self.heads)
        return self.state == "seen"

    @property
    def is_unusual(self) -> bool:
        """Whether any of its heads is far from its usual range."""
        return self.state == "unusual here"

    @property
    def missing(self) -> Missing | None:
        """Why no token of the text can show the role; None where one can."""
        if not self.applicable:
            return "no query"
        if isinstance(self.role, MeasuredRole) and self.role.measure.is_triggered and not self.tokens:
            return "no control"
        return None

    @property
    def strongest(self) -> HeadReading | None:
        """The head that plays the role most clearly here; None when the model has none."""
        return max(self.heads, key=lambda head: (head.is_active, head.excess, head.value), default=None)


Cells = tuple[tuple[float, ...], ...]  # [layer][head]


@dataclass(frozen=True)
class HeadTable:
    """Every head of a model on one prompt, each table by role name.

    Attributes:
        scores: of the roles that the record scores, within each measure's range.
        activations, active: of the roles that a text can show; 0 to 1, and whether the head plays the role here.
        chances: of each layer, since a sliding window changes what a uniform head would get.
        applicable: whether the prompt has a query at which the role can show.
        primary: what each head mainly does in this model, [layer][head].
        evidence, detections: of the roles that a text triggers: each head's strongest tokens, and at how many it is seen.
        tokens: of the same: at how many tokens of the prompt it could show, with something to compare with.
        is_detected: of the same: whether the role is seen.
        marks: of the same: the tokens at which heads are seen in it.
        usual, percentiles, unusual: of the roles that are always on, as far as the record says.
        intervals: of the scores of the heads that stand for a role, likewise.
        seconds: the second number of the roles that have one, as far as the record says.
    """

    scores: Mapping[str, Cells]
    activations: Mapping[str, Cells]
    chances: Mapping[str, tuple[float, ...]]
    active: Mapping[str, tuple[tuple[bool, ...], ...]]
    applicable: Mapping[str, bool]
    primary: tuple[tuple[Role, ...], ...]
    evidence: Mapping[str, tuple[tuple[tuple[TokenEvidence, ...], ...], ...]] = field(default_factory=dict)
    detections: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)
    is_detected: Mapping[str, bool] = field(default_factory=dict)
    marks: Mapping[str, tuple[Mark, ...]] = field(default_factory=dict)
    usual: Mapping[str, tuple[tuple[tuple[float, float], ...], ...]] = field(default_factory=dict)
    percentiles: Mapping[str, Cells] = field(default_factory=dict)
    unusual: Mapping[str, tuple[tuple[bool, ...], ...]] = field(default_factory=dict)
    intervals: Mapping[str, Mapping[Head, tuple[float, float]]] = field(default_factory=dict)
    seconds: Mapping[str, Cells] = field(default_factory=dict)

    def __repr__(self) -> str:
        """The sizes and the roles, without the numbers."""
        return f"HeadTable({len(self.primary)} x {self.num_heads} heads, {', '.join(self.activations)})"

    @property
    def num_heads(self) -> int:
        """How many a layer has that has any."""
        return max(map(len, self.primary))

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that have heads: those with an attention pattern."""
        return tuple(layer for layer, row in enumerate(self.primary) if row)

    def heads(self) -> tuple[Head, ...]:
        """All heads of the model, layer by layer."""
        return tuple(Head(layer, index) for layer, row in enumerate(self.primary) for index in range(len(row)))

    def primary_role(self, head: Head | str | tuple[int, int]) -> Role:
        """What a head mainly does in this model. Raises InvalidInputError for a head outside the model."""
        head = self._inside(head)
        return self.primary[head.layer][head.index]

    def reading(self, role: Role | str, head: Head | str | tuple[int, int]) -> HeadReading:
        """One head in one measured role. Raises InvalidInputError for a head outside the model, or what is no such role."""
        name, head = get_measured_role(role).name, self._inside(head)
        return HeadReading(
            head=head,
            score=_cell(self.scores, name, head),
            activation=_cell(self.activations, name, head),
            chance=self.chances[name][head.layer] if name in self.chances else None,
            is_active=bool(_cell(self.active, name, head)),
            is_triggered=name in self.evidence,
            evidence=_cell(self.evidence, name, head) or (),
            detections=_cell(self.detections, name, head) or 0,
            usual=_cell(self.usual, name, head),
            percentile=_cell(self.percentiles, name, head),
            is_unusual=bool(_cell(self.unusual, name, head)),
            interval=self.intervals.get(name, {}).get(head),
            second=_cell(self.seconds, name, head),
        )

    def main_reading(self, head: Head) -> HeadReading | None:
        """A head in what it mainly does; None where that is no measured role."""
        primary = self.primary_role(head)
        return self.reading(primary, head) if primary.name in self.scores else None

    def counts(self, role: Role) -> int:
        """How many heads are mainly that."""
        return sum(row.count(role) for row in self.primary)

    def _inside(self, head: Head | str | tuple[int, int]) -> Head:
        found = as_head(head)
        found.check_inside(len(self.primary), self.num_heads, self.layers)
        return found


def _cell(tables: Mapping[str, tuple[tuple, ...]], role: str, head: Head) -> Any:
    return tables[role][head.layer][head.index] if role in tables else None
