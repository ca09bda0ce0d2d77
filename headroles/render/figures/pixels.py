"""A pattern as the page shows it: a picture of one pixel a cell, its cells as bytes, and the border of the expected ones."""

import base64
import io
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from headroles.render.wording.phrases import ALL

COLORMAP = "Blues"


def pattern_png(pattern: Float[Tensor, "query key"]) -> bytes:
    """A pattern as a PNG of one pixel a cell, in the colours of `attention_figure`."""
    # the colormap is the file's palette: each cell is one byte
    image = Image.fromarray(np.minimum(as_array(pattern) * 256, 255).astype(np.uint8))
    image.putpalette(_palette())
    buffer = io.BytesIO()
    image.save(buffer, format="png")
    return buffer.getvalue()


def pattern_bytes(pattern: Float[Tensor, "query key"]) -> str:
    """The causal triangle row by row, one byte a cell, in base64; 0 and 255 only where `percent` says 0% and 100%."""
    cells = as_array(pattern)[np.tril_indices(len(pattern))].astype(np.float64)
    least, most = cells > 0, np.where(cells < ALL, 254, 255)
    return base64.b64encode(np.clip(np.rint(cells * 255), least, most).astype(np.uint8).tobytes()).decode()


def outline_path(expected: Bool[Tensor, "query key"]) -> str:
    """The border of the expected cells as an SVG path, one unit a cell, y down; empty when none is expected."""
    across, down = edges(expected)
    return "".join([f"M{x} {y}H{end}" for y, x, end in across.tolist()] + [f"M{x} {y}V{end}" for x, y, end in down.tolist()])


def edges(expected: Bool[Tensor, "query key"]) -> tuple[Int[np.ndarray, "edge 3"], Int[np.ndarray, "edge 3"]]:
    """Where an expected cell meets one that is not: lines across (y, x, end x) and down (x, y, end y), in cells."""
    mask: Bool[np.ndarray, "query key"] = np.pad(expected.cpu().numpy(), 1)
    return _runs(mask[1:, 1:-1] != mask[:-1, 1:-1]), _runs((mask[1:-1, 1:] != mask[1:-1, :-1]).T)


def _runs(border: Bool[np.ndarray, "line place"]) -> Int[np.ndarray, "run 3"]:
    """Unbroken runs along each line: (line, start, end)."""
    steps = np.diff(np.pad(border, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    return np.column_stack([np.argwhere(steps == 1), np.argwhere(steps == -1)[:, 1]])


def as_array(pattern: Float[Tensor, "query key"]) -> Float[np.ndarray, "query key"]:
    """The pattern as a numpy array on the CPU."""
    return pattern.float().cpu().numpy()


@lru_cache
def _palette() -> bytes:
    return colormaps[COLORMAP](np.arange(256), bytes=True)[:, :3].tobytes()
