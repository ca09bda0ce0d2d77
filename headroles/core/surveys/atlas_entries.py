"""The rows of one record in the atlas: how many heads play each role at which depth. They follow from that record alone.

The atlas' file holds one entry a line, in JSON. A record that is new or another one changes its own line and no other.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headroles.core.readings.comparison import DEPTH_BINS, depth_slice
from headroles.core.records.head_categories import MAX_ROLES, Count, Family, HeadCategories, Interval, Parameters, Score, Text
from headroles.core.records.validation import parse_line
from headroles.core.registry import MODELS
from headroles.core.roles.roles import MeasuredRole, measured_roles
from headroles.errors import InvalidRecordError

MAX_ATLAS_BYTES = 16 * 1024 * 1024
MAX_ENTRIES = 10_000

# of `AtlasEntry.rows`
ATLAS_COLUMNS = (
    *("model", "revision", "family", "parameters", "num_layers", "num_heads", "role", "threshold", "heads", "share"),
    *("best_layer", "best_head", "best_score", "interval_low", "interval_high"),
    *(f"share_at_depth_{number}" for number in range(1, DEPTH_BINS + 1)),
)

Slices = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=DEPTH_BINS, max_length=DEPTH_BINS)]


class _Checked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class BestHead(_Checked):
    """The head with the highest score in a role; `interval` where the record tells one."""

    layer: Annotated[int, Field(ge=0)]
    head: Annotated[int, Field(ge=0)]
    score: Score
    interval: Interval | None = None


class RoleEntry(_Checked):
    """One role of one model: how many heads reach the role's threshold, as it was then, in each slice of relative depth."""

    threshold: Score
    heads: Slices
    best: BestHead


class AtlasEntry(_Checked):
    """What the atlas knows of one record.

    Attributes:
        digest: of the record, so that another one of the same revision is told from it.
        family: the architecture, as transformers names it; None where nobody said.
        heads: of all roles together, how many there are in each slice of relative depth.
    """

    model: Text
    revision: Text
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    family: Family | None
    parameters: Parameters | None
    num_layers: Count
    num_heads: Count
    heads: Slices
    roles: Annotated[dict[Text, RoleEntry], Field(max_length=MAX_ROLES)]

    @model_validator(mode="after")
    def _belongs_together(self) -> "AtlasEntry":
        most = [0] * DEPTH_BINS
        for layer in range(self.num_layers):
            most[depth_slice(layer, self.num_layers)] += self.num_heads
        if any(heads % self.num_heads or heads > limit for heads, limit in zip(self.heads, most)) or not sum(self.heads):
            raise ValueError(f"heads are not those of {self.num_layers} layers x {self.num_heads} heads")
        for name, entry in self.roles.items():
            _check_role(self, name, entry)
        return self

    @property
    def total(self) -> int:
        """How many heads it has."""
        return sum(self.heads)

    def of(self, role: MeasuredRole) -> RoleEntry | None:
        """Its rows of a role; None where the record does not score it, or counted by another threshold than today's."""
        entry = self.roles.get(role.name)
        return entry if entry is not None and entry.threshold == role.threshold else None

    def count(self, role: MeasuredRole) -> int | None:
        """How many heads reach a role's threshold; None as in `of`."""
        entry = self.of(role)
        return None if entry is None else sum(entry.heads)

    def share(self, role: MeasuredRole) -> float | None:
        """Which share of all heads reaches a role's threshold, 0 to 1; None as in `of`."""
        count = self.count(role)
        return None if count is None else count / self.total

    def shares_by_depth(self, role: MeasuredRole) -> tuple[float | None, ...]:
        """The same of the heads in each slice of relative depth; None where there are none, or as in `of`."""
        entry = self.of(role)
        found = [None] * DEPTH_BINS if entry is None else entry.heads
        return tuple(None if count is None or not heads else count / heads for count, heads in zip(found, self.heads))

    def rows(self) -> Iterator[dict[str, object]]:
        """One row a role."""
        known = [getattr(self, name) for name in ATLAS_COLUMNS[:6]]
        for role in measured_roles():
            entry = self.of(role)
            if entry is None:
                continue
            low, high = entry.best.interval or (None, None)
            counted = role.name, entry.threshold, sum(entry.heads), self.share(role)
            best = entry.best.layer, entry.best.head, entry.best.score, low, high
            yield dict(zip(ATLAS_COLUMNS, (*known, *counted, *best, *self.shares_by_depth(role))))


def make_entry(record: HeadCategories) -> AtlasEntry:
    """The rows of a record."""
    family, parameters = family_and_size(record)
    return AtlasEntry(
        model=record.model_name,
        revision=record.revision,
        digest=record_digest(record),
        family=family,
        parameters=parameters,
        num_layers=record.num_layers,
        num_heads=record.num_heads,
        heads=_by_slice(record, dict.fromkeys(record.layers, record.num_heads)),
        roles={role.name: _role_entry(record, role) for role in record.scored_roles},
    )


def update_entries(known: Mapping[str, AtlasEntry], records: Iterable[HeadCategories]) -> tuple[AtlasEntry, ...]:
    """The entries of these records by the models' names: those that are known already as they are, of all others new ones."""
    found = {}
    for record in records:
        there = known.get(record.model_name)
        found[record.model_name] = there if there is not None and _is_of(there, record) else make_entry(record)
    return tuple(found[name] for name in sorted(found))


def record_digest(record: HeadCategories) -> str:
    """What tells a record from any other."""
    return hashlib.sha256(record.to_json().encode()).hexdigest()


def family_and_size(record: HeadCategories) -> tuple[str | None, int | None]:
    """The architecture and the parameters of a record's model, by the registry or else by the record; None where nobody says."""
    info = MODELS.get(record.model_name)
    return (info.model_type, info.parameters) if info else (record.model_type, record.parameters)


def entries_to_lines(entries: Iterable[AtlasEntry]) -> bytes:
    """The file of the atlas; `parse_entries` reads it back."""
    return "".join(f"{entry.model_dump_json()}\n" for entry in entries).encode()


def parse_entries(content: bytes, name: str) -> tuple[AtlasEntry, ...]:
    """The entries in an atlas' file; `name` is what an error calls it.

    Raises:
        InvalidRecordError: says in one sentence what is wrong first, and in which line.
    """
    if len(content) > MAX_ATLAS_BYTES:
        raise InvalidRecordError(f"The atlas {name} has more than {MAX_ATLAS_BYTES} bytes, which are not read.")
    lines = content.splitlines()
    if len(lines) > MAX_ENTRIES:
        raise InvalidRecordError(f"The atlas {name} has {len(lines)} models; it may have {MAX_ENTRIES}.")
    subject = f"The atlas {name} is not valid in line"
    entries = tuple(parse_line(AtlasEntry, line, f"{subject} {number}", "the entry") for number, line in enumerate(lines, 1))
    seen: set[str] = set()
    for number, entry in enumerate(entries, 1):
        if entry.model in seen:
            raise InvalidRecordError(f"{subject} {number}: a model is there twice.")
        seen.add(entry.model)
    return entries


def known_entries(content: bytes) -> dict[str, AtlasEntry]:
    """Those of the lines of an atlas' file that can be read, by model: for who makes the others again."""
    found = {}
    for line in content.splitlines():
        with suppress(InvalidRecordError):
            entry = parse_line(AtlasEntry, line, "", "")
            found[entry.model] = entry
    return found


def _is_of(entry: AtlasEntry, record: HeadCategories) -> bool:
    """Whether an entry is what `entry_of` would make of a record today."""
    thresholds = {name: found.threshold for name, found in entry.roles.items()}
    return (
        thresholds == {role.name: role.threshold for role in record.scored_roles}
        and (entry.revision, entry.family, entry.parameters) == (record.revision, *family_and_size(record))
        and entry.digest == record_digest(record)
    )


def _role_entry(record: HeadCategories, role: MeasuredRole) -> RoleEntry:
    table = record.score_table[role.name]
    reached = {layer: sum(score >= role.threshold for score in table[layer]) for layer in record.layers}
    best = max(record.heads(), key=lambda head: table[head.layer][head.index])
    interval = record.interval(role, best)
    return RoleEntry(
        threshold=role.threshold,
        heads=_by_slice(record, reached),
        best=BestHead(
            layer=best.layer,
            head=best.index,
            score=table[best.layer][best.index],
            interval=None if interval is None else list(interval),
        ),
    )


def _by_slice(record: HeadCategories, of_layer: Mapping[int, int]) -> list[int]:
    """Numbers of the layers that have heads, added up in each slice of relative depth."""
    slices = [0] * DEPTH_BINS
    for layer, number in of_layer.items():
        slices[depth_slice(layer, record.num_layers)] += number
    return slices


def _check_role(entry: AtlasEntry, name: str, found: RoleEntry) -> None:
    best = found.best
    for role in measured_roles():
        low, high = role.measure.range
        if role.name == name and not low <= best.score <= high:
            raise ValueError(f"the best score of {name} leaves the range of {low:g} to {high:g}")
    if any(count > heads for count, heads in zip(found.heads, entry.heads)):
        raise ValueError(f"{name} has more heads than there are")
    if best.layer >= entry.num_layers or best.head >= entry.num_heads:
        raise ValueError(f"the best head of {name} is outside the model")
    if (best.score >= found.threshold) != (sum(found.heads) > 0):
        raise ValueError(f"the best head of {name} does not go with how many reach its threshold")
    if best.interval is not None and not best.interval[0] <= best.score <= best.interval[1]:
        raise ValueError(f"the interval of {name} does not hold its score")
