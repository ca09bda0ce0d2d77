"""The atlas: which share of heads plays which role, by depth, family and size, over the records of many models.

It says no more than so many models bear out: what is usual from FEW on, what is in every family from MIN_FAMILIES on, and which
model is unusual from MIN_FOR_UNUSUAL on.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from headroles.core.display import to_dataframe
from headroles.core.readings.comparison import DEPTH_BINS
from headroles.core.roles.roles import MeasuredRole, measured_roles
from headroles.core.surveys.atlas_entries import AtlasEntry

if TYPE_CHECKING:
    from pandas import DataFrame

FEW = 5  # models; of fewer each number stands for itself, and none is called the usual one
MIN_FAMILIES = 3
MIN_FOR_UNUSUAL = 12  # models
DEVIATIONS = 4.0  # standard deviations
TO_STANDARD_DEVIATION = 1.4826  # a median absolute deviation, of numbers that are spread as a normal distribution is
# parameters from which on the next band begins
SIZES: Mapping[str, float] = {"under 100 M": 0, "100 M to 1 B": 1e8, "1 B to 10 B": 1e9, "10 B and more": 1e10}


class Spread(NamedTuple):
    """Shares of several models, rising, 0 to 1."""

    values: tuple[float, ...] = ()

    @property
    def models(self) -> int:
        """How many models."""
        return len(self.values)

    @property
    def low(self) -> float | None:
        """The smallest share; None without models."""
        return self.values[0] if self.values else None

    @property
    def high(self) -> float | None:
        """The largest share; None without models."""
        return self.values[-1] if self.values else None

    @property
    def median(self) -> float | None:
        """What is usual; None of fewer than FEW models."""
        return median(self.values) if len(self.values) >= FEW else None


class Unusual(NamedTuple):
    """A model whose share of heads in a role is far from the others'."""

    model: str
    share: float
    median: float


@dataclass(frozen=True)
class Atlas:
    """Many models side by side.

    Attributes:
        entries: of the models that count, by name.
        revisions: how many records were left out that are of a single revision of a model, `NAME@REVISION`: they are no models
            of their own.
        dataset: whose records are among them; empty for none.
        note: what kept those of the dataset away, or newer ones; empty for nothing.
    """

    entries: tuple[AtlasEntry, ...]
    revisions: int = 0
    dataset: str = ""
    note: str = ""

    @cached_property
    def roles(self) -> tuple[MeasuredRole, ...]:
        """Those that a model scores, in the order of ROLES."""
        return tuple(role for role in measured_roles() if any(entry.of(role) for entry in self.entries))

    @cached_property
    def families(self) -> Mapping[str, tuple[AtlasEntry, ...]]:
        """The models by architecture, by name; those of which nobody said it are not there."""
        names = sorted({entry.family for entry in self.entries if entry.family is not None})
        return {name: tuple(entry for entry in self.entries if entry.family == name) for name in names}

    @cached_property
    def sizes(self) -> Mapping[str, tuple[AtlasEntry, ...]]:
        """The models by size, small ones first, without bands that hold none; those of which nobody said it are not there."""
        bands = {name: tuple(entry for entry in self.entries if _band(entry) == name) for name in SIZES}
        return {name: entries for name, entries in bands.items() if entries}

    def found_in(self, role: MeasuredRole) -> int:
        """In how many models some head reaches the role's threshold."""
        return sum(bool(entry.count(role)) for entry in self.entries)

    def families_with(self, role: MeasuredRole) -> Mapping[str, bool]:
        """Whether some model of a family has a head that reaches a role's threshold; of families that score it."""
        counts = {name: [entry.count(role) for entry in entries] for name, entries in self.families.items()}
        return {name: any(found) for name, found in counts.items() if any(count is not None for count in found)}

    def in_every_family(self) -> tuple[MeasuredRole, ...] | None:
        """The roles that some model of each family has; None where there are too few families to say so."""
        if len(self.families) < MIN_FAMILIES:
            return None
        found = {role: self.families_with(role) for role in self.roles}
        return tuple(role for role, families in found.items() if len(families) == len(self.families) and all(families.values()))

    def unusual(self, role: MeasuredRole) -> tuple[Unusual, ...] | None:
        """The models whose share in a role is far from the others'; None where there are too few models to say so.

        See `are_far`.
        """
        found = [(entry, share) for entry in self.entries if (share := entry.share(role)) is not None]
        if len(found) < MIN_FOR_UNUSUAL:
            return None
        middle = median(share for _, share in found)
        far = are_far([share for _, share in found], [entry.total for entry, _ in found])
        return tuple(Unusual(entry.model, share, middle) for (entry, share), is_far in zip(found, far) if is_far)

    def rows(self) -> Iterator[dict[str, object]]:
        """One row a model and role; see `AtlasEntry.rows`."""
        for entry in self.entries:
            yield from entry.rows()

    def to_frame(self) -> "DataFrame":
        """`rows` as a pandas table. Raises MissingPackageError without pandas."""
        return to_dataframe(self.rows())


def build_atlas(entries: Iterable[AtlasEntry], dataset: str = "", note: str = "") -> Atlas:
    """The atlas of these records; of several of one model the first counts."""
    by_model: dict[str, AtlasEntry] = {}
    for entry in entries:
        by_model.setdefault(entry.model, entry)
    whole = sorted((name for name in by_model if "@" not in name), key=lambda name: (name.lower(), name))
    return Atlas(tuple(by_model[name] for name in whole), len(by_model) - len(whole), dataset, note)


def compute_spread(role: MeasuredRole, entries: Iterable[AtlasEntry]) -> Spread:
    """The share of heads that reach a role's threshold, over those of the models that score it."""
    return _spread(entry.share(role) for entry in entries)


def spreads_by_depth(role: MeasuredRole, entries: Sequence[AtlasEntry]) -> tuple[Spread, ...]:
    """The same in each slice of relative depth, over the models that have a layer with heads there."""
    tables = [entry.shares_by_depth(role) for entry in entries]
    return tuple(_spread(table[number] for table in tables) for number in range(DEPTH_BINS))


def are_far(shares: Sequence[float], heads: Sequence[int], deviations: float = DEVIATIONS) -> list[bool]:
    """Which of these shares, of models of so many heads, are far from the others.

    By square roots of shares, whose spread hardly depends on how large they are: far from the median is what differs by more
    than so many times what the median absolute deviation (Iglewicz and Hoaglin 1993) and the chance in drawing as many heads as
    the model has make together. Where half of them or more are equal, none is called far.
    """
    middle = median(shares)
    distances = [abs(math.sqrt(share) - math.sqrt(middle)) for share in shares]
    deviation = median(distances) * TO_STANDARD_DEVIATION
    by_drawing = [math.sqrt((1 - middle) / (4 * count)) for count in heads]
    return [deviation > 0 and far > deviations * math.hypot(deviation, chance) for far, chance in zip(distances, by_drawing)]


def _spread(shares: Iterable[float | None]) -> Spread:
    return Spread(tuple(sorted(share for share in shares if share is not None)))


def _band(entry: AtlasEntry) -> str | None:
    if entry.parameters is None:
        return None
    return [name for name, least in SIZES.items() if entry.parameters >= least][-1]
