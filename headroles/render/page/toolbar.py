"""What a visitor can press around the result -> HTML: links, downloads, example sentences."""

import base64
from collections.abc import Iterable, Mapping

from headroles.render.html import render_template


def render_tools(query: str, downloads: Mapping[str, str], turned: str = "", number: int = 0) -> str:
    """The row of links and downloads for what the page shows; the script makes whole addresses of `query`.

    Args:
        query: as `Place.contents` writes it.
        turned: the tab that the page is turned to with it; empty where it stays on the visitor's.
        number: of the answer that it comes with, so that the script notices one that changes nothing; 0 with the page itself.
        downloads: the name of each download, and what people call it.
    """
    return render_template("tools", query=query, downloads=downloads, turned=turned, number=number)


def render_download(name: str, media_type: str, content: bytes, number: int) -> str:
    """A link that the script presses and takes away; `number` tells a second download of the same file from the first."""
    data = base64.b64encode(content).decode()
    return render_template("download", name=name, media_type=media_type, data=data, number=number)


def render_examples(prompts: Iterable[str]) -> str:
    """Sentences that run with one click."""
    return render_template("examples", prompts=prompts)
