"""A head's pattern as the page shows it: a picture between two axes, with all that the script needs of it."""

import base64
import json
from dataclasses import dataclass

from headroles.core.readings import HeadView
from headroles.core.tokens import visible
from headroles.render.labels import LABEL_COLUMNS, PAGE_LABELS, every_nth
from headroles.render.pixels import outline_path, pattern_bytes, pattern_png
from headroles.render.wording import describe_sink


@dataclass(frozen=True)
class PatternShown:
    """The values of `pattern.html`.

    Attributes:
        count: of tokens.
        density: how many labels an axis has, for narrow pages, which thin them more.
        longest: characters of the longest label.
        labels: position from 1 and text of the tokens that are named.
        tokens: all of them, as JSON.
        cells, png: the pattern for the script and for the eye, in base64.
        outline: of the cells that the role expects, as an SVG path; empty for none.
        told: the picture in words.
        role: the name of the role whose cells are outlined.
        sink: what a learned sink took, in words; empty without one.
    """

    count: int
    density: str
    longest: int
    labels: tuple[tuple[int, str], ...]
    tokens: str
    cells: str
    png: str
    outline: str
    told: str
    role: str
    sink: str


def pattern_shown(view: HeadView, told: str) -> PatternShown:
    """One head's pattern, one pixel a cell."""
    tokens = [visible(token) for token in view.tokens]
    count = len(tokens)
    return PatternShown(
        count=count,
        density="many" if count > PAGE_LABELS // 2 else "some" if count > PAGE_LABELS // 4 else "few",
        longest=min(max(map(len, tokens)), LABEL_COLUMNS),
        labels=tuple((position + 1, tokens[position]) for position in every_nth(count, PAGE_LABELS)),
        tokens=json.dumps(tokens),
        cells=pattern_bytes(view.pattern),
        png=base64.b64encode(pattern_png(view.pattern)).decode(),
        outline=outline_path(view.expected),
        told=told,
        role=view.role.display_name,
        sink=describe_sink(view),
    )
