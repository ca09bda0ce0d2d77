"""HeadCategories: one model's JSON record of which heads play which role, checked before it is believed."""

import datetime
import json
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from headroles.core.display import NotebookRepr, to_dataframe
from headroles.core.heads import Head, as_head
from headroles.core.records.calibration import AlwaysOn, Triggered, parse_calibration
from headroles.core.records.role_effects import RoleEffect
from headroles.core.roles.measures import Calibration
from headroles.core.roles.roles import OTHER, MeasuredRole, Role, get_role, measured_roles
from headroles.errors import InvalidInputError

if TYPE_CHECKING:
    from pandas import DataFrame

SCHEMA_VERSION = 2
MAX_TOP_HEADS = 8
EARLIEST = datetime.date(2020, 1, 1)  # no model here is analysed by what is older
MAX_ROLES = 64  # in one record, those included that this version does not know

Text = Annotated[str, Field(max_length=500)]
Score = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]  # of a known role, its measure says the range
Count = Annotated[int, Field(ge=1, le=512)]
Family = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]  # as transformers names architectures
Parameters = Annotated[int, Field(ge=1, le=10**14)]


def _check_date(text: str) -> str:
    if datetime.date.fromisoformat(text) < EARLIEST:  # raises ValueError for a day that no calendar has
        raise ValueError(f"no record was made before {EARLIEST}")
    return text


# whether it lies in the future, only who receives a record can say: a clock that jumped back must not spoil what is there
Date = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$"), AfterValidator(_check_date)]


class _Checked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class WeightsFile(_Checked):
    """The file of weights that were stored in fewer bits, and made numbers again before anything was scored."""

    name: Text
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    quantization: Text
    dequantized: Literal[True] = True


class Recipe(_Checked):
    """How the scores were made: library versions, probe sizes, and the tokenizer that the run-time model must share.

    `weights` is there for a model whose weights were stored in fewer bits.
    """

    transformer_lens: Text | None
    transformers: Text
    torch: Text
    dtype: Text
    seed: int
    prepend_bos: bool
    tokenizer_sha256: Text
    repeated_sequences: Annotated[int, Field(ge=1)]
    repeat_length: Annotated[int, Field(ge=2)]
    sentences: Annotated[int, Field(ge=1)]
    weights: WeightsFile | None = None
    calibration_texts: Annotated[int, Field(ge=1)] | None = None  # pairs of each length and kind; None where there is none
    output_texts: Annotated[int, Field(ge=1)] | None = None  # of each role that is scored by what heads write, at most
    effect_texts: Annotated[int, Field(ge=1)] | None = None  # on which heads were taken out; None where none were
    learned_sink: bool = False  # whether the heads have one; First Token counts it then, and Diffuse spreads over it too


Interval = Annotated[list[Score], Field(min_length=2, max_length=2)]


class TopHead(_Checked):
    """A head that stands for a role, with its offline score.

    `interval` is where the score lies with 95 % confidence, low and high, over texts such as the probes (`core.bootstrap`); None
    for a role that is read from the weights, and in records of before it was measured. `second_interval` is that of the role's
    second number, where it has one.
    """

    layer: Annotated[int, Field(ge=0)]
    head: Annotated[int, Field(ge=0)]
    score: Score
    interval: Interval | None = None
    second_interval: Interval | None = None


class Category(_Checked):
    """One role of one model. Its words are copied from `roles.py` for readers of the JSON; the page never shows them."""

    display_name: Text
    description: Text
    icon: Text
    requires_repetition: bool
    top_heads: Annotated[list[TopHead], Field(max_length=MAX_TOP_HEADS)]


class HeadCategories(_Checked, NotebookRepr):
    """One model's record, as published; every field is bounded, every score finite and within its measure's range.

    It may hold fewer roles than this version knows: those are not scored in it. Roles that it alone knows are kept, so that they
    are there when it is written again, and otherwise ignored. `model_type` and `parameters` are told of a model that the registry
    does not name.
    """

    schema_version: Literal[1, 2] = 1  # a record that does not say it is of the first
    model_name: Text
    revision: Text
    num_layers: Count
    num_heads: Count
    model_type: Family | None = None
    parameters: Parameters | None = None
    analysis_date: Date
    recipe: Recipe
    categories: Annotated[dict[Text, Category], Field(max_length=MAX_ROLES)]
    all_scores: Annotated[dict[Text, list[list[Score]]], Field(max_length=MAX_ROLES)]
    second_scores: Annotated[dict[Text, list[list[Score]]], Field(max_length=MAX_ROLES)] | None = None
    calibration: Annotated[dict[Text, dict[Text, JsonValue]], Field(max_length=MAX_ROLES)] | None = None
    effects: Annotated[dict[Text, RoleEffect], Field(max_length=MAX_ROLES)] | None = None

    @model_validator(mode="after")
    def _belongs_together(self) -> "HeadCategories":
        tables = [*self.all_scores.items(), *(self.second_scores or {}).items()]
        for name, scores in tables:
            if len(scores) != self.num_layers or any(len(row) not in (0, self.num_heads) for row in scores):
                raise ValueError(f"all_scores of {name} are not {self.num_layers} layers x {self.num_heads} heads")
            if [layer for layer, row in enumerate(scores) if not row] != list(self.other_layers):
                raise ValueError(f"all_scores of {name} leave out other layers than those of other roles")
            if name not in self.categories:
                raise ValueError(f"{name} has scores and no category")
        if len(self.other_layers) == self.num_layers:
            raise ValueError("no layer has scores")
        for role in self.scored_roles:
            _check_range(f"all_scores of {role.name}", self.all_scores[role.name], role.measure.range)
            if second := role.measure.second:
                _check_range(f"second_scores of {role.name}", (self.second_scores or {}).get(role.name, []), second.range)
        for name, category in self.categories.items():
            for top in category.top_heads:
                self._check_top_head(name, top)
            _check_order(name, category.top_heads)
        json.dumps(self.calibration, allow_nan=False)  # raises ValueError for a number that JSON cannot hold
        for name, found in self.calibrations.items():
            if found.shape != (len(self.layers), self.num_heads):
                raise ValueError(f"the calibration of {name} is not of {len(self.layers)} layers x {self.num_heads} heads")
        return self

    def _check_top_head(self, name: str, top: TopHead) -> None:
        if top.layer >= self.num_layers or top.head >= self.num_heads:
            raise ValueError(f"top head L{top.layer}H{top.head} of {name} is outside the model")
        if top.layer in self.other_layers:
            raise ValueError(f"top head L{top.layer}H{top.head} of {name} lies in a layer without scores")
        if name not in self.all_scores:
            raise ValueError(f"{name} has no scores and so no top heads")
        if not math.isclose(top.score, self.all_scores[name][top.layer][top.head], abs_tol=1e-4):
            raise ValueError(f"top head L{top.layer}H{top.head} of {name} has another score in all_scores")
        measure = next((role.measure for role in self.scored_roles if role.name == name), None)
        label = f"interval of L{top.layer}H{top.head} in {name}"
        if top.interval is not None:
            _check_interval(label, top.score, top.interval, None if measure is None else measure.range)
        if top.second_interval is not None:
            table = (self.second_scores or {}).get(name)
            if table is None:
                raise ValueError(f"the second {label} has no second score")
            second = None if measure is None else measure.second
            _check_interval(f"second {label}", table[top.layer][top.head], top.second_interval, second and second.range)

    @cached_property
    def other_layers(self) -> tuple[int, ...]:
        """The layers without an attention pattern, and so without heads: an empty row in every table."""
        return tuple(layer for layer, row in enumerate(next(iter(self.all_scores.values()), [])) if not row)

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """The layers that have heads."""
        return tuple(layer for layer in range(self.num_layers) if layer not in self.other_layers)

    @cached_property
    def scored_roles(self) -> tuple[MeasuredRole, ...]:
        """The roles of this version that the record scores, in the order of ROLES."""
        return tuple(role for role in measured_roles() if role.name in self.all_scores)

    @cached_property
    def score_table(self) -> Mapping[str, tuple[tuple[float, ...], ...]]:
        """[layer][head] of every scored role, by name."""
        return {role.name: tuple(map(tuple, self.all_scores[role.name])) for role in self.scored_roles}

    @cached_property
    def second_table(self) -> Mapping[str, tuple[tuple[float, ...], ...]]:
        """[layer][head] of the second number of every scored role that has one, by name."""
        found = self.second_scores or {}
        roles = [role for role in self.scored_roles if role.measure.second and role.name in found]
        return {role.name: tuple(map(tuple, found[role.name])) for role in roles}

    @cached_property
    def intervals(self) -> Mapping[str, Mapping[Head, tuple[float, float]]]:
        """Where the score of each top head lies, by role name; a head or a role without an interval is not there."""
        return {
            role.name: {
                Head(top.layer, top.head): (top.interval[0], top.interval[1])
                for top in self.categories[role.name].top_heads
                if top.interval is not None
            }
            for role in self.scored_roles
        }

    @cached_property
    def calibrations(self) -> Mapping[str, Triggered | AlwaysOn]:
        """What the record knows of the scored roles on null and ordinary texts, by role name; none of one without."""
        entries = ((role.name, self.get_calibration(role)) for role in self.scored_roles)
        return {name: found for name, entry in entries if (found := parse_calibration(entry)) is not None}

    @cached_property
    def primary_roles(self) -> tuple[tuple[Role, ...], ...]:
        """What each head mainly does, [layer][head]; see `primary_role`."""
        return tuple(
            tuple(self._primary_role(layer, index) for index in range(self.num_heads)) if layer in self.layers else ()
            for layer in range(self.num_layers)
        )

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> "HeadCategories":
        """As pydantic's, without what was worked out of the fields that change."""
        copied = super().model_copy(update=update, deep=deep)
        for name, member in vars(HeadCategories).items():
            if isinstance(member, cached_property):
                vars(copied).pop(name, None)
        return copied

    @property
    def reader(self) -> Literal["TransformerLens", "PyVene"]:
        """Who read the patterns that are scored."""
        return "TransformerLens" if self.recipe.transformer_lens else "PyVene"

    def heads(self) -> tuple[Head, ...]:
        """All heads of the model, layer by layer."""
        return tuple(Head(layer, index) for layer in self.layers for index in range(self.num_heads))

    def score(self, role: Role | str, head: Head | str | tuple[int, int]) -> float:
        """The offline score of a head in a role. Raises InvalidInputError for one that is not scored here, or a head outside."""
        found, head = get_role(role), self._inside(head)
        if found not in self.scored_roles:
            scored = ", ".join(role.name for role in self.scored_roles)
            raise InvalidInputError(f"The record of {self.model_name} does not score {found.name}; it scores {scored}.")
        return self.all_scores[found.name][head.layer][head.index]

    def interval(self, role: Role | str, head: Head | str | tuple[int, int]) -> tuple[float, float] | None:
        """Where a top head's score lies with 95 % confidence over texts such as the probes, low and high; None where untold.

        Raises InvalidInputError for a head outside the model.
        """
        return self.intervals.get(get_role(role).name, {}).get(self._inside(head))

    def second_score(self, role: Role | str, head: Head | str | tuple[int, int]) -> float | None:
        """A head's second number in a role that has one; None where the record does not tell. Raises as `interval`."""
        table, head = self.second_table.get(get_role(role).name), self._inside(head)
        return None if table is None else table[head.layer][head.index]

    def second_interval(self, role: Role | str, head: Head | str | tuple[int, int]) -> tuple[float, float] | None:
        """Where that lies, as `interval` of the score. Raises as `interval`."""
        found, head = get_role(role), self._inside(head)
        tops = self.categories[found.name].top_heads if found.name in self.second_table else []
        interval = next((top.second_interval for top in tops if (top.layer, top.head) == (head.layer, head.index)), None)
        return None if interval is None else (interval[0], interval[1])

    def top_heads(self, role: Role | str) -> tuple[Head, ...]:
        """The heads that stand for a role, best first; none where it is not scored."""
        category = self.categories.get(get_role(role).name)
        return tuple(Head(top.layer, top.head) for top in category.top_heads) if category else ()

    def get_calibration(self, role: Role) -> Calibration | None:
        """What the record says of a role beyond its scores; None where it says nothing."""
        return (self.calibration or {}).get(role.name)

    def get_effect(self, role: Role) -> RoleEffect | None:
        """What the model loses without a role's heads on the probe texts; None where nobody looked."""
        return (self.effects or {}).get(role.name)

    def suggested_prompt(self, role: Role) -> str:
        """A text on which a role shows on this model; empty where the analysis found none.

        Where the analysis did not look, it is the role's own.
        """
        calibration = self.calibrations.get(role.name)
        found = calibration.suggested_prompt if isinstance(calibration, Triggered) else None
        return role.suggested_prompt if found is None else found

    def primary_role(self, head: Head | str | tuple[int, int]) -> Role:
        """What a head mainly does: its strongest content role above threshold, else first token or diffuse, else other.

        Of content roles, those that patterns show go first.

        A strong first-token score is often only where a head rests, so it never hides a content role.
        """
        head = self._inside(head)
        return self.primary_roles[head.layer][head.index]

    def heads_without_role(self) -> tuple[Head, ...]:
        """The heads of `other`: below threshold in every role."""
        return tuple(head for head in self.heads() if self.primary_role(head) == OTHER)

    def rows(self) -> Iterator[dict[str, object]]:
        """One row a head and scored role; no interval where the head does not stand for the role."""
        top_heads = {role.name: set(self.top_heads(role)) for role in self.scored_roles}
        for head in self.heads():
            for role in self.scored_roles:
                low, high = self.interval(role, head) or (None, None)
                yield {
                    "model": self.model_name,
                    "layer": head.layer,
                    "head": head.index,
                    "role": role.name,
                    "score": self.score(role, head),
                    "interval_low": low,
                    "interval_high": high,
                    "second_score": self.second_score(role, head),
                    "is_top_head": head in top_heads[role.name],
                    "revision": self.revision,
                }

    def to_frame(self) -> "DataFrame":
        """`rows` as a pandas table. Raises MissingPackageError without pandas."""
        return to_dataframe(self.rows())

    def to_json(self) -> str:
        """The text that is published; `parse_record` reads it back. Optional parts that are not there are left out."""
        return self.model_dump_json(indent=1, exclude_unset=True) + "\n"

    def __str__(self) -> str:
        """The model, the sizes and the date, without the scores."""
        size = f"{self.num_layers} x {self.num_heads} heads"
        return f"HeadCategories({self.model_name!r}, {size}, {len(self.scored_roles)} roles, {self.analysis_date})"

    __repr__ = __str__

    def _primary_role(self, layer: int, index: int) -> Role:
        scores = {role: self.all_scores[role.name][layer][index] for role in self.scored_roles}
        reached = [role for role in self.scored_roles if scores[role] >= role.threshold]
        # what a head looks at goes before what it writes: the one is a share, the other in logits
        return max(reached, key=lambda role: (role.is_content, role.measure.takes_precedence, scores[role]), default=OTHER)

    def _inside(self, head: Head | str | tuple[int, int]) -> Head:
        found = as_head(head)
        found.check_inside(self.num_layers, self.num_heads, self.layers)
        return found


def _check_range(label: str, table: list[list[float]], bounds: tuple[float, float]) -> None:
    low, high = bounds
    if any(not low <= score <= high for row in table for score in row):
        raise ValueError(f"{label} leave the range of {low:g} to {high:g}")


def _check_interval(label: str, score: float, interval: list[float], bounds: tuple[float, float] | None) -> None:
    low, high = interval
    if not low <= score <= high:
        raise ValueError(f"the {label} does not hold its score")
    if bounds is not None and not bounds[0] <= low <= high <= bounds[1]:
        raise ValueError(f"the {label} leaves the range of its measure")


def _check_order(name: str, top_heads: list[TopHead]) -> None:
    """No head stands for a role twice, and the best come first."""
    seen: set[tuple[int, int]] = set()
    for top in top_heads:
        if (top.layer, top.head) in seen:
            raise ValueError(f"top head L{top.layer}H{top.head} of {name} is there twice")
        seen.add((top.layer, top.head))
    if any(first.score < second.score for first, second in pairwise(top_heads)):
        raise ValueError(f"the top heads of {name} are not sorted, best first")
