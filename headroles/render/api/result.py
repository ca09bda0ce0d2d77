"""What every answer to a program has in common: a pydantic model that takes its fields from the attributes of a core value."""

import base64
from types import UnionType
from typing import Annotated, Any, TypedDict, TypeVar, Union, get_args, get_origin

from pydantic import AliasPath, BaseModel, BeforeValidator, ConfigDict, Field

API_VERSION = "2"  # changes when a field goes or changes its meaning, not when one is added
R = TypeVar("R", bound="Result")
F = TypeVar("F", bound="FigureResult")

LayerOfHead = Annotated[int, Field(validation_alias=AliasPath("head", "layer"))]
IndexOfHead = Annotated[int, Field(validation_alias=AliasPath("head", "index"))]
RoleKey = Annotated[str, Field(validation_alias=AliasPath("role", "name"))]
RoleName = Annotated[str, Field(validation_alias=AliasPath("role", "display_name"))]
HeadLabels = Annotated[list[str], BeforeValidator(lambda heads: [getattr(head, "label", head) for head in heads])]
Table = list[list[float]]


class Result(BaseModel):
    """A part of an answer. `model_dump()` gives the plain numbers, strings, lists and dicts that a program gets."""

    model_config = ConfigDict(from_attributes=True)

    @classmethod
    def of(cls: type[R], core_value: object, /, **values: object) -> R:
        """Builds a result from the attributes of a value.

        Args:
            core_value: Its attributes fill the fields.
            **values: Fields, by the name of the attribute that they stand for, that `core_value` does not have.
        """
        return cls.model_validate(_Overlay(core_value, values))


class Answer(Result):
    """A whole answer: it says which version of the API it is of."""

    api_version: str = API_VERSION


class FigureResult(Answer):
    """A sheet for print; `data` is text where `encoding` is "utf-8", else the bytes in base64."""

    media_type: str
    encoding: str
    data: str

    @classmethod
    def encode(cls: type[F], media_type: str, content: bytes, **fields: str) -> F:
        """Builds the answer that holds a file.

        Args:
            media_type: Of the file, such as `image/png`.
            content: The file.
            **fields: The other fields of the answer.
        """
        is_text = media_type == "image/svg+xml"
        data = (content if is_text else base64.b64encode(content)).decode("utf-8")
        return cls(media_type=media_type, encoding="utf-8" if is_text else "base64", data=data, **fields)


class HeatmapResult(FigureResult):
    """A picture of one head's pattern, with a description in words."""

    description: str


def typed_dict_of(hint: Any) -> Any:
    """Returns a type hint with each Result in it as a TypedDict, which gradio and chat clients can read as a schema."""
    if isinstance(hint, type) and issubclass(hint, Result):
        fields = {name: typed_dict_of(field.annotation) for name, field in hint.model_fields.items()}
        made = TypedDict(hint.__name__, fields)  # pyright: ignore[reportArgumentType]
        made.__doc__ = hint.__doc__
        return made
    if (origin := get_origin(hint)) is None:
        return hint
    parts = tuple(typed_dict_of(part) for part in get_args(hint))
    return Union[parts] if origin is UnionType else origin[parts]  # noqa: UP007


class _Overlay:
    """The attributes of a value, some of them replaced or added."""

    def __init__(self, source: object, values: dict[str, object]) -> None:
        self._source, self._values = source, values

    def __getattr__(self, name: str) -> object:
        return self._values[name] if name in self._values else getattr(self._source, name)
