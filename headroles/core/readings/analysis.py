"""What one prompt says of a model's heads: small frozen values that panel, page and API draw from and never compute."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from jaxtyping import Bool, Float
from torch import Tensor

from headroles.core.display import NotebookRepr, to_dataframe
from headroles.core.heads import Head, sink_mass
from headroles.core.readings.head_readings import HeadReading, HeadTable, RoleReading
from headroles.core.roles.roles import Role, get_role, measured_roles
from headroles.errors import InvalidInputError

if TYPE_CHECKING:
    from pandas import DataFrame

SourceKind = Literal["embedded", "cached", "published", "local", "analysed here"]


@dataclass(frozen=True)
class RecordSource:
    """Where the offline scores came from, when they were measured, and on which revision of the model.

    Attributes:
        kind: `published` when the Hub confirmed them to this process, `cached` when it did to an earlier one; `local` when the
            operator's own folder has them.
        analysis_date, revision: of the record.
        dataset, commit: of the dataset repo; empty for records that come from none.
        confirmed: when the Hub last confirmed them, in seconds since 1970; 0 for records that come from no dataset.
        reader: the library that read the patterns that were scored.
        quantization: how the weights were stored, where they were not stored as numbers, such as `Q4_1`.
        is_calibrated: whether the record says how much its heads show by accident, and where they usually are.
        note: what went wrong on the way to newer ones; empty when nothing did.
    """

    kind: SourceKind
    analysis_date: str
    revision: str
    dataset: str = ""
    commit: str = ""
    confirmed: float = 0.0
    reader: Literal["TransformerLens", "PyVene"] = "TransformerLens"
    quantization: str = ""
    is_calibrated: bool = True
    note: str = ""


@dataclass(frozen=True)
class Analysis(NotebookRepr):
    """Everything that panel, map, API and exports need of one prompt on one model; `roles` in the order of ROLES.

    Attributes:
        other_layers: the layers without an attention pattern, and what they are: "linear attention".
        has_sink: whether each head has a learned sink, which takes attention and is no token.
    """

    model: str
    prompt: str
    tokens: tuple[str, ...]
    source: RecordSource
    num_layers: int
    num_heads: int
    roles: tuple[RoleReading, ...]
    heads: HeadTable
    other_layers: Mapping[int, str] = field(default_factory=dict)
    has_sink: bool = False

    def __repr__(self) -> str:
        """The model, the prompt, the sizes and the active roles."""
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
        """One row a head and measured role, as in the data frame; the CSV file adds a sentence on each head."""
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
                    "excess": reading.triggered_excess,
                    "percentile": reading.percentile,
                    "is_unusual": reading.is_unusual,
                }

    def to_frame(self) -> "DataFrame":
        """`rows` as a pandas table. Raises MissingPackageError without pandas."""
        return to_dataframe(self.rows())


@dataclass(frozen=True)
class HeadView(NotebookRepr):
    """One head on one prompt: its pattern, the cells that `role` expects to be strong, and its readings in every measured role.

    `primary` is what the head mainly does in this model, `role` the one it is looked at for. `called` says at how many tokens
    each triggered role could show, with something to compare with; `suggested_prompt` is a text on which `role` shows on this
    model, empty for none. `other_layers` are those without heads; `has_sink` is whether the head has a learned sink, which takes
    what a row of the pattern leaves of 1. `controls` are the cells that its strongest token in `role` is held against, None
    where it is held against none; `source` says where the scores came from.
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
    eligible_counts: Mapping[str, int] = field(default_factory=dict)
    other_layers: Collection[int] = ()
    has_sink: bool = False
    suggested_prompt: str = ""
    controls: Bool[Tensor, "query key"] | None = None
    source: RecordSource | None = None

    def __repr__(self) -> str:
        """The model, the head, its main role and the size of the prompt."""
        return f"HeadView({self.model!r}, {self.head.label}, mainly {self.primary.display_name}, {len(self.tokens)} tokens)"

    @property
    def main(self) -> HeadReading | None:
        """The head in what it mainly does; None where that is no measured role."""
        return self.readings.get(self.primary.name)

    def to_frame(self) -> "DataFrame":
        """One row a query and key that it can see: positions, tokens and attention. Raises MissingPackageError without pandas."""
        return to_dataframe(
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
        return tuple(sink_mass(self.pattern).tolist()) if self.has_sink else ()

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
