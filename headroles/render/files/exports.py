"""What a visitor takes home: pictures, tables and a page of one's own, each a small file."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from markupsafe import Markup
from matplotlib.figure import Figure

from headroles.core.heads import Head
from headroles.core.readings.analysis import Analysis, HeadView
from headroles.core.records.head_categories import HeadCategories
from headroles.core.surveys.atlas import Atlas
from headroles.core.surveys.atlas_entries import ATLAS_COLUMNS
from headroles.core.surveys.training_run import TrainingRun
from headroles.errors import InvalidInputError
from headroles.render.api.schema import analysis_result
from headroles.render.api.schema_outputs import ablation_result, effects_result
from headroles.render.api.schema_training import training_result, training_rows
from headroles.render.figures.figure_text import one_line, shorten
from headroles.render.figures.heatmaps import attention_figure, map_figure, to_pdf, to_png, to_svg
from headroles.render.files.sheets import atlas_sheet, model_sheet, text_sheet
from headroles.render.html import ASSETS, STYLES, render_template
from headroles.render.page.answer import answer_text
from headroles.render.page.causes import HeadEffects
from headroles.render.surveys.atlas_text import tell_atlas
from headroles.render.wording.bars import filling
from headroles.render.wording.head_sentences import describe_head, describe_head_view
from headroles.render.wording.sources import describe_layers

Kind = Literal["png", "svg", "pdf"]
KINDS: tuple[Kind, ...] = ("png", "svg", "pdf")
Sheet = Literal["text", "model", "atlas"]
SHEETS: tuple[Sheet, ...] = ("text", "model", "atlas")
DOWNLOADS: Mapping[str, str] = MappingProxyType(
    {
        "heatmap.png": "Heatmap (PNG)",
        "heatmap.svg": "Heatmap (SVG)",
        "map.png": "Map of all heads (PNG)",
        "map.svg": "Map of all heads (SVG)",
        "sheet.pdf": "Sheet of this sentence (PDF)",
        "sheet.png": "Sheet of this sentence (PNG)",
        "sheet.svg": "Sheet of this sentence (SVG)",
        "model.pdf": "Sheet of the model (PDF)",
        "model.png": "Sheet of the model (PNG)",
        "model.svg": "Sheet of the model (SVG)",
        "scores.csv": "Scores of all heads (CSV)",
        "analysis.json": "Analysis (JSON)",
        "training.csv": "Training run (CSV)",
        "training.json": "Training run (JSON)",
        "atlas.pdf": "Sheet of the atlas (PDF)",
        "atlas.png": "Sheet of the atlas (PNG)",
        "atlas.svg": "Sheet of the atlas (SVG)",
        "atlas.csv": "Atlas (CSV)",
        "page.html": "This page (HTML)",
    }
)
COLUMNS = (
    *("model", "layer", "head", "role", "primary_role", "score", "activation", "chance", "is_active"),
    *("excess", "percentile", "is_unusual", "told"),
)
FORMULA_STARTS = ("'", "=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
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
    """One row a head and measured role (RFC 4180, UTF-8); score, activation and chance from 0 to 1.

    Every text is quoted, numbers are not. A text that a spreadsheet would calculate begins with an apostrophe, and so does one
    that began with one: whoever takes it off has the text back.
    """
    sentences = {head: describe_head(analysis, head) for head in analysis.heads.heads()}

    def written(row: Mapping[str, Any]) -> dict[str, object]:
        flags = {name: "true" if row[name] else "false" for name in ("is_active", "is_unusual")}
        return {**row, **flags, "told": sentences[Head(row["layer"], row["head"])]}

    return _table(_file_name(analysis.model, "scores.csv"), COLUMNS, map(written, analysis.rows()))


def training_csv(run: TrainingRun) -> Download:
    """One row a recorded step and role: its best head, how many reach the threshold, the losses; written as `scores_csv`."""
    rows = list(training_rows(run))
    return _table(_file_name(run.model, "training.csv"), tuple(rows[0]), rows)


def training_json(run: TrainingRun) -> Download:
    """The same result as the API's, with the scores of all heads."""
    text = json.dumps(training_result(run).model_dump(), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return Download(_file_name(run.model, "training.json"), "application/json", text.encode("utf-8", "backslashreplace"))


def atlas_csv(atlas: Atlas) -> Download:
    """One row a model and role: its share of heads in all and by depth, its best head; written as `scores_csv`."""
    return _table("headroles-atlas.csv", ATLAS_COLUMNS, atlas.rows())


def analysis_json(analysis: Analysis, causes: HeadEffects | None = None) -> Download:
    """The same result as the API's, indented; with it, what was asked of heads beyond where they look."""
    result: dict[str, object] = analysis_result(analysis).model_dump()
    if causes is not None:
        result |= {"ablation": ablation_result(causes.ablation).model_dump()}
        result |= {} if causes.direct_effects is None else {"effects": effects_result(causes.direct_effects).model_dump()}
    text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)
    # a lone surrogate has no UTF-8 form; what is written for it is JSON's own escape
    return Download(_file_name(analysis.model, "analysis.json"), "application/json", text.encode("utf-8", "backslashreplace"))


def heatmap_file(view: HeadView, kind: Kind) -> Download:
    """One head's heatmap. Raises InvalidInputError for an unknown kind."""
    title = f"{view.model} {view.head.label}"
    name = _file_name(view.model, f"{view.head.label}-{view.role.name}")
    return _picture(name, kind, lambda: attention_figure(view), title, describe_head_view(view))


def map_file(analysis: Analysis, kind: Kind, selected: Head | None = None) -> Download:
    """What every head mainly does, filled by how much of it it does on the prompt, the selected head framed.

    Raises:
        InvalidInputError: for an unknown kind, or a selected head outside the model.
    """
    heads = analysis.heads
    fill = [
        [filling(role, heads.main_reading(Head(layer, index))) for index, role in enumerate(row)]
        for layer, row in enumerate(heads.primary)
    ]
    title = shorten(one_line(f"{analysis.model}: {analysis.prompt}"), TITLE_COLUMNS)
    description = (
        f"{analysis.num_layers} layers down, {analysis.num_heads} heads across: "
        f"what each head mainly does, and how much of it on this text. {describe_layers(analysis)}"
    ).rstrip()
    name = _file_name(analysis.model, "map")
    return _picture(name, kind, lambda: map_figure(title, heads.primary, fill, selected), title, description)


def text_sheet_file(analysis: Analysis, views: Sequence[HeadView], kind: Kind) -> Download:
    """The sheet of a sentence, for print. Raises InvalidInputError for an unknown kind."""
    title = shorten(one_line(f"{analysis.model}: {analysis.prompt}"), TITLE_COLUMNS)
    name = _file_name(analysis.model, "sheet")
    return _picture(name, kind, lambda: text_sheet(analysis, views), title, answer_text(analysis))


def model_sheet_file(record: HeadCategories, kind: Kind) -> Download:
    """The sheet of a model, for print. Raises InvalidInputError for an unknown kind."""
    description = "What each head mainly does, how strong each role is by depth, and from when on one is seen."
    title = f"Attention heads of {record.model_name}"
    return _picture(_file_name(record.model_name, "model"), kind, lambda: model_sheet(record), title, description)


def atlas_sheet_file(atlas: Atlas, kind: Kind) -> Download:
    """The sheet of the atlas, for print. Raises InvalidInputError for an unknown kind."""
    return _picture("headroles-atlas", kind, lambda: atlas_sheet(atlas), "Roles of attention heads by depth", tell_atlas(atlas))


def standalone_page(title: str, body: str, analysis_date: str = "") -> Download:
    """One HTML file that opens without a network: the page's own styles and script, and nothing from elsewhere.

    Args:
        title: of the page.
        body: HTML, escaped already; the script runs on each of its elements with `data-part`.
        analysis_date: of the record; empty for a page that does not say it.
    """
    title = shorten(one_line(title), TITLE_COLUMNS)
    measured = f", from a record of {analysis_date}" if analysis_date else ""
    page = render_template(
        "saved",
        policy=POLICY,
        title=title,
        styles=_inline_styles(),
        theme=_script("saved.js"),
        body=Markup(body),
        made=f"Made with headroles{measured}.",
        script=_inline_script(),
    )
    # a lone surrogate has no UTF-8 form
    return Download(_file_name(title, "page.html"), "text/html; charset=utf-8", page.encode("utf-8", "replace"))


def _table(name: str, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> Download:
    table = io.StringIO()
    # quoted even without a comma: where lists are written with semicolons, a spreadsheet splits a line at them
    writer = csv.writer(table, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_no_formula(cell) if isinstance(cell := row[column], str) else cell for column in columns])
    return Download(name, "text/csv; charset=utf-8", table.getvalue().encode("utf-8", "replace"))


def _picture(name: str, kind: Kind, draw: Callable[[], Figure], title: str, description: str) -> Download:
    if kind not in KINDS:
        raise InvalidInputError(f"There is no picture of kind {str(kind)[:50]!r}; the kinds are {', '.join(KINDS)}.")
    if kind == "png":
        return Download(f"{name}.png", "image/png", to_png(draw()))
    if kind == "pdf":
        return Download(f"{name}.pdf", "application/pdf", to_pdf(draw()))
    return Download(f"{name}.svg", "image/svg+xml", to_svg(draw(), title, description).encode())


def _file_name(model: str, rest: str) -> str:
    """`headroles-org__name-rest`, in letters that every file system takes."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", model.replace("/", "__"))[:MAX_NAME_CHARACTERS].strip("-.")
    return "-".join(part for part in ("headroles", plain, rest) if part)


def _no_formula(text: str) -> str:
    """The text, after an apostrophe where it begins with one or as a formula does, in signs of full width too."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _inline_styles() -> Markup:
    sheets = (ASSETS / "saved.css", *STYLES)
    text = "\n".join(sheet.read_text("utf-8") for sheet in sheets)
    return Markup(re.sub(r"</(?=style)", r"<\\/", text, flags=re.IGNORECASE))


def _inline_script() -> Markup:
    """The page's script as the body of a function, once for each part; its events have nobody to answer them."""
    script = _script("panel.js")
    asking = ".hr-head, .hr-chip, .hr-open:not([data-enlarge])"
    dead = f"for (const button of document.querySelectorAll('{asking}')) button.disabled = true;"
    parts = "document.querySelectorAll('[data-part]')"
    return Markup(f"{dead}\nfor (const part of {parts}) (function (element, trigger) {{\n{script}\n}})(part, () => {{}});")


def _script(name: str) -> Markup:
    """A script of the page, so that nothing in it can end its tag."""
    text = (ASSETS / name).read_text("utf-8")
    return Markup(re.sub(r"<(?=/script|script|!--)", r"\\x3c", text, flags=re.IGNORECASE))
