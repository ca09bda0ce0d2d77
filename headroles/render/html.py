"""The page's files and templates, and the small pieces that templates share."""

import re
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.ext import Extension
from markupsafe import Markup

from headroles.core.roles.roles import Role
from headroles.core.text.tokens import visible_text
from headroles.render.wording.glossary import term
from headroles.render.wording.phrases import percent, signed
from headroles.render.wording.states import MARKS

ASSETS = Path(__file__).parent.parent / "assets"
# in the order in which a page takes them: later ones use what earlier ones set
STYLES = tuple(ASSETS / name for name in ("page.css", "panel.css", "compare.css", "lessons.css", "training.css", "atlas.css"))


def render_template(template: str, **values: object) -> str:
    """What a template in assets/templates makes of the values; every text in them is escaped where it is placed."""
    return _TEMPLATES.get_template(f"{template}.html").render(values)


@lru_cache
def icon(name: str) -> Markup:
    """The drawing of that name in assets/icons."""
    return Markup((ASSETS / "icons" / f"{name}.svg").read_text("utf-8").strip())


def shape_points(role: Role) -> str:
    """A role's shape as an SVG polygon in a unit square."""
    return " ".join(f"{x:g},{y:g}" for x, y in role.shape)


# a line break that parts words: between text, and what is placed into it
_PARTED = re.compile(
    r"(?<=[^>}\s])\s*\n\s*(?=\{\{|<(?:b|em|i|a|code|small)\b)|(?<=\}\})\s*\n\s*(?=[^<{\s])|(?<=[^>}\s])\s*\n\s*(?=[^<{\s])"
)
_LAID_OUT = re.compile(r"\s*\n\s*")


class _Lines(Extension):
    """Lets templates be written in indented lines, of which nothing reaches a visitor.

    A line break goes, with the blanks around it, beside a tag, and is one blank between words, whether they are written there or
    placed, or stand in bold.
    """

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return _LAID_OUT.sub("", _PARTED.sub(" ", source.strip()))


# threads share it: a template is compiled when it is first used, and never changes again
_TEMPLATES = Environment(
    loader=FileSystemLoader(ASSETS / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    auto_reload=False,
    extensions=[_Lines],
)
_TEMPLATES.globals |= {
    "MARKS": MARKS,
    "icon": icon,
    "percent": percent,
    "signed": signed,
    "term": term,
    "shape_points": shape_points,
    "visible": visible_text,
}
