"""Whether a record belongs to the model that is read at run time."""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass

from headroles.core.records.head_categories import HeadCategories
from headroles.core.registry import MODELS
from headroles.errors import InvalidRecordError, layers_listed


@dataclass(frozen=True)
class ModelIdentity:
    """What a record must agree with: the model that is read at run time, and the tokens it reads.

    Attributes:
        revision: the commit of its files on the Hub, or for a folder the hash of its weights.
        other_layers: those without an attention pattern.
        has_sink: whether its heads have a learned sink.
    """

    name: str
    revision: str
    num_layers: int
    num_heads: int
    prepend_bos: bool
    tokenizer_sha256: str
    other_layers: tuple[int, ...] = ()
    has_sink: bool = False


def check_shape(
    record: HeadCategories,
    model_name: str,
    num_layers: int,
    num_heads: int,
    other_layers: Iterable[int] = (),
    has_sink: bool = False,
) -> None:
    """Raises InvalidRecordError unless the record is of a model with that many layers and heads a layer, of the same kind."""
    if (record.num_layers, record.num_heads) != (num_layers, num_heads):
        raise InvalidRecordError(
            f"The roles of {record.model_name} are for {record.num_layers} layers x {record.num_heads} heads, "
            f"but {model_name} has {num_layers} x {num_heads}."
        )
    if record.other_layers != tuple(sorted(other_layers)):
        raise InvalidRecordError(
            f"The roles of {record.model_name} are for attention patterns in {layers_listed(record.layers)}, "
            f"but those of {model_name} are in other layers."
        )
    if record.recipe.learned_sink != has_sink:
        made, reads = ("with" if sink else "without" for sink in (record.recipe.learned_sink, has_sink))
        raise InvalidRecordError(
            f"The roles of {record.model_name} are for heads {made} a learned sink, but {model_name} is {reads} one."
        )


def check_belongs(record: HeadCategories, model: ModelIdentity) -> None:
    """Raises InvalidRecordError unless the record was made on this very model: its shape, the tokens it reads, its revision.

    Of another revision nobody can tell from the record whether its weights are the same.
    """
    check_shape(record, model.name, model.num_layers, model.num_heads, model.other_layers, model.has_sink)
    if record.recipe.prepend_bos != model.prepend_bos:
        made, reads = ("with" if bos else "without" for bos in (record.recipe.prepend_bos, model.prepend_bos))
        raise InvalidRecordError(
            f"The roles of {model.name} were measured {made} a BOS token, but its tokenizer works {reads} one."
        )
    if record.recipe.tokenizer_sha256 != model.tokenizer_sha256:
        raise InvalidRecordError(f"The roles of {model.name} were measured with another tokenizer; analyse it again.")
    if record.revision != model.revision:
        raise InvalidRecordError(
            f"The roles of {model.name} were measured on its revision {record.revision[:24]}, "
            f"but revision {model.revision[:24]} is read here; analyse it again."
        )


def check_arrived(record: HeadCategories, latest: datetime.date) -> None:
    """What can be said of a record before its model is loaded.

    Raises InvalidRecordError when the registry says that the model has another shape, or it was made more than a day after
    `latest`, which is what is known of the time: a day, since elsewhere on earth it is tomorrow already.
    """
    info = MODELS.get(record.model_name)
    if info is not None:
        check_shape(record, info.name, info.num_layers, info.num_heads)
    if datetime.date.fromisoformat(record.analysis_date) - latest > datetime.timedelta(days=1):
        raise InvalidRecordError(f"The roles of {record.model_name} are dated {record.analysis_date}, which is still to come.")


def make_identity(record: HeadCategories) -> ModelIdentity:
    """The model that a record was made on."""
    recipe = record.recipe
    size = (record.num_layers, record.num_heads)
    tokens = (recipe.prepend_bos, recipe.tokenizer_sha256)
    return ModelIdentity(record.model_name, record.revision, *size, *tokens, record.other_layers, recipe.learned_sink)
