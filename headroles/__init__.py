"""headroles: which attention heads of a language model do which job, and which of them are doing it on your sentence."""

import importlib
from typing import TYPE_CHECKING

from headroles.core.display import register_renderer

__version__ = "0.1.0"

if TYPE_CHECKING:
    from headroles.core.heads import Attention as Attention
    from headroles.core.heads import Head as Head
    from headroles.core.readings.analysis import Analysis as Analysis
    from headroles.core.roles.roles import ROLES as ROLES
    from headroles.core.roles.scoring import verify_head_activation as verify_head_activation
    from headroles.errors import HeadRolesError as HeadRolesError
    from headroles.explorer import Explorer as Explorer
    from headroles.hub.record_store import load_head_categories as load_head_categories
    from headroles.render.wording.head_sentences import describe_head as describe_head
    from headroles.render.wording.role_states import describe_role as describe_role
    from headroles.summary import get_active_head_summary as get_active_head_summary

_HOMES = {
    "Analysis": "core.readings.analysis",
    "Attention": "core.heads",
    "Explorer": "explorer",
    "Head": "core.heads",
    "HeadRolesError": "errors",
    "ROLES": "core.roles.roles",
    "describe_head": "render.wording.head_sentences",
    "describe_role": "render.wording.role_states",
    "get_active_head_summary": "summary",
    "load_head_categories": "hub.record_store",
    "verify_head_activation": "core.roles.scoring",
}
__all__ = list(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    """Looks a public name up in its module on first use, so that `headroles.core` can be imported without transformers."""
    if name not in _HOMES:
        raise AttributeError(f"module 'headroles' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"headroles.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        from headroles.errors import MissingPackageError

        raise MissingPackageError.of(name, "app", error) from error


def _show_in_notebook(result: object) -> str | None:
    """Draws a result; the drawing packages are imported when a notebook first asks. None where they are not installed."""
    try:
        from headroles import notebook
    except ModuleNotFoundError:
        return None
    return notebook.show(result)


register_renderer(_show_in_notebook)
