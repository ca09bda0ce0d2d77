"""Rows as a pandas table, for those who have pandas: it comes with the app, the core does without."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from headroles.errors import MissingPackageError

if TYPE_CHECKING:
    from pandas import DataFrame


def to_frame(rows: Iterable[Mapping[str, object]]) -> "DataFrame":
    """The rows, in their order. Raises MissingPackageError without pandas."""
    try:
        from pandas import DataFrame
    except ModuleNotFoundError as error:
        raise MissingPackageError.of("A table", "app", error) from error
    return DataFrame(list(rows))
