"""Whether a record belongs to the model that is read at run time."""

from dataclasses import dataclass

from headroles.core.records import HeadCategories
from headroles.errors import InvalidRecordError


@dataclass(frozen=True)
class ModelIdentity:
    """What a record must agree with: the model that is read at run time, and the tokens it reads."""

    name: str
    revision: str
    num_layers: int
    num_heads: int
    prepend_bos: bool
    tokenizer_sha256: str


def check_shape(record: HeadCategories, model_name: str, num_layers: int, num_heads: int) -> None:
    """Raises InvalidRecordError unless the record is of a model with that many layers and heads a layer."""
    if (record.num_layers, record.num_heads) != (num_layers, num_heads):
        raise InvalidRecordError(
            f"The roles of {record.model_name} are for {record.num_layers} layers x {record.num_heads} heads, "
            f"but {model_name} has {num_layers} x {num_heads}."
        )


def check_belongs(record: HeadCategories, model: ModelIdentity) -> None:
    """Raises InvalidRecordError unless the record has the model's shape and was made on the very tokens that it reads."""
    check_shape(record, model.name, model.num_layers, model.num_heads)
    if record.recipe.prepend_bos != model.prepend_bos:
        made, reads = ("with" if bos else "without" for bos in (record.recipe.prepend_bos, model.prepend_bos))
        raise InvalidRecordError(
            f"The roles of {model.name} were measured {made} a BOS token, but its tokenizer works {reads} one."
        )
    if record.recipe.tokenizer_sha256 != model.tokenizer_sha256:
        raise InvalidRecordError(f"The roles of {model.name} were measured with another tokenizer; analyse it again.")
