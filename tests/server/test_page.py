"""The page's app as a client meets it, over HTTP."""

from collections.abc import Iterator

import pytest
from gradio_client import Client

from headroles.explorer import Explorer
from headroles.server.api_help import ENDPOINTS
from headroles.server.page import EXAMPLES, build_app


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
