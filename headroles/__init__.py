"""headroles: which attention heads of a language model do which job, and which of them are doing it on your sentence."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headroles.attention import Attention as Attention
    from headroles.attention import Head as Head
    from headroles.errors import HeadRolesError as HeadRolesError
    from headroles.explorer import Explorer as Explorer
    from headroles.explorer import get_active_head_summary as get_active_head_summary
    from headroles.readings import Analysis as Analysis
    from headroles.roles import ROLES as ROLES
    from headroles.scoring import verify_head_activation as verify_head_activation
    from headroles.store import load_head_categories as load_head_categories

_HOMES = {
    "Analysis": "readings",
    "Attention": "attention",
    "Explorer": "explorer",
    "Head": "attention",
    "HeadRolesError": "errors",
    "ROLES": "roles",
    "get_active_head_summary": "explorer",
    "load_head_categories": "store",
    "verify_head_activation": "scoring",
}
__all__ = list(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    """Looks a public name up in its module on first use, so that `headroles.scoring` can be imported without transformers."""
    if name not in _HOMES:
        raise AttributeError(f"module 'headroles' has no attribute {name!r}")
    return getattr(importlib.import_module(f"headroles.{_HOMES[name]}"), name)
