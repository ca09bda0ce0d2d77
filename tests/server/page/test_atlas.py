"""The atlas tab as the server gives it: on the page when it is asked for, to programs, and as files."""

import asyncio
import csv
import io
import json

import gradio as gr

from headroles.render.api.schema_atlas import atlas_result
from headroles.server.api.endpoints import Endpoints
from headroles.server.gate.request_queue import RequestQueue
from headroles.server.page.handlers import Handlers
from headroles.server.page.page_state import PageState
from headroles.server.page.parts import download, first_visit
from headroles.settings import Settings

DESK = RequestQueue(Settings(prompts_a_minute=0))
REQUEST = gr.Request(client={"host": "8.8.8.8"})


def test_the_tab_is_drawn_when_it_is_asked_for_and_not_with_the_first_page(explorer):
    assert "atlas" not in first_visit(explorer)[1]
    shown = dict(asyncio.run(Handlers(explorer, DESK).show_atlas("a visitor")))
    assert set(shown) == {"atlas"}
    assert "2 models of 2 families" in str(shown["atlas"])


def test_programs_get_the_atlas_that_the_page_shows_and_its_sheet(explorer):
    result = asyncio.run(Endpoints(explorer, DESK).atlas(REQUEST)).model_dump()
    assert result == atlas_result(explorer.atlas()).model_dump()
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    sheet = asyncio.run(Endpoints(explorer, DESK).figure(REQUEST, "headroles-tiny", sheet="atlas", format="svg"))
    assert "2 models of 2 families" in sheet.data


def test_the_files_hold_the_atlas(explorer):
    rows = list(csv.DictReader(io.StringIO(download(explorer, PageState(), "atlas.csv").content.decode(), newline="")))
    expected = list(explorer.atlas().rows())
    assert [(row["model"], row["role"]) for row in rows] == [(row["model"], row["role"]) for row in expected]
    for row, told in zip(rows, expected):
        assert {name: value for name, value in row.items() if value} == {
            name: str(value) for name, value in told.items() if value is not None
        }
