"""Patterns -> matplotlib figures. Pure: `Figure` objects only, never pyplot, whose global state leaks under threads."""

import io

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from headroles.readings import HeadView, visible

MAX_LABELS = 48  # beyond it labels would overlap; every n-th is shown instead
MAX_LABEL_CHARACTERS = 14
DOTS_PER_INCH = 110


def attention_figure(view: HeadView) -> Figure:
    """One head's pattern: queries down, keys across, the cells that the role expects outlined in the role's colour."""
    count = len(view.tokens)
    side = min(max(0.27 * count, 2.6), 7.2)
    figure = Figure(figsize=(side + 1.6, side + 1.2), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(view.pattern.numpy(), cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.add_collection(_outline(view.expected, view.role.color, count))
    step = -(-count // MAX_LABELS)
    ticks = range(0, count, step)
    labels = [_label(view.tokens[tick]) for tick in ticks]
    size = 9 if count <= 24 else 7
    # parse_math off: a user's "$" must not start a formula
    axes.set_xticks(ticks, labels, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(ticks, labels, fontsize=size, parse_math=False)
    axes.set_xlabel("key: the token that is looked at", fontsize=9)
    axes.set_ylabel("query: the token that looks", fontsize=9)
    axes.tick_params(length=2)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, pad=0.02)
    bar.ax.tick_params(labelsize=7)
    bar.set_label("attention", fontsize=8)
    return figure


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _outline(expected: Bool[Tensor, "query key"], color: str, count: int) -> LineCollection:
    """The border of the expected cells: an edge wherever an expected cell meets one that is not."""
    mask: Bool[np.ndarray, "query key"] = np.pad(expected.numpy(), 1)
    below = np.argwhere(mask[1:, 1:-1] != mask[:-1, 1:-1]) - 0.5  # [row of the edge, left end]
    beside = np.argwhere(mask[1:-1, 1:] != mask[1:-1, :-1]) - 0.5  # [top end, column of the edge]
    segments: Float[np.ndarray, "edge end xy"] = np.concatenate(
        [
            np.stack([below[:, ::-1], below[:, ::-1] + [1, 0]], axis=1),
            np.stack([beside[:, ::-1], beside[:, ::-1] + [0, 1]], axis=1),
        ]
    )
    return LineCollection(list(segments), colors=color, linewidths=1.6 if count <= 64 else 0.7, capstyle="projecting")


def _label(token: str) -> str:
    text = visible(token)
    return text if len(text) <= MAX_LABEL_CHARACTERS else text[: MAX_LABEL_CHARACTERS - 1] + "…"
