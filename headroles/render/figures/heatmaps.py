"""Patterns and roles -> pictures. Pure: `Figure` objects only, never pyplot, whose global state leaks under threads."""

import io
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import matplotlib
import numpy as np
from jaxtyping import Bool
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.path import Path
from matplotlib.text import Text
from torch import Tensor

from headroles.core.heads import Head
from headroles.core.readings.analysis import HeadView
from headroles.core.roles.roles import ROLES, Role
from headroles.core.text.tokens import visible_text
from headroles.errors import InvalidInputError
from headroles.render.figures.figure_text import (
    FIGURE_LABELS,
    LABEL_COLUMNS,
    MAP_LABELS,
    columns_of,
    drawable,
    every_nth,
    font_families,
    one_line,
    shorten,
)
from headroles.render.figures.pixels import COLORMAP, as_array, edges

DOTS_PER_INCH = 110

MAP_DOTS_PER_INCH = 100
CELL_INCHES = 0.3
LONGEST_SIDE_INCHES = 11  # of the map's cells; above it they shrink
LEGEND_INCHES, LEGEND_LINE_INCHES = 2.2, 0.18

_SVG_LOCK = threading.Lock()


def attention_figure(view: HeadView) -> Figure:
    """One head's pattern: queries down, keys across, the cells that the role expects outlined in the role's colour."""
    count = len(view.tokens)
    ticks = every_nth(count, FIGURE_LABELS)
    labels = [shorten(visible_text(view.tokens[tick]), LABEL_COLUMNS) for tick in ticks]
    size = 9 if count <= 24 else 7
    side = min(max(0.27 * count, 2.6), 7.2)
    room = max(max(columns_of(label), columns_of(drawable(label))) for label in labels) * size * 0.6 / 72
    figure = Figure(figsize=(side + room + 1.2, side + room + 0.7), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(as_array(view.pattern), cmap=COLORMAP, vmin=0, vmax=1, interpolation="nearest")
    axes.add_collection(outline(view.expected, view.role.color, count))
    # parse_math off: a user's "$" must not start a formula; anchored, labels end at their tick whatever the viewer's font
    text = {"fontsize": size, "parse_math": False, "fontfamily": font_families()}
    axes.set_xticks(ticks, labels, rotation=90, rotation_mode="anchor", ha="right", va="center", **text)
    axes.set_yticks(ticks, labels, **text)
    outlined = f", outlined: {view.role.display_name}" if view.expected.any() else ""
    _set_title(figure, f"{view.model} {view.head.label}{outlined}")
    sink = "\n(what a row leaves of 1 went to the head's learned sink)" if view.has_sink else ""
    axes.set_xlabel(f"key: the token that is looked at{sink}", fontsize=9)
    axes.set_ylabel("query: the token that looks", fontsize=9)
    axes.tick_params(length=2)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, pad=0.02)
    bar.ax.tick_params(labelsize=7)
    bar.set_label("attention", fontsize=8)
    return figure


def map_figure(
    title: str,
    primary: Sequence[Sequence[Role]],
    fill: Sequence[Sequence[float]] | None = None,
    selected: Head | None = None,
) -> Figure:
    """What every head mainly does: layers down, heads across, each the shape and colour of its role.

    Args:
        title: above the map.
        primary: [layer][head]; empty for a layer without an attention pattern, which is left blank but for a line.
        fill: [layer][head], 0 to 1, how full of its colour each shape is; None for full.
        selected: the head to frame.

    Raises:
        InvalidInputError: when `primary` and `fill` have different shapes, or the selected head is outside.
    """
    layers, heads = len(primary), max(map(len, primary))
    if fill is not None and [len(row) for row in fill] != [len(row) for row in primary]:
        raise InvalidInputError(f"fill must be {layers} layers x {heads} heads, as primary is.")
    if selected is not None:
        selected.check_inside(layers, heads, [layer for layer, row in enumerate(primary) if row])
    cell = min(CELL_INCHES, LONGEST_SIDE_INCHES / max(layers, heads))
    size = max(heads * cell, 1) + LEGEND_INCHES + 0.4, max(layers * cell, LEGEND_LINE_INCHES * len(ROLES)) + 0.9
    figure = Figure(figsize=size, dpi=MAP_DOTS_PER_INCH, layout="constrained")
    axes = add_role_map(figure, primary, fill, line_width=min(1.2, cell * 5))
    if selected is not None:
        corner = selected.index - 0.5, selected.layer - 0.5
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="black", linewidth=1.5, clip_on=False))
    _set_title(figure, title)
    return figure


def add_role_map(
    figure: Figure | SubFigure,
    primary: Sequence[Sequence[Role]],
    fill: Sequence[Sequence[float]] | None = None,
    line_width: float = 0.6,
) -> Axes:
    """Draws the map of `map_figure`, and its legend, into a figure or a part of one."""
    layers, heads = len(primary), max(map(len, primary))
    axes = figure.add_subplot(aspect="equal", anchor="NW", xlim=(-0.5, heads - 0.5), ylim=(layers - 0.5, -0.5))
    axes.add_collection(_shapes(primary, fill, line_width))
    gaps = [layer for layer, row in enumerate(primary) if not row]
    axes.hlines(gaps, -0.3, heads - 0.7, colors="#cccccc", linewidths=0.8, linestyles="dotted")
    _add_legend(figure, _role_handles(primary), "" if fill is None else "the fuller, the more\non this text")
    axes.set_xlabel("head", fontsize=8)
    axes.set_ylabel("layer", fontsize=8)
    axes.set_xticks(every_nth(heads, MAP_LABELS))
    axes.set_yticks(every_nth(layers, MAP_LABELS))
    axes.tick_params(length=2, labelsize=7)
    axes.spines[:].set_color("#cccccc")
    return axes


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG file, the same each time; characters that no font here has are written as `<U+4E2D>`."""
    buffer = io.BytesIO()
    with _drawable_text(figure):
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def to_svg(figure: Figure, title: str = "", description: str = "") -> str:
    """The figure as a standalone SVG file, the same each time, with its text as text; title and description are for readers."""
    # The viewer's fonts draw what those here do not have; catch_warnings would not be thread-safe.
    warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
    buffer = io.StringIO()
    with _svg_settings():
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    # what comes before is an XML declaration and a document type that points to a website
    opening, body = buffer.getvalue().partition("<svg")[2].split(">", 1)
    words = Markup("\n <title>{}</title>\n <desc>{}</desc>").format(one_line(title), one_line(description))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<svg role="img"{opening}>{words}{body}'


def to_pdf(figure: Figure) -> bytes:
    """The figure as a PDF file with its fonts in it, the same each time; characters that no font here has as in `to_png`."""
    buffer = io.BytesIO()
    with _drawable_text(figure):
        figure.savefig(buffer, format="pdf", metadata={"CreationDate": None, "Producer": None, "Creator": None})
    return buffer.getvalue()


@contextmanager
def _svg_settings() -> Iterator[None]:
    """While open, matplotlib writes SVG as ours must be; one thread at a time, since its settings are the whole process's.

    Not rc_context, which puts back every setting, those too that another thread has changed meanwhile.
    """
    with _SVG_LOCK:
        settings = matplotlib.rcParams
        before = settings["svg.fonttype"], settings["svg.hashsalt"]
        # text stays text, so that any script is drawn with the viewer's fonts; with a salt the same figure gives the same file
        settings["svg.fonttype"], settings["svg.hashsalt"] = "none", "headroles"
        try:
            yield
        finally:
            settings["svg.fonttype"], settings["svg.hashsalt"] = before


def _add_legend(figure: Figure | SubFigure, handles: list[Line2D], title: str) -> None:
    legend = figure.legend(
        handles=handles,
        title=title or None,
        loc="outside right center",
        frameon=False,
        fontsize=8,
        title_fontsize=7,
        alignment="left",
    )
    legend.get_title().set_color("#555555")


def _set_title(figure: Figure, title: str) -> None:
    """A title at the upper left, as much of it as the figure is wide."""
    whole, size = one_line(title), 9
    columns = int(figure.get_figwidth() * 72 / (size * 0.5))
    text = figure.suptitle("", x=0.02, ha="left", fontsize=size, fontfamily=font_families(), parse_math=False)
    while columns > 1:
        text.set_text(drawable(shorten(whole, columns)))
        if text.get_window_extent().x1 < 0.98 * figure.bbox.width:
            break
        columns = columns * 9 // 10
    text.set_text(shorten(whole, columns))


def outline(expected: Bool[Tensor, "query key"], color: str, count: int) -> LineCollection:
    """The border of the cells that a role expects, in its colour."""
    across, down = edges(expected)
    ends = np.concatenate([across[:, [1, 0, 2, 0]], down[:, [0, 1, 0, 2]]]).reshape(-1, 2, 2) - 0.5  # x, y of both ends
    width = 1.6 if count <= 64 else 0.8 if count <= 128 else 0.4  # never so wide that a cell's own colour is hidden
    return LineCollection(list(ends), colors=color, linewidths=width, capstyle="projecting")


def _shapes(primary: Sequence[Sequence[Role]], fill: Sequence[Sequence[float]] | None, line_width: float) -> PolyCollection:
    polygons, faces, edges = [], [], []
    for layer, row in enumerate(primary):
        for index, role in enumerate(row):
            color = np.array(to_rgb(role.color))
            share = 1.0 if fill is None else fill[layer][index]
            polygons.append((np.array(role.shape) - 0.5) * 0.76 + [index, layer])
            faces.append(1 - share * (1 - color))  # mixed with white, not transparent: nothing shines through
            edges.append(color)
    return PolyCollection(polygons, facecolors=faces, edgecolors=edges, linewidths=line_width)


def _role_handles(primary: Sequence[Sequence[Role]]) -> list[Line2D]:
    """A legend's shapes, each with its role's name and how many heads mainly play it."""
    found = [role for row in primary for role in row]
    handles = []
    for role in ROLES.values():
        corners = (np.array(role.shape) - 0.5) * [1, -1]
        # markers are scaled to the same size, but a dot is to stay one
        size = 9 * 2 * np.abs(corners).max()
        label = f"{role.display_name}: {found.count(role)}"
        handles.append(Line2D([], [], linestyle="", marker=Path(corners), markersize=size, color=role.color, label=label))
    return handles


@contextmanager
def _drawable_text(figure: Figure) -> Iterator[None]:
    """While open, the figure's texts hold only characters that the fonts here have."""
    undo = []
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        labels = [label.get_text() for label in axis.get_ticklabels()]
        if (shown := list(map(drawable, labels))) != labels:
            undo.append(partial(axis.set_ticklabels, labels))
            axis.set_ticklabels(shown)
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if (shown := drawable(text.get_text())) != text.get_text():
            undo.append(partial(text.set_text, text.get_text()))
            text.set_text(shown)
    try:
        yield
    finally:
        for restore in undo:
            restore()
