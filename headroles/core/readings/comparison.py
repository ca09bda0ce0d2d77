"""Two analyses side by side: one model on two texts, or two models on one text. Small frozen values; nothing is measured here."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from headroles.core.display import NotebookRepr, to_dataframe
from headroles.core.heads import Head
from headroles.core.readings.analysis import Analysis
from headroles.core.readings.head_readings import HeadReading, RoleReading
from headroles.core.roles.roles import RESTING_ROLE, ROLES, Role, measured_roles
from headroles.errors import InvalidInputError

if TYPE_CHECKING:
    from pandas import DataFrame

DEPTH_BINS = 8  # slices of relative depth, first layers to last
MAX_CHANGES = 12  # heads listed at most
MIN_CHANGE = 0.05  # of evidence; what changes less is not listed

Change = Literal["turns on", "turns off", "stays on", "stays off"]


@dataclass(frozen=True)
class RoleChange:
    """One measured role on two texts of the same model."""

    role: Role
    a: RoleReading
    b: RoleReading

    @property
    def change(self) -> Change:
        """What the role does from text A to text B."""
        if self.a.is_active:
            return "stays on" if self.b.is_active else "turns off"
        return "turns on" if self.b.is_active else "stays off"


@dataclass(frozen=True)
class HeadChange:
    """One head in one role on two texts of the same model."""

    role: Role
    a: HeadReading
    b: HeadReading

    @property
    def difference(self) -> float:
        """Activation on B minus that on A, -1 to 1."""
        return (self.b.activation or 0.0) - (self.a.activation or 0.0)

    @property
    def evidence(self) -> float:
        """What the verdict goes by, on B minus on A: the excess at the strongest token, or the activation of an always-on role.

        0 where neither text shows anything: the head is seen on none, or as usual on both.
        """
        if self.a.is_triggered:
            return self.b.excess - self.a.excess if self.a.is_active or self.b.is_active else 0.0
        if self.a.usual is None and self.b.usual is None:
            return 0.0 if self.role == RESTING_ROLE else self.difference
        return self.difference if self.a.is_unusual or self.b.is_unusual else 0.0


@dataclass(frozen=True)
class PromptComparison(NotebookRepr):
    """The same model on two texts.

    Attributes:
        roles: the measured roles, in the order of ROLES.
        heads: those whose evidence changed most, largest first, each head in the role in which it did; at most MAX_CHANGES, and
            none that changed by less than MIN_CHANGE.
    """

    a: Analysis
    b: Analysis
    roles: tuple[RoleChange, ...]
    heads: tuple[HeadChange, ...]

    def __repr__(self) -> str:
        """The model, the roles that turn on or off, and how many heads changed."""
        turned = ", ".join(f"{role.role.display_name} {role.change}" for role in self.roles if role.change.startswith("turns"))
        return f"PromptComparison({self.a.model!r}, {turned or 'no role turns'}, {len(self.heads)} heads changed)"

    def to_frame(self) -> "DataFrame":
        """One row a head that changed, largest evidence first. Raises MissingPackageError without pandas."""
        return to_dataframe(
            {
                "layer": change.a.head.layer,
                "head": change.a.head.index,
                "role": change.role.name,
                "activation_a": change.a.activation,
                "activation_b": change.b.activation,
                "difference": change.difference,
                "evidence": change.evidence,
                "is_active_a": change.a.is_active,
                "is_active_b": change.b.is_active,
            }
            for change in self.heads
        )


@dataclass(frozen=True)
class Census:
    """The heads of one model whose primary role this is.

    Attributes:
        counts: how many in each of the DEPTH_BINS slices of relative depth.
        share: of all heads of the model, 0 to 1.
    """

    role: Role
    counts: tuple[int, ...]
    share: float

    @property
    def total(self) -> int:
        """How many heads in all slices."""
        return sum(self.counts)


@dataclass(frozen=True)
class RoleCensus:
    """One role in two models; `active_a` and `active_b` say whether it is active on their common text."""

    role: Role
    a: Census
    b: Census
    active_a: bool
    active_b: bool


@dataclass(frozen=True)
class ModelComparison(NotebookRepr):
    """Two models on the same text; `roles` are all roles in the order of ROLES, `other` included."""

    a: Analysis
    b: Analysis
    roles: tuple[RoleCensus, ...]

    def __repr__(self) -> str:
        """Both models and how many roles."""
        return f"ModelComparison({self.a.model!r}, {self.b.model!r}, {len(self.roles)} roles)"

    def to_frame(self) -> "DataFrame":
        """One row a role and model: its heads, and their share of all. Raises MissingPackageError without pandas."""
        return to_dataframe(
            {
                "role": role.role.name,
                "model": analysis.model,
                "heads": census.total,
                "share": census.share,
                "is_active": is_active,
            }
            for role in self.roles
            for analysis, census, is_active in ((self.a, role.a, role.active_a), (self.b, role.b, role.active_b))
        )


def compare_prompts(a: Analysis, b: Analysis) -> PromptComparison:
    """What changes from text A to text B in the same model.

    Raises:
        InvalidInputError: when A and B come from different models, revisions or shapes.
    """
    if _which(a) != _which(b):
        raise InvalidInputError(
            f"Two texts are compared on one model, but A was read by {_model_words(a)} and B by {_model_words(b)}; "
            "run both texts on the same model."
        )
    roles = tuple(RoleChange(role, a.role(role.name), b.role(role.name)) for role in measured_roles())
    largest = [change for head in a.heads.heads() if (change := _largest_change(a, b, head)) is not None]
    largest.sort(key=lambda change: -abs(change.evidence))
    return PromptComparison(a, b, roles, tuple(largest[:MAX_CHANGES]))


def compare_models(a: Analysis, b: Analysis) -> ModelComparison:
    """Which roles the heads of two models have, at which depth, and which of them are active on the same text.

    Raises:
        InvalidInputError: when the texts differ, or the models do not.
    """
    if a.prompt != b.prompt:
        raise InvalidInputError("Two models are compared on one text, but A and B read different ones; run both on one text.")
    if a.model == b.model:
        raise InvalidInputError(f"A and B are both {a.model}; choose two different models.")
    roles = tuple(
        RoleCensus(role, _census(a, role), _census(b, role), a.role(role.name).is_active, b.role(role.name).is_active)
        for role in ROLES.values()
    )
    return ModelComparison(a, b, roles)


def depth_slice(layer: int, num_layers: int) -> int:
    """The slice of relative depth, 0 to DEPTH_BINS - 1, of a layer whose middle lies at (layer + 0.5) / num_layers."""
    return (2 * layer + 1) * DEPTH_BINS // (2 * num_layers)  # in whole numbers, so that no rounding moves a layer


def heads_by_depth(analysis: Analysis) -> tuple[int, ...]:
    """How many heads a model has in each slice; 0 where a model of fewer layers than slices has no layer."""
    return _count_by_depth(analysis, analysis.heads.heads())


def _largest_change(a: Analysis, b: Analysis, head: Head) -> HeadChange | None:
    """The role in which a head changed most, among those that can show on either text; None if that is too little."""
    changes = [
        HeadChange(role, a.heads.reading(role, head), b.heads.reading(role, head))
        for role in measured_roles()
        if a.heads.applicable.get(role.name) or b.heads.applicable.get(role.name)  # none for a role that no text changes
    ]
    largest = max(changes, key=lambda change: abs(change.evidence), default=None)
    return largest if largest is not None and abs(largest.evidence) >= MIN_CHANGE else None


def _census(analysis: Analysis, role: Role) -> Census:
    heads = [head for head in analysis.heads.heads() if analysis.heads.primary_role(head) == role]
    return Census(role, _count_by_depth(analysis, heads), len(heads) / len(analysis.heads.heads()))


def _count_by_depth(analysis: Analysis, heads: tuple[Head, ...] | list[Head]) -> tuple[int, ...]:
    slices = [depth_slice(head.layer, analysis.num_layers) for head in heads]
    return tuple(slices.count(index) for index in range(DEPTH_BINS))


def _which(analysis: Analysis) -> tuple[str, str, int, int]:
    return analysis.model, analysis.source.revision, analysis.num_layers, analysis.num_heads


def _model_words(analysis: Analysis) -> str:
    return f"{analysis.model} ({analysis.num_layers} x {analysis.num_heads} heads, revision {analysis.source.revision[:24]})"
