"""A head's pattern as the page shows it: a picture between two axes, with all that the script needs of it."""

import base64
import json
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from headroles.core.readings.analysis import HeadView
from headroles.core.text.tokens import inline_text, visible_text
from headroles.render.figures.figure_text import LABEL_COLUMNS, PAGE_LABELS, every_nth
from headroles.render.figures.pixels import outline_path, pattern_bytes, pattern_png
from headroles.render.wording.phrases import percent
from headroles.render.wording.sources import describe_sink

STRONGEST = 6  # cells that are named below a picture
LEAST = 0.05  # attention of a cell that is named


@dataclass(frozen=True)
class PatternView:
    """The values of `pattern.html`.

    Attributes:
        count: of tokens.
        density: how many labels an axis has, for narrow pages, which thin them more.
        longest: characters of the longest label.
        labels: position from 1 and text of the tokens that are named.
        tokens: all of them, as JSON.
        cells, png: the pattern for the script and for the eye, in base64.
        outline: of the cells that the role expects, as an SVG path; empty for none.
        controls: of those that its strongest token is held against, likewise; and that token.
        told: the picture in words.
        role: the name of the role whose cells are outlined.
        sink: what a learned sink took, in words; empty without one.
        strongest: the cells that get most, the first token's column left out: who looks, at what, and how much.
    """

    count: int
    density: str
    longest: int
    labels: tuple[tuple[int, str], ...]
    tokens: str
    cells: str
    png: str
    outline: str
    controls: str
    strongest_token: str
    told: str
    role: str
    sink: str
    strongest: tuple[tuple[str, str, str], ...]


def pattern_shown(view: HeadView, told: str) -> PatternView:
    """One head's pattern, one pixel a cell."""
    tokens = [visible_text(token) for token in view.tokens]
    count = len(tokens)
    return PatternView(
        count=count,
        density="many" if count > PAGE_LABELS // 2 else "some" if count > PAGE_LABELS // 4 else "few",
        longest=min(max(map(len, tokens)), LABEL_COLUMNS),
        labels=tuple((position + 1, tokens[position]) for position in every_nth(count, PAGE_LABELS)),
        tokens=json.dumps(tokens),
        cells=pattern_bytes(view.pattern),
        png=base64.b64encode(pattern_png(view.pattern)).decode(),
        outline=outline_path(view.expected),
        controls="" if view.controls is None else outline_path(view.controls),
        strongest_token="" if view.controls is None else _numbered(view, view.readings[view.role.name].evidence[0].query),
        told=told,
        role=view.role.display_name,
        sink=describe_sink(view),
        strongest=tuple(
            (_numbered(view, query), _numbered(view, key), percent(share)) for query, key, share in strongest_cells(view.pattern)
        ),
    )


def _numbered(view: HeadView, position: int) -> str:
    return f"“{inline_text(view.tokens[position])}” ({position + 1})"


def strongest_cells(pattern: Float[Tensor, "query key"], count: int = STRONGEST) -> list[tuple[int, int, float]]:
    """Lists query, key and attention of the strongest cells, strongest first.

    The column of the first token, where heads rest, and cells that get next to nothing are left out.
    """
    cells = pattern.clone()
    cells[:, 0] = 0
    best = cells.flatten().topk(min(count, cells.numel()))
    found = ((*divmod(at, len(pattern)), share) for at, share in zip(best.indices.tolist(), best.values.tolist()))
    return [(query, key, share) for query, key, share in found if share >= LEAST]
