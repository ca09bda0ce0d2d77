"""Queries of the Hub for models: `hub:architecture=llama,max_size=500M,sort=downloads,limit=20`."""

import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Annotated, Literal

from huggingface_hub import HfApi, ModelInfo
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from headroles.core.records.record_files import NAME
from headroles.core.registry import ARCHITECTURES
from headroles.errors import HubError, InvalidInputError
from headroles.hub.http import is_reachable
from headroles.hub.weights import pick_weights

from .hub_errors import asking_hub

PREFIX = "hub:"
UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}
LOOKED_AT = 5000  # models that the Hub may name before it is enough, since it cannot be asked for all that is asked here
USED = ("safetensors", "config", "downloads", "gated", "siblings")  # of what the Hub says of each


def _count(text: object) -> object:
    """`500M` as a number; anything else stays as it is, to be refused."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([KMB]?)", str(text), re.IGNORECASE)
    return int(float(match[1]) * UNITS[match[2].upper()]) if match else text


Count = Annotated[int, BeforeValidator(_count), Field(ge=0)]
Word = Annotated[str, Field(pattern=r"^[\w.-]{1,96}$")]


class HubQuery(BaseModel):
    """Which models to look for; sizes are numbers of parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: Word | None = None
    author: Word | None = None
    search: Word | None = None
    min_size: Count = 0
    max_size: Count | None = None
    min_downloads: Count = 0
    sort: Literal["downloads", "likes", "created_at", "last_modified", "trending_score"] = "downloads"
    limit: Annotated[Count, Field(ge=1, le=1000)] = 20


def read_query(text: str) -> HubQuery:
    """Reads a query like `hub:KEY=VALUE,...`.

    Raises:
        InvalidInputError: says the first thing that is wrong.
    """
    parts = [part.partition("=") for part in text.removeprefix(PREFIX).split(",") if part.strip()]
    said = {key.strip(): value.strip() for key, _, value in parts}
    if len(said) < len(parts):
        raise InvalidInputError("a query of the Hub names each key once")
    try:
        query = HubQuery.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = str(first["loc"][0])[:50]
        if key not in HubQuery.model_fields:
            raise InvalidInputError(f"{key!r} is not a key of a query; the keys are {', '.join(HubQuery.model_fields)}") from None
        raise InvalidInputError(
            f"{said[key][:50]!r} is not a value of {key}: {first['msg'][0].lower()}{first['msg'][1:]}"
        ) from None
    if query.architecture not in (None, *ARCHITECTURES):
        raise InvalidInputError(
            f"{query.architecture!r} is not an architecture that headroles reads; docs/models.md names them all"
        )
    return query


def search_hub(query: HubQuery) -> list[str]:
    """Lists the names of models that match, in the Hub's order: only those that could be read here and are open to all.

    Raises:
        HubError: where the Hub does not answer within seconds.
        InvalidInputError: where it has no such model.
    """
    if not is_reachable():
        raise HubError("The Hub cannot be reached, so it was not asked for models; name them in a list instead.")
    with asking_hub("it named no models; try again later, or name them in a list"):
        names = list(islice((info.id for info in _list_models(query) if _matches(info, query)), query.limit))
    if not names:
        raise InvalidInputError(f"None of the first {LOOKED_AT:,} models that the Hub lists matches.")
    return names


def _list_models(query: HubQuery) -> Iterable[ModelInfo]:
    tags = [tag for tag in (query.architecture, "safetensors") if tag]
    return HfApi().list_models(
        filter=tags, author=query.author, search=query.search, gated=False, sort=query.sort, limit=LOOKED_AT, expand=list(USED)
    )


def _matches(info: ModelInfo, query: HubQuery) -> bool:
    """Whether what the Hub says of a model matches; its tags are set by its owner, and its search is loose."""
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
