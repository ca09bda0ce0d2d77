"""Sheets for print: what a sentence shows on one page, what a model is on another, and all models on a third."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.path import Path
from matplotlib.ticker import PercentFormatter

from headroles.core.heads import Head
from headroles.core.readings.analysis import Analysis, HeadView
from headroles.core.readings.comparison import DEPTH_BINS
from headroles.core.records.calibration import TAIL, Triggered
from headroles.core.records.head_categories import HeadCategories
from headroles.core.roles.roles import MeasuredRole, Role
from headroles.core.surveys.atlas import FEW, Atlas, compute_spread, spreads_by_depth
from headroles.core.text.tokens import visible_text
from headroles.render.figures.figure_text import drawable, every_nth, font_families, one_line, shorten
from headroles.render.figures.heatmaps import add_role_map, outline
from headroles.render.figures.pixels import COLORMAP, as_array
from headroles.render.page.answer import answer_text
from headroles.render.surveys.atlas_text import tell_atlas, tell_spread
from headroles.render.wording.evidence import describe_evidence
from headroles.render.wording.sources import describe_source
from headroles.render.wording.states import MARKS

PRINT_DOTS_PER_INCH = 300
WIDTH_INCHES = 7.2  # of a page's text on A4 and on Letter
SIZE = 8.0  # points of running text
HEADS = 6  # of the seen roles, as heatmaps
LABELS = 16  # along one axis of a small heatmap
LINES = 12  # of tokens
COLUMNS = 5  # of small pictures of the atlas


def sheet_heads(analysis: Analysis) -> list[tuple[Head, Role]]:
    """The heads that a sheet shows, and what for: of each role that is seen the clearest in turn, else the clearest of all."""
    seen = [reading for reading in analysis.roles if reading.state in ("seen", "unusual here") and reading.heads]
    ranked = [
        sorted(
            (head for head in reading.heads if head.is_active or head.is_unusual),
            key=lambda head: -max(head.excess, head.distance),
        )
        for reading in seen
    ]
    found = []
    for rank in range(HEADS):
        found += [(heads[rank].head, reading.role) for reading, heads in zip(seen, ranked) if len(heads) > rank]
    if not found:
        found = [
            (reading.heads[0].head, reading.role) for reading in analysis.roles if reading.heads and reading.heads[0].activation
        ]
    return found[:HEADS]


def text_sheet(analysis: Analysis, views: Sequence[HeadView]) -> Figure:
    """The sentence with its verdicts, and the heads of the roles that are seen, each a small heatmap with its expected cells."""
    words = [visible_text(token) for token in analysis.tokens]
    lines = _wrap(" ".join(words), LINES)
    verdicts = [f"{MARKS[reading.state]} {reading.role.display_name}: {reading.state}" for reading in analysis.roles]
    answer = _wrap(answer_text(analysis))
    rows = -(-len(views) // 3)
    top = 0.75 + 0.15 * (len(lines) + len(answer)) + 0.15 * -(-len(verdicts) // 3)
    figure = Figure(figsize=(WIDTH_INCHES, top + 2.45 * rows + 0.45), dpi=PRINT_DOTS_PER_INCH, layout="constrained")
    heading, pictures, source = _parts(figure, [top, 2.45 * max(rows, 0.01), 0.45])
    y = _write(heading, [one_line(analysis.model)], 1 - 0.04 / top, top, weight="bold", size=SIZE + 2)
    y = _write(heading, lines, y, top, family="monospace")
    y = _write(heading, answer, y - 0.05 / top, top)
    for column in range(3):
        _write(heading, verdicts[column::3], y - 0.05 / top, top, x=column / 3)
    if views:
        for axes, view in zip(pictures.subplots(rows, 3, squeeze=False).flat, views):
            _small_heatmap(axes, view)
        for axes in pictures.axes[len(views) :]:
            axes.axis("off")
    _write(source, _wrap(describe_source(analysis)), 1.0, 0.45, size=SIZE - 2, color="#555555")
    return figure


def model_sheet(record: HeadCategories) -> Figure:
    """A model: what each head mainly does, how strong each role is by depth, and from when on a triggered role is seen."""
    layers, heads = record.num_layers, record.num_heads
    tall = min(max(2.6, 3.6 * layers / max(heads, 1)), 6.5)
    figure = Figure(figsize=(WIDTH_INCHES, tall + 3.3), dpi=PRINT_DOTS_PER_INCH, layout="constrained")
    heading, chart, graphs = _parts(figure, [0.3, tall, 3.0])
    words = f"{record.model_name}: {layers} layers of {heads} heads, scored {record.analysis_date} with {record.reader}"
    _write(heading, [shorten(one_line(words), 105)], 0.9, 0.3, weight="bold", size=SIZE + 1)
    add_role_map(chart, record.primary_roles)
    depth, tails = graphs.subplots(1, 2)
    _by_depth(depth, record)
    _tails(tails, record)
    return figure


def atlas_sheet(atlas: Atlas) -> Figure:
    """All models: which share of heads plays each role by depth, a small picture a role."""
    rows = max(1, -(-len(atlas.roles) // COLUMNS))
    figure = Figure(figsize=(WIDTH_INCHES, 0.5 + 1.75 * rows + 0.65), dpi=PRINT_DOTS_PER_INCH, layout="constrained")
    heading, pictures, source = _parts(figure, [0.5, 1.75 * rows, 0.65])
    _write(heading, _wrap(tell_atlas(atlas), 3), 0.95, 0.5)
    grid = pictures.subplots(rows, COLUMNS, squeeze=False, sharex=True, sharey=True)
    for axes, role in zip(grid.flat, atlas.roles):
        _role_by_depth(axes, atlas, role)
    for axes in list(grid.flat)[len(atlas.roles) :]:
        axes.axis("off")
    if len(atlas.entries) < FEW and atlas.roles:
        named = {"fontsize": SIZE - 2, "loc": "lower left", "bbox_to_anchor": (0, 0), "ncols": 3, "frameon": False}
        legend = source.legend(*grid.flat[0].get_legend_handles_labels(), **named)
        legend.set_in_layout(False)  # it has its place already
        for text in legend.get_texts():
            text.set(parse_math=False, fontfamily=font_families())
    told = (
        f"Across: {DEPTH_BINS} slices of depth, first layers to last. Up: share of heads that reach the role's threshold, on a "
        f"square-root axis. From {FEW} models in a slice on, the mark is their median and the bar goes from the least to the "
        "most; of fewer, each mark is a model's own share. Below the name: the same over all layers."
    )
    _write(source, _wrap(told), 0.95, 0.65, size=SIZE - 2, color="#555555")
    return figure


def _parts(figure: Figure, heights: Sequence[float]) -> tuple[SubFigure, SubFigure, SubFigure]:
    first, second, third = np.asarray(figure.subfigures(3, 1, height_ratios=list(heights)), dtype=object).tolist()
    return first, second, third


def _wrap(text: str, most: int = 8) -> list[str]:
    """Lines that a sheet is wide enough for; what is left of a longer text is `…`."""
    return textwrap.wrap(
        one_line(text), int(WIDTH_INCHES * 72 / (SIZE * 0.53)), max_lines=most, placeholder=" …", break_on_hyphens=False
    )


def _write(
    part: SubFigure,
    lines: Sequence[str],
    y: float,
    inches: float,
    x: float = 0.0,
    size: float = SIZE,
    weight: str = "normal",
    family: str = "",
    color: str = "black",
) -> float:
    """Writes lines from y downwards, 1 to 0 of the part's height, and gives where the next one begins."""
    for line in lines:
        text = {"fontsize": size, "fontweight": weight, "color": color, "parse_math": False}
        part.text(0.01 + x, y, line, va="top", fontfamily=(family, *font_families()) if family else font_families(), **text)
        y -= size * 1.35 / 72 / inches
    return y


def _small_heatmap(axes: Axes, view: HeadView) -> None:
    count = len(view.tokens)
    axes.imshow(as_array(view.pattern), cmap=COLORMAP, vmin=0, vmax=1, interpolation="nearest")
    axes.add_collection(outline(view.expected, view.role.color, count))
    ticks = every_nth(count, LABELS)
    labels = [shorten(visible_text(view.tokens[tick]), 9) for tick in ticks]
    text = {"fontsize": 4.5 if count > 10 else 5.5, "parse_math": False, "fontfamily": font_families()}
    axes.set_xticks(ticks, labels, rotation=90, **text)
    axes.set_yticks(ticks, labels, **text)
    axes.tick_params(length=1, pad=1)
    reading = view.readings[view.role.name]
    place = describe_evidence(reading.evidence[0], view.tokens) if reading.evidence else ""
    title = f"{view.head.label}: {view.role.display_name}" + (f"\n{shorten(drawable(place), 44)}" if place else "")
    axes.set_title(title, fontsize=6.5, parse_math=False, fontfamily=font_families())


def _role_by_depth(axes: Axes, atlas: Atlas, role: MeasuredRole) -> None:
    look = {"color": role.color, "marker": Path((np.array(role.shape) - 0.5) * [1, -1]), "markersize": 4.5}
    usual = []
    for number, found in enumerate(spreads_by_depth(role, atlas.entries)):
        marks = list(found.values) if found.median is None else [found.median]
        if marks:  # without, matplotlib finds no end to what it draws
            axes.plot([number] * len(marks), marks, linestyle="none", clip_on=False, **look)
        if found.median is not None:
            axes.vlines(number, found.values[0], found.values[-1], color=role.color, alpha=0.35, linewidth=3)
        usual.append(np.nan if found.median is None else found.median)
    axes.plot(usual, linewidth=0.8, color=role.color)
    if len(atlas.entries) < FEW:
        _own_lines(axes, atlas, role)
    axes.set_yscale("function", functions=(lambda share: np.sqrt(np.maximum(share, 0)), np.square))
    axes.set_ylim(0, 1)
    axes.set_xlim(-0.5, DEPTH_BINS - 0.5)
    axes.set_yticks([0, 0.02, 0.1, 0.25, 0.5, 1])
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xticks([0, DEPTH_BINS - 1], ["first", "last"])
    axes.tick_params(labelsize=5.5, length=2, pad=1)
    axes.grid(axis="y", linewidth=0.3)
    axes.set_title(f"{role.display_name}\n{tell_spread(compute_spread(role, atlas.entries))}", fontsize=6.5)


def _own_lines(axes: Axes, atlas: Atlas, role: MeasuredRole) -> None:
    """A line a model, named for a legend, where there are few."""
    for entry, style in zip(atlas.entries, ("-", "--", ":", "-.")):
        shares = [np.nan if share is None else share for share in entry.shares_by_depth(role)]
        there = np.flatnonzero(~np.isnan(shares))
        look = {"color": role.color, "linewidth": 0.6, "linestyle": style}
        axes.plot(there, np.array(shares)[there], label=shorten(one_line(entry.model), 36), **look)


def _by_depth(axes: Axes, record: HeadCategories) -> None:
    """The strongest head of each role in each layer."""
    for role in record.scored_roles:
        low, high = role.measure.range
        if (low, high) != (0.0, 1.0):
            continue  # in logits, on another scale
        best = [max(row) for row in record.score_table[role.name] if row]
        marker = Path((np.array(role.shape) - 0.5) * [1, -1])
        axes.plot(record.layers, best, color=role.color, marker=marker, markersize=4, linewidth=0.8, label=role.display_name)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("layer", fontsize=SIZE - 1)
    axes.set_title("Strongest head of each layer, score on the probe texts", fontsize=SIZE - 1)
    axes.tick_params(labelsize=SIZE - 2)
    axes.legend(fontsize=5.5, framealpha=0.8, edgecolor="none", ncols=2)


def _tails(axes: Axes, record: HeadCategories) -> None:
    """How much excess the heads of a role show by accident, and from when on it is seen."""
    calibrated = [
        (role, found) for role in record.scored_roles if isinstance(found := record.calibrations.get(role.name), Triggered)
    ]
    for role, found in calibrated:
        if found.role_tail is not None:
            axes.plot(
                found.role_tail, TAIL, color=role.color, linewidth=1, label=f"{role.display_name}, {found.null_texts} null texts"
            )
            axes.axvline(found.threshold(), color=role.color, linewidth=0.8, linestyle="dotted")
    axes.set_xlabel("excess of the role's strongest head at a token", fontsize=SIZE - 1)
    axes.tick_params(labelsize=SIZE - 2)
    if axes.lines:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=2))
        axes.legend(fontsize=5.5, frameon=False)
        axes.set_title("Share of null tokens that exceed it; dotted: seen from here on", fontsize=SIZE - 1)
    else:
        axes.set_title("This record has no calibration", fontsize=SIZE - 1)
