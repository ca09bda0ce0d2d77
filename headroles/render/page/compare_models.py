"""Two models on one text, side by side -> HTML."""

from dataclasses import dataclass

from headroles.core.readings.comparison import DEPTH_BINS, Census, ModelComparison, RoleCensus, heads_by_depth
from headroles.core.readings.head_readings import RoleReading
from headroles.core.roles.roles import Role
from headroles.render.html import render_template
from headroles.render.wording.comparisons import describe_model_comparison
from headroles.render.wording.phrases import percent


@dataclass(frozen=True)
class Slice:
    """A slice of relative depth of one model: how many heads there have the role, of how many."""

    count: int
    heads: int

    @property
    def share(self) -> float:
        """Of the heads at this depth, 0 to 1."""
        return self.count / self.heads


@dataclass(frozen=True)
class CensusRow:
    """The heads of one model, `A` or `B`, that are mainly one role."""

    letter: str
    reading: RoleReading
    total: int
    share: str
    slices: tuple[Slice, ...]


@dataclass(frozen=True)
class Depth:
    """The header of a slice: what all read, at the ends alone, and what screen readers hear."""

    end: str
    said: str


def render_model_comparison(comparison: ModelComparison) -> str:
    """Both models, how many heads of each play a role and in which layers, and which roles are active on the text."""
    slices_a, slices_b = heads_by_depth(comparison.a), heads_by_depth(comparison.b)
    return render_template(
        "compare_models",
        summary=describe_model_comparison(comparison),
        a=comparison.a,
        b=comparison.b,
        some_weighed=any(reading.state == "scored offline" for reading in comparison.a.roles + comparison.b.roles),
        has_gaps=0 in slices_a + slices_b,
        some_other=bool(comparison.a.other_layers or comparison.b.other_layers),
        depths=[_depth(index) for index in range(DEPTH_BINS)],
        roles=[_rows(role, comparison, slices_a, slices_b) for role in comparison.roles],
    )


def _depth(index: int) -> Depth:
    start, end = (100 * edge / DEPTH_BINS for edge in (index, index + 1))
    return Depth({0: "first", DEPTH_BINS - 1: "last"}.get(index, ""), f" depth {start:g}% to {end:g}%")


def _rows(
    role: RoleCensus, comparison: ModelComparison, slices_a: tuple[int, ...], slices_b: tuple[int, ...]
) -> tuple[Role, tuple[CensusRow, CensusRow]]:
    """A role and its rows of A and of B."""
    a, b = comparison.a.role(role.role), comparison.b.role(role.role)
    return role.role, (_row("A", role.a, a, slices_a), _row("B", role.b, b, slices_b))


def _row(letter: str, census: Census, reading: RoleReading, heads: tuple[int, ...]) -> CensusRow:
    return CensusRow(letter, reading, census.total, percent(census.share), tuple(map(Slice, census.counts, heads)))
