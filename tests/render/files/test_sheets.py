"""Sheets for print: of any text and model they are files that open, large enough, with their fonts, the same each time."""

import io
import re

import pytest
from PIL import Image

from headroles.core.registry import EMBEDDED_MODEL
from headroles.errors import InvalidInputError
from headroles.explorer import Explorer
from headroles.render.files.exports import Download, Kind, model_sheet_file, text_sheet_file
from headroles.render.files.sheets import HEADS, sheet_heads
from tests.analysis.publish.test_dataset_files import make
from tests.conftest import PLAIN, REPEATING

HOSTILE = "$x^2$ <b>&amp; \x00 日本 😀 \\frac{1}{2} " * 5


def sheet(explorer: Explorer, text: str, kind: Kind) -> Download:
    analysis = explorer.analyze(EMBEDDED_MODEL, text)
    views = [explorer.view_head(EMBEDDED_MODEL, text, head, role) for head, role in sheet_heads(analysis)]
    return text_sheet_file(analysis, views, kind)


def test_a_sheet_of_a_text_shows_the_heads_of_the_roles_that_are_seen(explorer):
    told = sheet_heads(explorer.analyze(EMBEDDED_MODEL, REPEATING))
    analysis = explorer.analyze(EMBEDDED_MODEL, REPEATING)
    assert 1 <= len(told) <= HEADS
    assert {role.name for _, role in told} >= {reading.role.name for reading in analysis.roles if reading.state == "seen"}
    assert len(set(told)) == len(told)
    for head, role in told:
        reading = analysis.heads.reading(role, head)
        assert reading.is_active or reading.is_unusual


@pytest.mark.parametrize("text", [REPEATING, PLAIN, "Hi", HOSTILE])
def test_any_text_has_a_sheet(explorer, text):
    picture = Image.open(io.BytesIO(sheet(explorer, text, "png").content))
    assert picture.width > 2000
    assert picture.height < 6000


def test_a_pdf_has_its_fonts_in_it_and_is_the_same_each_time(explorer):
    file = sheet(explorer, REPEATING, "pdf")
    assert (file.media_type, file.name.rsplit(".", 1)[1]) == ("application/pdf", "pdf")
    assert file.content.startswith(b"%PDF-")
    assert re.search(rb"/FontFile2|/Type3", file.content)
    assert sheet(explorer, REPEATING, "pdf").content == file.content


def test_an_svg_holds_the_answer_and_the_tokens_as_text(explorer):
    text = sheet(explorer, REPEATING, "svg").content.decode()
    for said in ("Induction: seen", ": Induction", "most clearly"):
        assert said in text


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_model_has_a_sheet_whatever_its_record_holds(record, kind):
    for each in (record, make(layers=1, heads=1), make(layers=48, heads=25)):
        file = model_sheet_file(each, kind)
        assert len(file.content) > 1000


def test_an_unknown_kind_is_refused(record):
    with pytest.raises(InvalidInputError, match="no picture of kind 'gif'; the kinds are png, svg, pdf"):
        model_sheet_file(record, "gif")  # type: ignore[arg-type]
