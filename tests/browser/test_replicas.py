"""Two replicas behind nginx at a path of its own, by deploy/nginx.conf: who answers what, and what is lost when one dies."""

import contextlib
import http.client
import json
import re
import time
from collections.abc import Iterator
from urllib.parse import urljoin

import pytest
from playwright.sync_api import Browser, expect

from bench.load import is_equal
from headroles.core.registry import EMBEDDED_MODEL
from headroles.explorer import Explorer
from headroles.render.plain import analysis_result
from headroles.server.place import FIRST_PROMPT
from tests.browser.conftest import open_page
from tests.browser.test_links import save
from tests.browser.test_page import type_sentence
from tests.conftest import PLAIN, REPEATING
from tests.fixtures.app_process import take_offer
from tests.fixtures.architectures import build
from tests.fixtures.replicas import Cluster, has_nginx, replicas

pytestmark = pytest.mark.skipif(not has_nginx(), reason="no nginx on this machine; `apt-get install nginx` brings one")
ANALYSES = "coring all heads of"  # what the page says meanwhile


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("replicas")
    with replicas(folder, "/roles", HEADROLES_ANY_MODEL="1", HF_HUB_OFFLINE="1", HF_HOME=str(folder / "hub")) as cluster:
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
    pages = [cluster.ask("/", Host=f"127.0.0.1:{cluster.port}", **{"X-Forwarded-Host": "evil.example"}) for _ in range(4)]
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
    alone = json.loads(json.dumps(analysis_result(explorer.analyze(EMBEDDED_MODEL, REPEATING))))
    for port, visitor in visitors.items():
        event = cluster.hand_in("analyze", [EMBEDDED_MODEL, REPEATING], visitor)
        mover = next(other for other in visitors.values() if other != visitor)  # whose address is another one by now
        answer = cluster.ask(f"/gradio_api/call/analyze/{event}", mover)
        assert answer.replicas[-1] == port != answer.replicas[0]
        assert is_equal(json.loads(answer.body.split("data: ")[-1])[0], alone)
    nobody = cluster.ask("/gradio_api/call/analyze/" + 32 * "0")
    assert (nobody.status, len(nobody.replicas)) == (404, 2)
    assert nobody.body.startswith("event: error")


def test_links_embed_code_downloads_and_the_page_itself_work_at_the_path_and_outlive_a_replica(
    cluster: Cluster, browser: Browser
):
    url = f"http://127.0.0.1:{cluster.port}/roles/"
    port = cluster.replica_of(1)
    allowed = {"permissions": ["clipboard-read", "clipboard-write"]}
    with open_page(browser, url, **allowed) as page:
        copied = []
        for name, said in (("Copy link", "Link copied."), ("Copy embed code", "Embed code copied.")):
            page.get_by_role("button", name=name).click()
            expect(page.locator(".hr-copied")).to_have_text(said)
            copied.append(page.evaluate("navigator.clipboard.readText()"))
        assert copied[0].startswith(f"{url}?model=headroles-tiny&")
        assert f'src="{url}?model=' in copied[1]
        assert len(save(page, "scores.csv").splitlines()) > 32  # a line a head and role
        cluster.kill(port)
        type_sentence(page, PLAIN)  # the page goes on with the other one
        expect(page.locator("#text .hr-tokens")).to_contain_text("garden")
    with open_page(browser, copied[0]) as page:
        expect(page.locator("#prompt textarea")).to_have_value(FIRST_PROMPT)
    cluster.restart(port)


def test_a_replica_that_dies_costs_its_own_requests_alone_and_what_was_analysed_serves_both(
    cluster: Cluster, visitors: dict[int, int], tiny, tmp_path
):
    build("gpt2", n_layer=1, n_head=2, n_embd=32).save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    model, url = str(tmp_path), f"http://127.0.0.1:{cluster.port}/roles/"
    port, (other,) = cluster.replica_of(1), {*cluster.replicas} - {cluster.replica_of(1)}
    mine, theirs = visitors[port], visitors[other]
    assert mine == 1
    seen = []
    with contextlib.suppress(OSError, http.client.HTTPException):  # the connection breaks, or ends too early
        for line in take_offer(url, model):
            seen.append(line)
            if ANALYSES in line:
                cluster.kill(port)
    assert ANALYSES in "".join(seen)
    assert "process_completed" not in seen[-1]
    answer = cluster.ask(f"/gradio_api/call/analyze/{cluster.hand_in('analyze', [EMBEDDED_MODEL, PLAIN], theirs)}", theirs)
    assert answer.body.startswith("event: complete")
    assert answer.replicas == (other,)
    assert "process_completed" in list(take_offer(url, model))[-1]  # asked again, the other one does it
    cluster.restart(port)
    deadline = time.monotonic() + 60
    while cluster.replica_of(1) != port:  # as soon as the proxy sees that it is back
        assert time.monotonic() < deadline
        time.sleep(0.5)
    event = cluster.hand_in("categories", [model], mine)
    assert cluster.ask(f"/gradio_api/call/categories/{event}", mine).body.startswith("event: complete")
