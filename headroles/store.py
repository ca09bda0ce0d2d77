"""Head categories in and out. So far they ship with the package, beside the embedded model."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from headroles.categories import HeadCategories, read_record, record_file_name
from headroles.errors import InvalidRecordError, NoHeadCategoriesError
from headroles.models import EMBEDDED_MODEL, LoadedModel
from headroles.readings import Source

EMBEDDED: Mapping[str, Path] = MappingProxyType(
    {EMBEDDED_MODEL: Path(__file__).parent / "tiny" / record_file_name(EMBEDDED_MODEL)}
)


def load_head_categories(model_name: str) -> HeadCategories:
    """The record of which heads of a model play which role.

    Raises:
        NoHeadCategoriesError: when there is none for this model; says which models have one and how to make one.
        InvalidRecordError: when the record is there but breaks the schema.
    """
    if not isinstance(model_name, str) or model_name not in EMBEDDED:
        raise NoHeadCategoriesError(
            f"There are no roles for {str(model_name)[:100]!r}; there are some for {', '.join(EMBEDDED)}. "
            "`python -m analysis NAME --out DIR` makes them."
        )
    return _read(EMBEDDED[model_name])


def source_of(categories: HeadCategories) -> Source:
    """Where the record came from, for the page and the API."""
    return Source("embedded", categories.analysis_date, categories.revision)


def check_belongs(categories: HeadCategories, loaded: LoadedModel) -> None:
    """Raises InvalidRecordError unless the record was made on the very tokens that the loaded model reads."""
    if categories.recipe.prepend_bos != loaded.prepend_bos:
        made, reads = ("with" if bos else "without" for bos in (categories.recipe.prepend_bos, loaded.prepend_bos))
        raise InvalidRecordError(
            f"The roles of {loaded.name} were measured {made} a BOS token, but its tokenizer works {reads} one."
        )
    if categories.recipe.tokenizer_sha256 != loaded.tokenizer_sha256:
        raise InvalidRecordError(f"The roles of {loaded.name} were measured with another tokenizer; analyse it again.")


@lru_cache
def _read(path: Path) -> HeadCategories:
    return read_record(path)
