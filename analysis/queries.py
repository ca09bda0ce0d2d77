"""Models that the Hub finds: `hub:architecture=llama,max_size=500M,sort=downloads,limit=20`."""

import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Annotated, Literal

from huggingface_hub import HfApi, ModelInfo
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from headroles.core.records.record_files import NAME
from headroles.core.registry import ARCHITECTURES
from headroles.errors import HubError, InvalidInputError
from headroles.hub.http import HTTPError, describe_error, is_reachable
from headroles.hub.weights import pick_weights

PREFIX = "hub:"
UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}
LOOKED_AT = 5000  # models that the Hub may name before it is enough, since it cannot be asked for all that is asked here
USED = ("safetensors", "config", "downloads", "gated", "siblings")  # of what the Hub says of each


def _count(text: object) -> object:
    """`500M` as a number; whatever is none is left to be refused."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([KMB]?)", str(text), re.IGNORECASE)
    return int(float(match[1]) * UNITS[match[2].upper()]) if match else text


Count = Annotated[int, BeforeValidator(_count), Field(ge=0)]
Word = Annotated[str, Field(pattern=r"^[\w.-]{1,96}$")]


class Query(BaseModel):
    """What models are looked for; sizes are numbers of parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: Word | None = None
    author: Word | None = None
    search: Word | None = None
    min_size: Count = 0
    max_size: Count | None = None
    min_downloads: Count = 0
    sort: Literal["downloads", "likes", "created_at", "last_modified", "trending_score"] = "downloads"
    limit: Annotated[Count, Field(ge=1, le=1000)] = 20


def read_query(text: str) -> Query:
    """The query that `hub:KEY=VALUE,...` says. Raises InvalidInputError that says what is wrong first."""
    parts = [part.partition("=") for part in text.removeprefix(PREFIX).split(",") if part.strip()]
    said = {key.strip(): value.strip() for key, _, value in parts}
    if len(said) < len(parts):
        raise InvalidInputError("a query of the Hub says each of its keys once")
    try:
        query = Query.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = str(first["loc"][0])[:50]
        if key not in Query.model_fields:
            raise InvalidInputError(f"{key!r} is no key of a query; there are {', '.join(Query.model_fields)}") from None
        raise InvalidInputError(f"{said[key][:50]!r} is no value of {key}: {first['msg'][0].lower()}{first['msg'][1:]}") from None
    if query.architecture not in (None, *ARCHITECTURES):
        raise InvalidInputError(f"{query.architecture!r} is no architecture that headroles reads; docs/models.md names them all")
    return query


def found(query: Query) -> list[str]:
    """The names of the models that the Hub has of that kind, in its order; only such as could be read, and as are open to all.

    Raises:
        HubError: in one sentence, within seconds, where the Hub is away, or gives what is none.
        InvalidInputError: where it has no such model.
    """
    if not is_reachable():
        raise HubError("The Hub cannot be reached, so it was not asked for models; name them in a list instead.")
    try:
        names = list(islice((info.id for info in _listed(query) if _fits(info, query)), query.limit))
    except (HTTPError, OSError) as error:
        raise HubError(
            f"The Hub {describe_error(error)}, so it named no models; try again later, or name them in a list."
        ) from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise HubError("The Hub gives a broken answer, so it named no models.") from error
    if not names:
        raise InvalidInputError(f"Among the first {LOOKED_AT:,} models that the Hub names there is none of that kind.")
    return names


def _listed(query: Query) -> Iterable[ModelInfo]:
    tags = [tag for tag in (query.architecture, "safetensors") if tag]
    return HfApi().list_models(
        filter=tags, author=query.author, search=query.search, gated=False, sort=query.sort, limit=LOOKED_AT, expand=list(USED)
    )


def _fits(info: ModelInfo, query: Query) -> bool:
    """Whether what the Hub says of a model is what was asked; its tags are its owner's, and its search is wide."""
    config = info.config if isinstance(info.config, Mapping) else {}
    size, kind = info.safetensors.total if info.safetensors else 0, config.get("model_type")
    return (
        NAME.fullmatch(info.id) is not None
        and (kind == query.architecture if query.architecture else kind in ARCHITECTURES)
        and query.min_size <= size <= (query.max_size or size)
        and size > 0
        and (info.downloads or 0) >= query.min_downloads
        and not info.gated
        and bool(pick_weights(file.rfilename for file in info.siblings or ()))
    )
