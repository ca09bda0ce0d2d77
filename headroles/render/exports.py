"""What a visitor takes home: pictures, tables and a page of one's own, each a small file."""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from markupsafe import Markup
from matplotlib.figure import Figure

from headroles.core.heads import Head
from headroles.core.readings import Analysis, HeadTable, HeadView
from headroles.core.roles import get_measured_role
from headroles.errors import InvalidInputError
from headroles.render.figure_text import one_line, shorten
from headroles.render.heatmaps import attention_figure, map_figure, to_png, to_svg
from headroles.render.html import ASSETS
from headroles.render.plain import analysis_result
from headroles.render.wording import describe_head

Kind = Literal["png", "svg"]
KINDS: tuple[Kind, ...] = ("png", "svg")
DOWNLOADS: Mapping[str, str] = MappingProxyType(
    {
        "heatmap.png": "Heatmap (PNG)",
        "heatmap.svg": "Heatmap (SVG)",
        "map.png": "Map of all heads (PNG)",
        "map.svg": "Map of all heads (SVG)",
        "scores.csv": "Scores of all heads (CSV)",
        "analysis.json": "Analysis (JSON)",
        "page.html": "This page (HTML)",
    }
)
COLUMNS = ("model", "layer", "head", "role", "primary_role", "score", "activation", "chance", "is_active")
TITLE_COLUMNS = 120
MAX_NAME_CHARACTERS = 80  # of a model or a title within a file's name
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass(frozen=True)
class Download:
    """A file to save: its name, which any system takes, its media type and its bytes."""

    name: str
    media_type: str
    content: bytes


def scores_csv(analysis: Analysis) -> Download:
    """One row a head and measured role (RFC 4180, UTF-8); score, activation and chance from 0 to 1."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(COLUMNS)
    for row in analysis.rows():
        cells = {**row, "model": _no_formula(analysis.model), "is_active": "true" if row["is_active"] else "false"}
        writer.writerow([cells[column] for column in COLUMNS])
    return Download(_file_name(analysis.model, "scores.csv"), "text/csv; charset=utf-8", table.getvalue().encode())


def analysis_json(analysis: Analysis) -> Download:
    """The same result as the API's, indented."""
    text = json.dumps(analysis_result(analysis), indent=2, ensure_ascii=False, allow_nan=False)
    # a lone surrogate has no UTF-8 form; what is written for it is JSON's own escape
    return Download(_file_name(analysis.model, "analysis.json"), "application/json", text.encode("utf-8", "backslashreplace"))


def heatmap_file(view: HeadView, kind: Kind) -> Download:
    """One head's heatmap. Raises InvalidInputError for an unknown kind."""
    title = f"{view.model} {view.head.label}"
    name = _file_name(view.model, f"{view.head.label}-{view.role.name}")
    return _picture(name, kind, lambda: attention_figure(view), title, describe_head(view))


def map_file(analysis: Analysis, kind: Kind, selected: Head | None = None) -> Download:
    """What every head mainly does, filled by how much of it it does on the prompt, the selected head framed.

    Raises:
        InvalidInputError: for an unknown kind, or a selected head outside the model.
    """
    heads = analysis.heads
    fill = [[_fill(heads, Head(layer, index)) for index in range(len(row))] for layer, row in enumerate(heads.primary)]
    title = shorten(one_line(f"{analysis.model}: {analysis.prompt}"), TITLE_COLUMNS)
    description = (
        f"{analysis.num_layers} layers down, {analysis.num_heads} heads across: "
        "what each head mainly does, and how much of it on this text."
    )
    name = _file_name(analysis.model, "map")
    return _picture(name, kind, lambda: map_figure(title, heads.primary, fill, selected), title, description)


def _fill(heads: HeadTable, head: Head) -> float:
    """How much of what a head mainly does it does on the text, 0 to 1."""
    reading = heads.main_reading(head)
    return 0.0 if reading is None else get_measured_role(heads.primary_role(head)).measure.fill(reading.shown)


def standalone_page(title: str, body: str, analysis_date: str = "") -> Download:
    """One HTML file that opens without a network: the page's own styles and script, and nothing from elsewhere.

    Args:
        body: HTML, escaped already; the script runs on each of its elements with `data-part`.
        analysis_date: of the record; empty for a page that does not say it.
    """
    title = shorten(one_line(title), TITLE_COLUMNS)
    measured = f", from a record of {analysis_date}" if analysis_date else ""
    page = Markup(_PAGE).format(
        policy=POLICY,
        title=title,
        styles=Markup(_inline_styles()),
        theme=Markup(_THEME_SCRIPT),
        body=Markup(body),
        made=f"Made with headroles{measured}.",
        script=Markup(_inline_script()),
    )
    # a lone surrogate has no UTF-8 form
    return Download(_file_name(title, "page.html"), "text/html; charset=utf-8", page.encode("utf-8", "replace"))


def _picture(name: str, kind: Kind, draw: Callable[[], Figure], title: str, description: str) -> Download:
    if kind not in KINDS:
        raise InvalidInputError(f"There is no picture of kind {str(kind)[:50]!r}; the kinds are {', '.join(KINDS)}.")
    if kind == "png":
        return Download(f"{name}.png", "image/png", to_png(draw()))
    return Download(f"{name}.svg", "image/svg+xml", to_svg(draw(), title, description).encode())


def _file_name(model: str, rest: str) -> str:
    """`headroles-org__name-rest`, in letters that every file system takes."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", model.replace("/", "__"))[:MAX_NAME_CHARACTERS].strip("-.")
    return "-".join(part for part in ("headroles", plain, rest) if part)


def _no_formula(text: str) -> str:
    """Spreadsheets take a cell that starts like this for a formula; the apostrophe makes it text."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text


def _inline_styles() -> str:
    sheets = (_THEME, *(path.read_text("utf-8") for path in sorted(ASSETS.glob("*.css"))))
    return re.sub(r"</(?=style)", r"<\\/", "\n".join(sheets), flags=re.IGNORECASE)


def _inline_script() -> str:
    """The page's script as the body of a function, once for each part; its events have nobody to answer them."""
    script = (ASSETS / "panel.js").read_text("utf-8")
    script = re.sub(r"<(?=/script|script|!--)", r"\\x3c", script, flags=re.IGNORECASE)
    dead = "for (const button of document.querySelectorAll('.hr-head, .hr-open')) button.disabled = true;"
    parts = "document.querySelectorAll('[data-part]')"
    return f"{dead}\nfor (const part of {parts}) (function (element, trigger) {{\n{script}\n}})(part, () => {{}});"


# Gradio's variables that the style sheets use; in the Space its theme sets them.
_THEME = """
:root { color-scheme: light; --body-background-fill: #fff; --body-text-color: #27272a; --body-text-color-subdued: #52596b;
  --background-fill-primary: #fff; --background-fill-secondary: #f4f4f5; --block-background-fill: #fff;
  --border-color-primary: #e4e4e7; --input-background-fill: #fff; --button-secondary-background-fill: #e4e4e7;
  --color-accent: #0072b2; --link-text-color: #0072b2;
  --font: system-ui, sans-serif; --font-mono: ui-monospace, Consolas, monospace; }
.dark { color-scheme: dark; --body-background-fill: #0b0f19; --body-text-color: #f3f4f6; --body-text-color-subdued: #b5bac8;
  --background-fill-primary: #0b0f19; --background-fill-secondary: #1f2937; --block-background-fill: #111827;
  --border-color-primary: #374151; --input-background-fill: #1f2937; --button-secondary-background-fill: #374151;
  --color-accent: #56b4e9; --link-text-color: #56b4e9; }
body { margin: 0; background: var(--body-background-fill); color: var(--body-text-color);
  font-family: var(--font); line-height: 1.5; }
main { max-width: 1240px; margin: 0 auto; padding: 1rem; }
main > h1 { font-size: 1.5rem; overflow-wrap: anywhere; }
main > [data-part] { margin-bottom: 1.5rem; }
/* what only a server could answer */
.hr-try, .hr-around, .hr-line .hr-open { display: none; }
main button:disabled { color: inherit; cursor: default; }
.hr-made { font-size: .8rem; color: var(--body-text-color-subdued); }
"""

# The style sheets know dark by a class, as Gradio does; here the reader's system decides, and may change its mind.
_THEME_SCRIPT = """
const dark = matchMedia('(prefers-color-scheme: dark)');
const follow = () => document.documentElement.classList.toggle('dark', dark.matches);
dark.addEventListener('change', follow);
follow();
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{styles}</style>
<script>{theme}</script>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
<p class="hr-made">{made}</p>
</main>
<script>{script}</script>
</body>
</html>
"""
