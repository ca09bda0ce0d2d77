"""What one prompt says of a model's heads: small frozen values that panel, page and API draw from and never compute."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from jaxtyping import Bool, Float
from torch import Tensor

from headroles.core.frames import to_frame
from headroles.core.heads import Head, as_head, taken_by_sink
from headroles.core.roles import MeasuredRole, Role, get_measured_role, get_role, measured_roles
from headroles.errors import InvalidInputError

if TYPE_CHECKING:
    from pandas import DataFrame

State = Literal["active", "not active", "not applicable", "in the weights", "not scored", "not a role"]


@dataclass(frozen=True)
class HeadReading:
    """One head in one measured role.

    Attributes:
        score: offline, within the measure's range; None where the record does not score the role.
        activation: on the prompt, 0 to 1; None for a role that no text changes.
        chance: a uniform head's activation; None where there is none.
        is_active: whether the head plays the role on the prompt.
    """

    head: Head
    score: float | None
    activation: float | None
    chance: float | None
    is_active: bool

    @property
    def shown(self) -> float:
        """What the head's bar and number say: the activation, or the score of a role that no text changes."""
        return (self.score or 0.0) if self.activation is None else self.activation


@dataclass(frozen=True)
class RoleReading:
    """One role on one prompt.

    Attributes:
        role: the role.
        state: what the role does here; "in the weights" for one that no text changes.
        reason: one sentence that says why the role is not active, or how many of its heads are.
        heads: the model's top heads of this role, best first; empty when the model has none.
    """

    role: Role
    state: State
    reason: str
    heads: tuple[HeadReading, ...]
    applicable: bool  # whether the prompt has a query at which the role can show

    @property
    def is_active(self) -> bool:
        return self.state == "active"

    @property
    def strongest(self) -> HeadReading | None:
        """The head that plays the role most clearly here; None when the model has none."""
        return max(self.heads, key=lambda head: (head.is_active, head.shown), default=None)


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
    """

    scores: Mapping[str, Cells]
    activations: Mapping[str, Cells]
    chances: Mapping[str, tuple[float, ...]]
    active: Mapping[str, tuple[tuple[bool, ...], ...]]
    applicable: Mapping[str, bool]
    primary: tuple[tuple[Role, ...], ...]

    def __repr__(self) -> str:
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


Kind = Literal["embedded", "cached", "published", "local", "analysed here"]


@dataclass(frozen=True)
class Source:
    """Where the offline scores came from, when they were measured, and on which revision of the model.

    Attributes:
        kind: `published` when the Hub confirmed them to this process, `cached` when it did to an earlier one; `local` when the
            operator's own folder has them.
        analysis_date, revision: of the record.
        dataset, commit: of the dataset repo; empty for records that come from none.
        confirmed: when the Hub last confirmed them, in seconds since 1970; 0 for records that come from no dataset.
        reader: the library that read the patterns that were scored.
        quantization: how the weights were stored, where they were not stored as numbers, such as `Q4_1`.
        note: what went wrong on the way to newer ones; empty when nothing did.
    """

    kind: Kind
    analysis_date: str
    revision: str
    dataset: str = ""
    commit: str = ""
    confirmed: float = 0.0
    reader: Literal["TransformerLens", "PyVene"] = "TransformerLens"
    quantization: str = ""
    note: str = ""


@dataclass(frozen=True)
class Analysis:
    """Everything that panel, map, API and exports need of one prompt on one model; `roles` in the order of ROLES.

    Attributes:
        other_layers: the layers without an attention pattern, and what they are: "linear attention".
        has_sink: whether each head has a learned sink, which takes attention and is no token.
    """

    model: str
    prompt: str
    tokens: tuple[str, ...]
    source: Source
    num_layers: int
    num_heads: int
    roles: tuple[RoleReading, ...]
    heads: HeadTable
    other_layers: Mapping[int, str] = field(default_factory=dict)
    has_sink: bool = False

    def __repr__(self) -> str:
        active = ", ".join(reading.role.display_name for reading in self.roles if reading.is_active) or "nothing"
        prompt = self.prompt if len(self.prompt) <= 60 else f"{self.prompt[:57]}..."
        size = f"{len(self.tokens)} tokens, {self.num_layers} x {self.num_heads} heads"
        return f"Analysis({self.model!r}, {prompt!r}, {size}, active: {active})"

    def role(self, role: Role | str) -> RoleReading:
        """The reading of a role, by name or display name. Raises InvalidInputError that lists the names there are."""
        wanted = get_role(role)
        for reading in self.roles:
            if reading.role == wanted:
                return reading
        raise InvalidInputError(f"This analysis has no role {wanted.name}; it has {', '.join(r.role.name for r in self.roles)}.")

    def rows(self) -> Iterator[dict[str, object]]:
        """One row a head and measured role: what the CSV file and the data frame hold."""
        for head in self.heads.heads():
            primary = self.heads.primary_role(head)
            for role in measured_roles():
                reading = self.heads.reading(role, head)
                yield {
                    "model": self.model,
                    "layer": head.layer,
                    "head": head.index,
                    "role": role.name,
                    "primary_role": primary.name,
                    "score": reading.score,
                    "activation": reading.activation,
                    "chance": reading.chance,
                    "is_active": reading.is_active,
                }

    def to_frame(self) -> "DataFrame":
        """`rows` as a pandas table. Raises MissingPackageError without pandas."""
        return to_frame(self.rows())


@dataclass(frozen=True)
class HeadView:
    """One head on one prompt: its pattern, the cells that `role` expects to be strong, and its readings in every measured role.

    `primary` is what the head mainly does in this model, `role` the one it is looked at for. `other_layers` are those without
    heads; `has_sink` is whether the head has a learned sink, which takes what a row of the pattern leaves of 1.
    """

    model: str
    prompt: str
    tokens: tuple[str, ...]
    num_layers: int
    num_heads: int
    head: Head
    role: Role
    primary: Role
    pattern: Float[Tensor, "query key"]
    expected: Bool[Tensor, "query key"]
    readings: Mapping[str, HeadReading]
    other_layers: Collection[int] = ()
    has_sink: bool = False

    def __repr__(self) -> str:
        return f"HeadView({self.model!r}, {self.head.label}, mainly {self.primary.display_name}, {len(self.tokens)} tokens)"

    @property
    def main(self) -> HeadReading | None:
        """The head in what it mainly does; None where that is no measured role."""
        return self.readings.get(self.primary.name)

    def played(self) -> tuple[MeasuredRole, ...]:
        """The roles that the head plays on this prompt, in the order of ROLES."""
        return tuple(role for role in measured_roles() if self.readings[role.name].is_active)

    def to_frame(self) -> "DataFrame":
        """One row a query and key that it can see: positions, tokens and attention. Raises MissingPackageError without pandas."""
        return to_frame(
            {
                "query": q,
                "key": k,
                "query_token": self.tokens[q],
                "key_token": self.tokens[k],
                "attention": float(self.pattern[q, k]),
                "expected": bool(self.expected[q, k]),
            }
            for q in range(len(self.tokens))
            for k in range(q + 1)
        )

    @property
    def sink(self) -> tuple[float, ...]:
        """The attention that each query gives to the learned sink; empty without one."""
        return tuple(taken_by_sink(self.pattern).tolist()) if self.has_sink else ()

    @property
    def previous(self) -> Head | None:
        """The head before this one, layer by layer."""
        return self._at(-1)

    @property
    def next(self) -> Head | None:
        """The head after this one, layer by layer."""
        return self._at(1)

    def _at(self, step: int) -> Head | None:
        layers = [layer for layer in range(self.num_layers) if layer not in self.other_layers]
        if self.head.layer not in layers:
            return None
        place = layers.index(self.head.layer) * self.num_heads + self.head.index + step
        if not 0 <= place < len(layers) * self.num_heads:
            return None
        row, index = divmod(place, self.num_heads)
        return Head(layers[row], index)


def _cell(tables: Mapping[str, tuple[tuple, ...]], role: str, head: Head) -> float | None:
    return tables[role][head.layer][head.index] if role in tables else None
