"""HeadCategories: one model's JSON record of which heads play which role, checked before it is believed."""

import math
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json
from torch import Tensor

from headroles.core.heads import Head
from headroles.core.roles import MEASURED_ROLES, ROLES, Role
from headroles.errors import InvalidRecordError

MAX_TOP_HEADS = 8
MAX_RECORD_BYTES = 16 * 1024 * 1024  # 128 layers of 128 heads in five roles take under 2 MB

Text = Annotated[str, Field(max_length=500)]
Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=512)]


class _Checked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Recipe(_Checked):
    """How the scores were made: library versions, probe sizes, and the tokenizer that the run-time model must share."""

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


class TopHead(_Checked):
    """A head that stands for a role, with its offline score."""

    layer: Annotated[int, Field(ge=0)]
    head: Annotated[int, Field(ge=0)]
    score: Score


class Category(_Checked):
    """One role of one model. Its words are copied from `roles.py` for readers of the JSON; the page never shows them."""

    display_name: Text
    description: Text
    icon: Text
    requires_repetition: bool
    top_heads: Annotated[list[TopHead], Field(max_length=MAX_TOP_HEADS)]


class HeadCategories(_Checked):
    """One model's record, as published; every field is bounded and every score finite and within 0..1."""

    schema_version: Literal[1] = 1
    model_name: Text
    revision: Text
    num_layers: Count
    num_heads: Count
    analysis_date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    recipe: Recipe
    categories: dict[Text, Category]
    all_scores: dict[Text, list[list[Score]]]

    @model_validator(mode="after")
    def _belongs_together(self) -> "HeadCategories":
        if set(self.categories) != set(ROLES):
            raise ValueError(f"categories must be exactly {', '.join(ROLES)}")
        if set(self.all_scores) != {role.name for role in MEASURED_ROLES}:
            raise ValueError(f"all_scores must be exactly {', '.join(role.name for role in MEASURED_ROLES)}")
        for name, scores in self.all_scores.items():
            if len(scores) != self.num_layers or any(len(row) != self.num_heads for row in scores):
                raise ValueError(f"all_scores of {name} are not {self.num_layers} layers x {self.num_heads} heads")
        for name, category in self.categories.items():
            for top in category.top_heads:
                if top.layer >= self.num_layers or top.head >= self.num_heads:
                    raise ValueError(f"top head L{top.layer}H{top.head} of {name} is outside the model")
                if name not in self.all_scores:
                    raise ValueError(f"{name} has no scores and so no top heads")
                if not math.isclose(top.score, self.all_scores[name][top.layer][top.head], abs_tol=1e-4):
                    raise ValueError(f"top head L{top.layer}H{top.head} of {name} has another score in all_scores")
        return self

    def heads(self) -> tuple[Head, ...]:
        """All heads of the model, layer by layer."""
        return tuple(Head(layer, index) for layer in range(self.num_layers) for index in range(self.num_heads))

    def score(self, role: Role, head: Head) -> float:
        """The offline score of a head in a measured role."""
        return self.all_scores[role.name][head.layer][head.index]

    def top_heads(self, role: Role) -> tuple[Head, ...]:
        """The heads that stand for a role, best first."""
        return tuple(Head(top.layer, top.head) for top in self.categories[role.name].top_heads)

    def primary_role(self, head: Head) -> Role:
        """What a head mainly does: its strongest content role above threshold, else first token or diffuse, else other.

        A strong first-token score is often only where a head rests, so it never hides a content role.
        """
        reached = [role for role in MEASURED_ROLES if self.score(role, head) >= role.threshold]
        return max(reached, key=lambda role: (role.is_content, self.score(role, head)), default=ROLES["other"])

    def heads_without_role(self) -> tuple[Head, ...]:
        """The heads of `other`: below threshold in every role."""
        return tuple(head for head in self.heads() if self.primary_role(head).name == "other")

    def to_json(self) -> str:
        """The text that is published; `parse_record` reads it back."""
        return self.model_dump_json(indent=1) + "\n"


@dataclass(frozen=True)
class ModelIdentity:
    """What a record must agree with: the model that is read at run time, and the tokens it reads."""

    name: str
    revision: str
    prepend_bos: bool
    tokenizer_sha256: str


def check_belongs(record: HeadCategories, model: ModelIdentity) -> None:
    """Raises InvalidRecordError unless the record was made on the very tokens that the model reads."""
    if record.recipe.prepend_bos != model.prepend_bos:
        made, reads = ("with" if bos else "without" for bos in (record.recipe.prepend_bos, model.prepend_bos))
        raise InvalidRecordError(
            f"The roles of {model.name} were measured {made} a BOS token, but its tokenizer works {reads} one."
        )
    if record.recipe.tokenizer_sha256 != model.tokenizer_sha256:
        raise InvalidRecordError(f"The roles of {model.name} were measured with another tokenizer; analyse it again.")


def build_record(
    scores: Mapping[str, Float[Tensor, "layer head"]], *, model_name: str, revision: str, date: str, recipe: Recipe
) -> HeadCategories:
    """The record of a model from the scores of every measured role."""
    num_layers, num_heads = next(iter(scores.values())).shape
    rounded = {name: [[round(float(s), 6) for s in row] for row in table] for name, table in scores.items()}
    categories = {
        role.name: Category(
            display_name=role.display_name,
            description=role.description,
            icon=role.icon,
            requires_repetition=role.requires_repetition,
            top_heads=select_top_heads(rounded[role.name], role) if role.name in rounded else [],
        )
        for role in ROLES.values()
    }
    return HeadCategories(
        model_name=model_name,
        revision=revision,
        num_layers=num_layers,
        num_heads=num_heads,
        analysis_date=date,
        recipe=recipe,
        categories=categories,
        all_scores=rounded,
    )


def select_top_heads(scores: list[list[float]], role: Role) -> list[TopHead]:
    """The heads that stand for a role: those at or above its threshold, best first, at most 8.

    When more than half of them come from one layer, the best head of every other layer that reaches the diversity threshold
    joins them; past 8 it takes the place of the crowded layer's weakest head, but never of its best.
    """
    ranked = sorted(
        (TopHead(layer=layer, head=head, score=s) for layer, row in enumerate(scores) for head, s in enumerate(row)),
        key=lambda top: (-top.score, top.layer, top.head),
    )
    chosen = [top for top in ranked if top.score >= role.threshold][:MAX_TOP_HEADS]
    layers = [top.layer for top in chosen]
    crowded = next((layer for layer in set(layers) if layers.count(layer) * 2 > len(layers)), None)
    if crowded is None:
        return chosen
    best_of_layer = {top.layer: top for top in reversed(ranked)}
    for candidate in sorted(best_of_layer.values(), key=ranked.index):
        if candidate.layer == crowded or candidate.score < role.diversity_threshold or candidate in chosen:
            continue
        if len(chosen) == MAX_TOP_HEADS:
            crowd = [top for top in chosen if top.layer == crowded]
            if len(crowd) == 1:
                break
            chosen.remove(crowd[-1])
        chosen.append(candidate)
    return sorted(chosen, key=ranked.index)


def write_record(record: HeadCategories, path: Path) -> Path:
    """Writes the record as one file, whole or not at all, and makes its folder; `read_record` reads it back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # a name of its own: two processes that write the same record must not write into each other's half
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.write_text(record.to_json(), "utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def record_file_name(model_name: str) -> str:
    """`<org>__<name>.json`: one file a model, so that two pushes of two models never meet."""
    return model_name.replace("/", "__") + ".json"


def parse_record(text: str | bytes, name: str, model_name: str = "") -> HeadCategories:
    """A record from JSON text; `name` is what an error calls it.

    Args:
        model_name: whose record to take where the text holds several, as `{model_name: record, ...}`.

    Raises:
        InvalidRecordError: says in one sentence what is wrong first.
    """
    if len(text) > MAX_RECORD_BYTES:
        raise InvalidRecordError(f"The record {name} has {len(text)} bytes; at most {MAX_RECORD_BYTES} are read.")
    try:
        content = from_json(text)
    except ValueError as error:
        raise InvalidRecordError(f"The record {name} is no JSON: {str(error)[:200]}.") from error
    if isinstance(content, dict) and "schema_version" not in content:
        content = content.get(model_name, content)
    try:
        return HeadCategories.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])[:100] or "the record"
        raise InvalidRecordError(f"The record {name} is not valid at {place}: {first['msg'][:200]}.") from error


def read_record(path: Path, model_name: str = "", name: str = "") -> HeadCategories:
    """The record in a file; a larger one than MAX_RECORD_BYTES is refused without reading it whole. See `parse_record`."""
    with path.open("rb") as file:
        return parse_record(file.read(MAX_RECORD_BYTES + 1), name or path.name, model_name)
