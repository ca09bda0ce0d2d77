"""Two replicas behind nginx at a path of its own, by deploy/nginx.conf: who answers what, and what is lost when one dies."""

import asyncio
import contextlib
import http.client
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urljoin

import pytest
from playwright.sync_api import Browser, expect

from bench.answers import is_equal
from headroles.core.registry import EMBEDDED_MODEL
from headroles.explorer import Explorer
from headroles.models.loading.loader import LoadedModel
from headroles.render.api.schema import analysis_result
from headroles.server.page.page_state import FIRST_PROMPT
from tests.browser.conftest import open_page
from tests.browser.test_links import save
from tests.browser.test_page import type_sentence
from tests.conftest import PLAIN, REPEATING
from tests.fixtures.app_process import take_offer
from tests.fixtures.architectures import build
from tests.fixtures.replicas import Cluster, has_nginx, replicas

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(not has_nginx(), reason="no nginx on this machine; `apt-get install nginx` brings one"),
]
ANALYSES = "coring all heads of"  # what the page says meanwhile


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("replicas")
    mcp = {"HEADROLES_MCP": "1"} if find_spec("mcp") else {}
    with replicas(folder, "/roles", HEADROLES_ANY_MODEL="1", HF_HUB_OFFLINE="1", HF_HOME=str(folder / "hub"), **mcp) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def visitors(cluster: Cluster) -> dict[int, int]:
    """A visitor for each replica, by its port: the first is the one that clients without an address of their own are."""
    found: dict[int, int] = {}
    for visitor in range(1, 60):
        found.setdefault(cluster.replica_of(visitor), visitor)
        if len(found) == 2:
            return found
    raise AssertionError("all visitors went to one replica")


def test_the_page_its_files_and_its_description_are_the_same_at_both_and_of_the_path_that_was_asked_for(cluster: Cluster):
    root = f"http://127.0.0.1:{cluster.port}/roles"
    forged = {"Host": f"127.0.0.1:{cluster.port}", "X-Forwarded-Host": "evil.example"}
    pages = [cluster.ask("/", 1, None, **forged) for _ in range(4)]
    assert {page.replicas for page in pages} == {(port,) for port in cluster.replicas}  # in turns
    for page in pages:
        assert re.findall(r'"root":\s*"([^"]*)"', page.body) == [root]
        assert "evil.example" not in page.body
    files = set(re.findall(r'(?:src|href)="(\.[^"]+\.(?:js|css))"', pages[0].body))
    assert files
    assert {cluster.ask(urljoin("/roles/", file).removeprefix("/roles")).status for file in files for _ in range(2)} == {200}
    one, other = (json.loads(cluster.ask("/config").body) for _ in range(2))
    assert one.pop("app_id") != other.pop("app_id")
    assert one == other


def test_both_answer_as_one_alone_does_and_an_answer_is_found_by_whoever_has_its_name(
    cluster: Cluster, visitors: dict[int, int], explorer: Explorer
):
    alone = json.loads(json.dumps(analysis_result(explorer.analyze(EMBEDDED_MODEL, REPEATING)).model_dump()))
    for port, visitor in visitors.items():
        mover = next(other for other in visitors.values() if other != visitor)  # whose address is another one by now
        _, answer = cluster.call("analyze", [EMBEDDED_MODEL, REPEATING], visitor, mover)
        assert answer.replicas[-1] == port != answer.replicas[0]
        assert is_equal(json.loads(answer.body.split("data: ")[-1])[0], alone)
    nobody = cluster.ask("/gradio_api/call/analyze/" + 32 * "0")
    assert (nobody.status, len(nobody.replicas)) == (404, 2)
    assert nobody.body.startswith("event: error")


def test_links_embed_code_and_downloads_work_at_a_path_of_its_own(cluster: Cluster, browser: Browser):
    url = f"http://127.0.0.1:{cluster.port}/roles/"
    with open_page(browser, url, permissions=["clipboard-read", "clipboard-write"]) as page:
        copied = []
        for name, said in (("Copy link", "Link copied."), ("Copy embed code", "Embed code copied.")):
            page.get_by_role("button", name=name).click()
            expect(page.locator(".hr-copied")).to_have_text(said)
            copied.append(page.evaluate("navigator.clipboard.readText()"))
        assert copied[0].startswith(f"{url}?model=headroles-tiny&")
        assert f'src="{url}?model=' in copied[1]
        assert len(save(page, "scores.csv").splitlines()) > 32  # a line a head and role
    with open_page(browser, url, copied[0].removeprefix(url)) as page:
        expect(page.locator("#prompt textarea")).to_have_value(FIRST_PROMPT)


def test_a_chat_client_keeps_its_tools_when_the_replica_that_it_talked_to_dies(cluster: Cluster):
    """Its session is its own: no replica remembers it."""
    mcp = pytest.importorskip("mcp", reason="`pip install 'gradio[mcp]'` brings it")
    from mcp.client.streamable_http import streamablehttp_client  # pyright: ignore[reportMissingImports]  # skipped without it

    address = f"http://127.0.0.1:{cluster.port}/roles/gradio_api/mcp/"
    port = cluster.replica_of(1)  # of clients without an address of their own

    async def use() -> None:
        async with streamablehttp_client(address) as (read, write, _), mcp.ClientSession(read, write) as session:
            await session.initialize()
            answers = [await session.call_tool("analyze", {"model": EMBEDDED_MODEL, "prompt": REPEATING})]
            cluster.kill(port)
            answers.append(await session.call_tool("analyze", {"model": EMBEDDED_MODEL, "prompt": REPEATING}))
            assert len((await session.list_tools()).tools) > 10
            assert not any(answer.isError for answer in answers)
            assert answers[0].content == answers[1].content

    try:
        with ThreadPoolExecutor(1) as thread:  # Playwright has an event loop in this one
            thread.submit(asyncio.run, use()).result()
    finally:
        cluster.restart(port)
        cluster.wait_for(1, port)


def test_a_replica_that_dies_costs_its_own_requests_alone_pages_go_on_and_what_is_analysed_serves_both(
    cluster: Cluster, visitors: dict[int, int], browser: Browser, tiny: LoadedModel, tmp_path: Path
):
    build("gpt2", n_layer=6, n_embd=256).save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)  # pyright: ignore[reportAttributeAccessIssue]
    model, url = str(tmp_path), f"http://127.0.0.1:{cluster.port}/roles/"
    port = cluster.replica_of(1)  # the browser's and `take_offer`'s
    (other,) = {*cluster.replicas} - {port}
    with open_page(browser, url) as page:
        lines = []
        with contextlib.suppress(OSError, http.client.HTTPException):  # the connection breaks, or ends too early
            for line in take_offer(url, model):
                lines.append(line)
                if ANALYSES in line:
                    cluster.kill(port)
        assert ANALYSES in "".join(lines)
        assert "process_completed" not in "".join(lines)
        taken, answer = cluster.call("analyze", [EMBEDDED_MODEL, PLAIN], visitors[other])
        assert "event: complete" in answer.body  # maybe after heartbeats
        assert (taken.replicas, answer.replicas) == ((other,), (other,))
        type_sentence(page, PLAIN)
        expect(page.locator("#text .hr-tokens")).to_contain_text("garden")
    assert "process_completed" in list(take_offer(url, model))[-1]  # asked again, the other one does it
    cluster.restart(port)
    cluster.wait_for(1, port)
    taken, answer = cluster.call("categories", [model], 1)
    assert taken.replicas == (port,)
    assert "event: complete" in answer.body  # maybe after heartbeats
