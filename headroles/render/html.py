"""Small pieces of HTML that several parts of the page share."""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from markupsafe import Markup

from headroles.core.roles import Role
from headroles.core.tokens import visible

ASSETS = Path(__file__).parent.parent / "assets"


def join(parts: Iterable[Markup]) -> Markup:
    """The parts one after the other."""
    return Markup("").join(parts)


@lru_cache
def icon(name: str) -> Markup:
    """The drawing of that name in assets/icons."""
    return Markup((ASSETS / "icons" / f"{name}.svg").read_text("utf-8").strip())


def role_mark(role: Role) -> Markup:
    """A role's shape in its colour, for people who know the role by its name beside it."""
    return Markup(
        '<svg class="hr-mark" viewBox="0 0 1 1" aria-hidden="true" style="--role:{}"><polygon points="{}"/></svg>'
    ).format(role.color, shape_points(role))


def shape_points(role: Role) -> str:
    """A role's shape as an SVG polygon in a unit square."""
    return " ".join(f"{x:g},{y:g}" for x, y in role.shape)


def token_strip(tokens: tuple[str, ...], label: str) -> Markup:
    """The tokens of a text in a row, white space made visible."""
    items = join(
        Markup('<li title="token {}"><bdi>{}</bdi></li>').format(position, visible(token))
        for position, token in enumerate(tokens)
    )
    return Markup('<ol class="hr-tokens" aria-label="{}">{}</ol>').format(label, items)
