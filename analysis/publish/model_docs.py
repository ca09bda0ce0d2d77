"""Writes what the documents say of models from the registry: docs/models.md and the README's front matter."""

import re
from pathlib import Path

from headroles.core.registry import ALIKE, MIXED, MODELS, WITH_SINK, ModelInfo

ROOT = Path(__file__).parent.parent.parent
PAGES = ("README.md", "docs/models.md")  # the one has the list of models in its front matter, the other the table
SECTION = re.compile(r"(<!-- models -->\n).*?(\n<!-- /models -->)", re.DOTALL)
FRONT = re.compile(r"^models: \[.*\]$", re.MULTILINE)


def table() -> str:
    """The registered models as a Markdown table, and the architectures that any other model may have."""
    head = "| model | layers x heads | parameters | licence | BOS | why |\n|---|---|---|---|---|---|\n"
    rows = "\n".join(_table_row(info) for info in MODELS.values())
    return f"{head}{rows}\n\n{architectures()}"


def architectures() -> str:
    """The architectures that any model may have, by what their layers are."""
    return (
        f"Architectures: {', '.join(ALIKE)}.\n\n"
        f"Only some of their layers have attention patterns: {', '.join(MIXED)}.\n\n"
        f"Their heads have a learned sink: {', '.join(WITH_SINK)}."
    )


def fill_in_models(text: str) -> str:
    """A page's text with the models as they are now."""
    sources = [info.source for info in MODELS.values() if isinstance(info.source, str)]
    text = FRONT.sub(f"models: [{', '.join(sources)}]", text, count=1)
    return SECTION.sub(lambda found: found[1] + table() + found[2], text)


def write_pages() -> None:
    """Brings the pages up to date with the registry."""
    for page in map(ROOT.joinpath, PAGES):
        page.write_text(fill_in_models(page.read_text("utf-8")), "utf-8")


def _table_row(info: ModelInfo) -> str:
    licence = f"{info.license}, gated" if info.gated else info.license
    size = f"{info.num_layers} x {info.num_heads} | {info.parameters / 1e6:,.1f} M"
    return f"| {info.name} | {size} | {licence} | {'yes' if info.prepend_bos else 'no'} | {info.title} |"
