"""The page's app as a client meets it, over HTTP."""

import re
from collections.abc import Iterator

import gradio as gr
import pytest
from gradio_client import Client

from headroles.explorer import Explorer
from headroles.render.html import ASSETS
from headroles.server.api.api_help import ENDPOINTS
from headroles.server.layout import EXAMPLES, MOVES, build_app, details_of, lay_out
from headroles.server.page.actions import EVENT_FIELDS
from headroles.server.page.handlers import OUTPUTS
from headroles.server.page.page_state import TABS
from headroles.server.page.parts import PARTS, first_visit


@pytest.fixture(scope="module")
def client(explorer: Explorer) -> Iterator[Client]:
    app = build_app(explorer)
    _, url, _ = app.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, server_port=None)
    yield Client(url, verbose=False)
    app.close()


def test_five_examples_are_offered():
    assert len(EXAMPLES) == len(set(EXAMPLES)) == 5


def test_only_the_documented_endpoints_are_public(client):
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(named) == {f"/{name}" for name, _, _ in ENDPOINTS}


@pytest.mark.parametrize(
    ("sent", "details"),
    [
        ({"layer": 1, "head": 2, "role": "", "side": "b"}, {"layer": 1, "head": 2, "role": "", "side": "b"}),
        ({"try": "induction"}, {"try": "induction"}),
        ({"query": "?a=b", "unknown": 7, "__class__": 7, "_data": 7}, {"query": "?a=b"}),
        ({}, {}),
        (None, {}),
        (7, {}),
        ("prompt", {}),
        (["prompt"], {}),
    ],
    ids=str,
)
def test_of_an_event_only_the_names_that_our_scripts_send_are_read_whatever_a_client_sends(sent, details):
    assert details_of(gr.EventData(None, sent)) == details


def test_every_name_that_a_script_sends_is_read():
    scripts = "".join(path.read_text("utf-8") for path in ASSETS.glob("*.js"))
    sent = re.findall(r"trigger\('\w+', \{(.*?)\}\)", scripts)
    names = {part.split(":")[0].strip() for call in sent for part in call.split(",")}
    assert names == set(EVENT_FIELDS)


def test_every_part_and_everything_that_a_handler_names_is_on_the_page(explorer):
    with gr.Blocks():
        here, parts = first_visit(explorer)
        elements = lay_out(here, parts, any_model=False)
    assert set(OUTPUTS) <= set(elements)
    assert {name: elements[name].value for name in PARTS} == parts  # type: ignore[attr-defined]
    labels = {name: elements[f"{name}-tab"].label for name in TABS}  # type: ignore[attr-defined]
    assert labels == TABS
    assert list(TABS.values()) == ["Explore", "Two texts", "Two models", "Training", "Atlas", "Lessons", "API"]


def test_no_two_events_of_an_element_lead_somewhere():
    assert len({(name, event) for name, event, _ in MOVES}) == len(MOVES)
