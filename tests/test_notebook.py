"""Results in a notebook: each class shows itself in a frame that reaches nothing, and the notebook of the docs runs."""

import html
import json
import re
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from headroles.core.display import NotebookRepr
from headroles.core.readings.comparison import compare_prompts
from headroles.core.registry import EMBEDDED_MODEL
from headroles.notebook import DRAW, show
from headroles.render.files.exports import POLICY
from tests.conftest import PLAIN, REPEATING
from tests.fixtures.outline import Outline

NOTEBOOK = Path(__file__).parent.parent / "docs" / "notebook.ipynb"
HOSTILE = '</iframe><script>alert(1)</script> "><img src=x onerror=alert(2)>'


@pytest.fixture(scope="module")
def shown(explorer) -> dict[str, NotebookRepr]:
    analysis = explorer.analyze(EMBEDDED_MODEL, REPEATING)
    return {
        "analysis": analysis,
        "head": explorer.view_head(EMBEDDED_MODEL, REPEATING, "L2H2"),
        "ablation": explorer.ablate(EMBEDDED_MODEL, REPEATING, ["L2H2"]),
        "record": explorer.categories(EMBEDDED_MODEL),
        "texts": compare_prompts(analysis, explorer.analyze(EMBEDDED_MODEL, PLAIN)),
    }


def frame_of(drawn: str | None) -> tuple[dict[str, str], str]:
    """The frame's attributes, and the page in it."""
    assert drawn is not None
    outline = Outline(drawn)
    assert [tag for tag, _ in outline.elements] == ["iframe"]
    (attributes,) = [attributes for _, attributes in outline.elements]
    return attributes, attributes["srcdoc"]


@pytest.mark.parametrize("name", ["analysis", "head", "ablation", "record", "texts"])
def test_a_result_shows_itself_in_a_sandboxed_frame_without_a_network(shown, name):
    attributes, page = frame_of(shown[name]._repr_html_())
    assert attributes["sandbox"] == "allow-scripts"
    assert html.unescape(re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[0]) == POLICY
    assert "prefers-color-scheme: dark" in page
    assert not re.findall(r'(?:src|href)="https?:', page)


def test_every_class_that_shows_itself_is_drawn():
    def below(kind: type) -> set[type]:
        return {kind}.union(*map(below, kind.__subclasses__())) - {NotebookRepr}

    assert below(NotebookRepr) == set(DRAW)


def test_hostile_text_stays_inside_the_frame_and_is_no_markup_there(explorer):
    _, page = frame_of(explorer.analyze(EMBEDDED_MODEL, HOSTILE)._repr_html_())
    assert "<script>alert(1)" not in page
    assert "onerror=alert(2)>" not in page


def test_nothing_else_is_drawn():
    assert show("a text") is None


def test_the_notebook_of_the_docs_runs_and_shows_what_it_says():
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    shell = InteractiveShell.instance()
    frames = 0
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        done = shell.run_cell("".join(cell["source"]), store_history=False)
        assert done.success, (cell["source"], done.error_in_exec)
        if isinstance(done.result, NotebookRepr):
            frames += bool(done.result._repr_html_())
    assert frames >= 4
    InteractiveShell.clear_instance()
