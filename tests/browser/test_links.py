"""Links, frames, downloads, and a server that comes and goes, in a real browser."""

import csv
import functools
import http.server
import io
import json
import re
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from headroles.core.roles.roles import measured_roles
from headroles.render.files.exports import DOWNLOADS
from tests.browser.conftest import bare_page, has_axe, open_page, serve, stop, violations, wait_until_settled
from tests.browser.test_page import assert_in_step, card, cell, prompt_box, type_sentence
from tests.conftest import REPEATING
from tests.fixtures.app_process import find_port
from tests.fixtures.known import known

pytestmark = pytest.mark.browser
LINK = "?model=headroles-tiny&prompt=one+two+three+one+two+three+one&head=L2H1&role=induction"


@pytest.fixture
def linked(browser: Browser, url: str) -> Iterator[Page]:
    with open_page(browser, url, LINK) as page:
        yield page


def test_a_link_opens_what_it_names_in_all_parts_of_the_page(linked: Page, check_axe):
    assert_in_step(linked, "L2H1")
    expect(linked.locator("#text .hr-tokens li")).to_have_count(8)
    expect(prompt_box(linked)).to_have_value("one two three one two three one")
    expect(linked.locator("#view .is-looked-at")).to_contain_text("Induction")
    check_axe(linked)


def test_every_step_is_in_the_address_and_back_leads_to_the_one_before(linked: Page):
    assert_in_step(linked, "L2H1")
    cell(linked, 1, 2).click()
    assert_in_step(linked, "L1H2")
    expect(linked).to_have_url(re.compile("head=L1H2"))
    type_sentence(linked, REPEATING)
    expect(linked).to_have_url(re.compile("prompt=The\\+king"))
    linked.go_back()
    expect(linked.locator("#text .hr-tokens li")).to_have_count(8)
    linked.go_back()
    assert_in_step(linked, "L2H1")
    linked.go_forward()
    assert_in_step(linked, "L1H2")


def test_a_comparison_and_a_tab_are_in_the_address_and_a_reload_shows_them_again(linked: Page):
    linked.get_by_role("tab", name="Two texts").click()
    linked.locator("#other-prompt textarea, #other-prompt input").first.fill("Once upon a time")
    linked.get_by_role("button", name="Compare texts").click()
    expect(linked.locator("#by_prompt")).to_contain_text("From A to B")
    expect(linked).to_have_url(re.compile("other_prompt=Once.*tab=prompts"))
    linked.reload()
    wait_until_settled(linked)
    expect(linked.locator("#by_prompt")).to_contain_text("From A to B")
    linked.get_by_role("tab", name="Lessons").click()
    expect(linked).to_have_url(re.compile("tab=learn"))


def test_a_tab_turned_to_while_an_answer_is_under_way_stays_and_loses_nothing_of_it(linked: Page):
    held: list[Route] = []
    answers = threading.Event()
    linked.route("**/queue/join**", lambda route: route.continue_() if answers.is_set() else held.append(route))
    type_sentence(linked, REPEATING)
    linked.get_by_role("tab", name="Lessons").click()
    expect(linked).to_have_url(re.compile("prompt=one\\+two.*tab=learn"))  # at once, the answer is not there yet
    answers.set()
    for route in held:
        route.continue_()
    expect(linked).to_have_url(re.compile("prompt=The\\+king.*tab=learn"))
    expect(linked.get_by_role("tab", name="Lessons")).to_have_attribute("aria-selected", "true")
    linked.locator('[data-try="previous_token"]').first.click()
    expect(linked.get_by_role("tab", name="Explore")).to_have_attribute("aria-selected", "true")
    expect(linked).not_to_have_url(re.compile("tab=learn"))  # the step is written, and can be gone back
    linked.go_back()  # one step, though text, head and tab changed with it
    expect(linked.get_by_role("tab", name="Lessons")).to_have_attribute("aria-selected", "true")
    expect(linked).to_have_url(re.compile("prompt=The\\+king.*tab=learn"))
    cell(linked, 0, 3)
    linked.get_by_role("tab", name="Explore").click()
    cell(linked, 0, 3).click()
    expect(linked).to_have_url(re.compile("prompt=The\\+king.*head=L0H3"))
    linked.go_back()  # a step after going back is a step of its own
    expect(linked).to_have_url(re.compile("prompt=The\\+king(?!.*head=L0H3)"))


@pytest.mark.parametrize(
    ("query", "answer"), [("tab=explore", ".hr-tools:not([data-number='0'])"), ("model=no-such-model", "#message .hr-message")]
)
def test_a_link_to_what_the_page_shows_anyway_or_to_nothing_shows_at_once(browser: Browser, url: str, query: str, answer: str):
    with bare_page(browser) as page:
        # after five seconds the page opens by itself; here it never does
        page.add_init_script(
            "{ const real = window.setTimeout;"
            "window.setTimeout = (act, wait, ...more) => (wait === 5000 ? 0 : real.call(window, act, wait, ...more)); }"
        )
        page.goto(f"{url}?{query}")
        page.wait_for_selector(answer, state="attached")
        page.wait_for_selector("body:not(.hr-opening)")


def test_the_theme_is_in_the_address_and_stays_on_the_way(linked: Page, check_axe):
    linked.get_by_role("button", name="Light or dark").click()
    expect(linked.locator("body.dark")).to_have_count(1)
    expect(linked).to_have_url(re.compile("__theme=dark"))
    check_axe(linked)
    cell(linked, 1, 2).click()
    expect(linked).to_have_url(re.compile("head=L1H2.*__theme=dark"))


def test_copy_link_and_copy_embed_code_give_what_opens_the_same_state(browser: Browser, url: str):
    with open_page(browser, url, LINK, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.get_by_role("button", name="Copy link").click()
        expect(page.locator(".hr-copied")).to_contain_text("Link copied.")
        assert page.evaluate("navigator.clipboard.readText()") == page.url
        page.get_by_role("button", name="Copy embed code").click()
        expect(page.locator(".hr-copied")).to_contain_text("Embed code copied.")
        code = page.evaluate("navigator.clipboard.readText()")
        frame = page.evaluate(
            "code => { const t = document.createElement('template'); t.innerHTML = code; return t.content.firstChild.src }", code
        )
        assert frame == page.url + "&embed=1"
        assert page.context.cookies() == []  # nothing of the visitor's is kept, here or there
        assert page.evaluate("localStorage.length + sessionStorage.length") == 0


def test_a_head_is_cited_in_a_line_and_in_bibtex_with_the_link(browser: Browser, url: str):
    with open_page(browser, url, LINK, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.get_by_text("Cite this head").click()
        for name, end in (("Copy with its link", ""), ("Copy BibTeX", "}\n}")):
            for _ in range(2):  # the link is added once
                page.get_by_role("button", name=name).click()
                expect(page.get_by_role("button", name=name).locator("+ span")).to_have_text("Copied.")
            copied = page.evaluate("navigator.clipboard.readText()")
            assert copied.endswith(page.url + end)
            assert copied.count(page.url) == 1
        assert copied.startswith("@misc{headroles,")


def test_without_leave_to_copy_the_text_stands_there_to_be_copied(browser: Browser, url: str):
    with open_page(browser, url, LINK) as page:
        page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
        page.get_by_role("button", name="Copy link").click()
        expect(page.locator(".hr-copied input")).to_have_value(page.url)


@pytest.fixture
def course(url: str, tmp_path: Path) -> Iterator[str]:
    """A course page on another origin that embeds the page as its embed code does."""
    source = f"{url}{LINK}&embed=1&__theme=dark".replace("&", "&amp;")
    frame = f'<iframe src="{source}" width="640" height="900" title="headroles"></iframe>'
    page = f'<!doctype html><html lang="en"><title>Course</title><h1>Course</h1>{frame}'
    (tmp_path / "index.html").write_text(page, "utf-8")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()


def test_a_frame_on_another_origin_is_compact_dark_and_leads_back(browser: Browser, url: str, course: str, check_axe):
    with bare_page(browser) as page:
        page.goto(course)
        frame = next(frame for frame in page.frames if frame.url.startswith(url))
        frame.wait_for_selector("body.dark.hr-embed:not(.hr-opening) #view h2")
        inside = page.frame_locator("iframe")
        expect(inside.locator("#view h2")).to_contain_text("L2H1")
        expect(inside.locator("#panel")).to_be_hidden()
        expect(inside.locator(".hr-top")).to_be_hidden()
        expect(inside.get_by_role("tab").first).to_be_hidden()
        assert frame.evaluate("document.documentElement.scrollWidth") <= 640
        back = inside.get_by_role("link", name="Open in headroles")
        assert "embed" not in known(back.get_attribute("href"))
        assert "head=L2H1" in known(back.get_attribute("href"))
        inside.locator('.hr-cell[data-layer="1"][data-head="2"]').click()
        expect(inside.locator("#view h2")).to_contain_text("L1H2")
        assert violations(frame) == []
        page.go_back()  # clicks in the frame are no steps of the page around it
        assert page.url == "about:blank"


def test_a_frame_of_a_comparison_shows_it_and_leads_back_to_it(browser: Browser, url: str):
    with open_page(browser, url, f"{LINK}&other_prompt=Once&tab=prompts&embed=1&__theme=dark", 640) as page:
        expect(page.locator("#by_prompt")).to_contain_text("From A to B")
        expect(page.locator("#view")).to_be_hidden()
        assert page.evaluate("document.documentElement.scrollWidth") <= 640
        page.locator("#by_prompt .hr-open").first.click()
        expect(page.locator("#view h2")).to_be_visible()
        page.get_by_role("tab", name="Two texts").click()
        expect(page.locator("#by_prompt")).to_be_visible()
        with page.expect_popup() as opened:
            page.get_by_role("link", name="Open in headroles").click()
        back = opened.value
        wait_until_settled(back)
        expect(back.locator("body.dark:not(.hr-embed)")).to_have_count(1)
        expect(back.get_by_role("tab", name="Two texts")).to_have_attribute("aria-selected", "true")
        expect(back.locator("#by_prompt")).to_contain_text("From A to B")
        back.close()


@pytest.mark.parametrize(("width", "query"), [(640, "?embed=1"), (360, "?embed=1"), (360, "")])
def test_a_narrow_page_cuts_no_line_of_the_sentence_off(browser: Browser, url: str, width: int, query: str):
    with open_page(browser, url, query, width) as page:
        hidden = "box => box.scrollHeight - box.clientHeight"
        assert page.locator("#prompt textarea").evaluate(hidden) <= 0
        prompt_box(page).fill("one two three four five six seven eight nine ten " * 2)
        assert page.locator("#prompt textarea").evaluate(hidden) <= 0


def save(page: Page, name: str) -> bytes:
    if not page.locator(".hr-tools details").evaluate("menu => menu.open"):  # it stays open for the next file
        page.locator(".hr-tools summary").click()
    with page.expect_download() as waiting:
        page.locator(f'[data-download="{name}"]').click()
    assert re.fullmatch(rf"[A-Za-z0-9._-]{{5,120}}\.{name.split('.')[1]}", waiting.value.suggested_filename)
    return Path(waiting.value.path()).read_bytes()


def test_every_download_opens_and_holds_what_the_page_shows(linked: Page, browser: Browser, tmp_path: Path):
    assert_in_step(linked, "L2H1")
    files = {name: save(linked, name) for name in DOWNLOADS}
    for name in ("heatmap.png", "map.png"):
        image = Image.open(io.BytesIO(files[name]))
        image.load()
        assert image.format == "PNG"
        assert min(image.size) > 200
    for name in ("heatmap.svg", "map.svg"):
        assert ET.fromstring(files[name]).tag.endswith("svg")
    assert "L2H1" in known(ET.fromstring(files["heatmap.svg"])[0].text)
    rows = list(csv.DictReader(io.StringIO(files["scores.csv"].decode())))
    assert len(rows) == 4 * 8 * len(measured_roles())
    assert {row["is_active"] for row in rows} == {"True", "False"} or {row["is_active"] for row in rows} == {"true", "false"}
    analysis = json.loads(files["analysis.json"])
    assert analysis["prompt"] == "one two three one two three one"
    assert len(analysis["tokens"]) == 8
    (tmp_path / "page.html").write_bytes(files["page.html"])
    context = browser.new_context(offline=True)
    page = context.new_page()
    asked, faults = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.goto((tmp_path / "page.html").as_uri())
    assert_in_step(page_of_file(page), "L2H1")
    # nobody is there to answer them
    expect(page.locator(":is(.hr-head, .hr-open, .hr-try, .hr-ask):visible:enabled")).to_have_count(0)
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) <= 2
    page.locator("[data-axis=queries]").first.focus()
    page.keyboard.press("End")
    expect(page.locator(".hr-said").first).to_contain_text("(8) looks most at")
    assert [address for address in asked if not address.startswith(("file:", "data:"))] == []
    assert faults == []
    assert not has_axe() or violations_without_policy(page, files["page.html"], tmp_path) == []
    context.close()


def page_of_file(page: Page) -> Page:
    """The saved page with the ids of the live one, so that one check serves both."""
    page.evaluate("for (const part of document.querySelectorAll('[data-part]')) part.id = part.dataset.part")
    return page


def violations_without_policy(page: Page, content: bytes, folder: Path) -> list[str]:
    """What axe-core finds in the saved page; its content policy, which keeps axe out, is taken off for that."""
    (folder / "open.html").write_bytes(re.sub(rb"<meta http-equiv[^>]*>", b"", content))
    page.goto((folder / "open.html").as_uri())
    return violations(page)


def test_the_same_file_can_be_saved_twice(linked: Page):
    assert save(linked, "scores.csv") == save(linked, "scores.csv")


@pytest.fixture
def restarted() -> Iterator[SimpleNamespace]:
    """A server that a test may stop and start again at the same address."""
    server = SimpleNamespace(port=find_port())

    def start() -> None:
        server.process, server.url = serve(port=server.port)

    server.start, server.stop = start, lambda: stop(server.process)
    start()
    yield server
    server.stop()


def test_a_server_that_goes_and_comes_back_loses_nothing_on_the_page(browser: Browser, restarted: SimpleNamespace, check_axe):
    with bare_page(browser) as page:
        page.goto(restarted.url + LINK)
        wait_until_settled(page)
        assert_in_step(page, "L2H1")
        restarted.stop()
        prompt_box(page).fill("typed while nobody listens")
        with page.expect_event("requestfailed"):
            cell(page, 1, 2).click()
        expect(page.locator("#view h2")).to_contain_text("L2H1")  # the last result stays on the screen
        expect(page.locator("#text .hr-tokens li")).to_have_count(8)
        check_axe(page)
        page.get_by_role("tab", name="Lessons").click()  # nobody needs to be asked for what is there already
        expect(page.locator(".hr-lesson").first).to_be_visible()
        page.get_by_role("tab", name="Explore").click()
        with page.expect_navigation():  # gradio loads the page again when the server answers
            restarted.start()
        wait_until_settled(page)
        assert_in_step(page, "L2H1")
        expect(prompt_box(page)).to_have_value("typed while nobody listens")
        cell(page, 1, 2).click()
        assert_in_step(page, "L1H2")  # on the text that the page shows, not on the one that is only typed
        expect(page.locator("#view .hr-heatmap")).to_have_attribute("alt", re.compile("over 8 tokens"))
        type_sentence(page, REPEATING)
        expect(card(page, "induction")).to_contain_text("● seen")
