"""A running app and a real Chromium. Without a browser these tests are skipped with a line that says how to get one."""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Frame, Page, Request, expect, sync_playwright

from tests.fixtures.app_process import link_models, serve, stop
from tests.fixtures.patience import PATIENCE

expect.set_options(timeout=PATIENCE * 1000)
AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str | None:
    return next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def url(tmp_path_factory) -> Iterator[str]:
    """A server for all tests that change nothing on it, with the models that this machine has."""
    process, address = serve(HEADROLES_HOME=str(link_models(tmp_path_factory.mktemp("home"))))
    yield address
    stop(process)


# one for all files of this folder, which run one after the other: while Playwright is there, its event loop runs, and no other
# test can run one of its own
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    chromium = find_chromium()
    if chromium is None:
        why = "no Chromium on this machine; `apt-get install chromium` brings one"
        if os.environ.get("CI"):
            pytest.fail(f"In CI the browser tests must run: {why}")
        pytest.skip(why)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    with open_page(browser, url) as page:
        yield page


def refuse_dialog(dialog: Dialog, faults: list[str]) -> None:
    faults.append(f"dialog: {dialog.message}")
    dialog.dismiss()


@contextmanager
def bare_page(browser: Browser, **options: Any) -> Iterator[Page]:
    """An empty page of a context of its own, which waits as long as all tests do."""
    page = browser.new_page(**options)
    page.set_default_timeout(PATIENCE * 1000)
    yield page
    page.close()


@contextmanager
def open_page(browser: Browser, url: str, query: str = "", width: int = 1280, **options: Any) -> Iterator[Page]:
    """The open page with its first result; fails if a script error or a request to another host happens on it."""
    faults: list[str] = []
    with bare_page(browser, viewport={"width": width, "height": 900}, **options) as page:
        page.on("pageerror", lambda error: faults.append(f"script error: {error}"))
        page.on("dialog", lambda dialog: refuse_dialog(dialog, faults))
        page.on("request", lambda request: faults.append(request.url) if outside(request.url, url) else None)
        page.goto(url + query)
        wait_until_settled(page)
        yield page
    assert not faults


def wait_until_settled(page: Page) -> None:
    """Until a result stands there, or, after a link, the one that it names."""
    is_link = re.search("[?&](model|prompt|head|tab)=", page.url)
    answered = '.hr-tools:not([data-number="0"]), #message .hr-message' if is_link else ".hr-tools"
    page.wait_for_selector(f"body:not(.hr-opening):has({answered}) #tools")
    page.wait_for_selector(
        "[role=tabpanel]:visible :is(.hr-tokens, .hr-lesson, #api-help, #by_prompt, #by_model, #training, #atlas)",
        state="attached",
    )


def wait_until_quiet(page: Page, act: Callable[[], None]) -> None:
    """Does something on the page and waits until all is answered that the page asked the server for because of it."""
    open_requests: set[Request] = set()
    page.on("request", lambda request: open_requests.add(request) if "/queue/" in request.url else None)
    for end in ("requestfinished", "requestfailed"):
        page.on(end, lambda request: open_requests.discard(request))
    with page.expect_request("**/queue/join**"):
        act()
    deadline = time.monotonic() + PATIENCE
    while open_requests:
        assert time.monotonic() < deadline, open_requests
        page.wait_for_timeout(50)  # the events come only meanwhile


def violations(page: Page | Frame) -> list[str]:
    """What axe-core finds serious or critical in the page as it stands: rule, impact and the elements."""
    page.add_script_tag(path=AXE)
    # gradio's own word of a lost connection, which may come at any time, is not ours to colour
    found = page.evaluate("axe.run({exclude: [['.toast-wrap']]}, {resultTypes: ['violations']})")["violations"]
    return [
        f"{each['id']} ({each['impact']}): {each['help']}: {[node['html'][:200] for node in each['nodes'][:3]]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


def has_axe() -> bool:
    """Whether axe-core is here; in CI it must be."""
    if os.environ.get("CI") and not AXE.is_file():
        pytest.fail("In CI the accessibility checks must run, and axe-core is not here; `make test` brings it with npm.")
    return AXE.is_file()


@pytest.fixture(scope="session")
def check_axe():
    """Asserts that axe-core finds nothing serious or critical; skips where it is not installed."""
    if not has_axe():
        pytest.skip("no axe-core; `make test` brings it where there is npm")

    def check(page: Page) -> None:
        assert violations(page) == []

    return check


def outside(address: str, url: str) -> bool:
    return not address.startswith((url, url.replace("http", "ws"), "data:", "blob:"))
