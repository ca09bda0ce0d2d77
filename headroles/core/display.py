"""How results show themselves: as HTML in a notebook, which another package draws and registers here, and as a pandas table."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from headroles.errors import MissingPackageError

if TYPE_CHECKING:
    from pandas import DataFrame

Renderer = Callable[[object], str | None]
_renderers: list[Renderer] = []


def register_renderer(renderer: Renderer) -> None:
    """Has notebooks show results as the HTML that `renderer` returns; the latest one registered draws."""
    _renderers.append(renderer)


class NotebookRepr:
    """A result that IPython shows as HTML once a renderer is registered, and as its repr otherwise."""

    def _repr_html_(self) -> str | None:
        return _renderers[-1](self) if _renderers else None


def to_dataframe(rows: Iterable[Mapping[str, object]]) -> "DataFrame":
    """Builds a pandas table of rows, in their order.

    Raises:
        MissingPackageError: without pandas, which comes with the app and not with the core.
    """
    try:
        from pandas import DataFrame
    except ModuleNotFoundError as error:
        raise MissingPackageError.of("A table", "app", error) from error
    return DataFrame(list(rows))
