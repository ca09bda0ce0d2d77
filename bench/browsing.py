"""What the bench does in a real browser: counts bytes, slows the processor down, times clicks to the frame that shows them."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.conftest import FLAGS, find_chromium

SLOWER = 4  # how many times the journey's processor is slowed down
NO_CHROMIUM = "  no Chromium on this machine; `apt-get install chromium` brings one"
# the page's parts; the first list of tokens is the prompt's
MODEL, PROMPT, EXPLORE = "#model input", "#prompt textarea, #prompt input", "#explore"
TOKENS, HEAD_LABELS, VIEW, COPY_LINK = ".hr-tokens", ".hr-head .hr-label", ".hr-view h2", "[data-copy=link]"
# when the first panel stood there, and the longest task since somebody set it to 0; both in milliseconds
WATCH = """window.longest = 0; window.opened = null;
new PerformanceObserver(list => { for (const task of list.getEntries()) longest = Math.max(longest, task.duration); })
  .observe({type: 'longtask'});
const look = () => document.querySelector('%s') ? (opened = performance.now()) : requestAnimationFrame(look);
look();"""
# the milliseconds from the next click to the frame that shows what it is for
TIME_A_CLICK = """window.took = null; window.longest = 0;
addEventListener('click', event => {
  const painted = () => setTimeout(() => { took = performance.now() - event.timeStamp; });
  const look = () => requestAnimationFrame((%s) ? painted : look);
  look();
}, {capture: true, once: true});"""


@contextmanager
def chromium() -> Iterator[Browser | None]:
    """A browser, or None and a line that says how to get one."""
    if not (path := find_chromium()):
        print(NO_CHROMIUM)
        yield None
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Traffic:
    """The bytes of the answers to the requests of a page that begin after `start`.

    As the page reads them: of a stream that the page closes itself, the browser tells no reliable length on the wire.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        devtools = page.context.new_cdp_session(page)
        devtools.on("Network.requestWillBeSent", self._begin)
        devtools.on("Network.dataReceived", self._add)
        for ending in ("loadingFinished", "loadingFailed"):  # the page ends its stream by breaking it off
            devtools.on(f"Network.{ending}", lambda event: self._open.discard(event["requestId"]))
        devtools.send("Network.enable")
        self.start()

    def start(self) -> None:
        self._open: set[str] = set()
        self._read: dict[str, int] = {}
        self._urls: dict[str, str] = {}

    def finish(self) -> dict[str, int]:
        """Of each address, once all requests have ended."""
        self._page.wait_for_timeout(500)  # what the answer itself asks for
        while self._open:
            self._page.wait_for_timeout(100)
        sizes: dict[str, int] = {}
        for request, size in self._read.items():
            sizes[self._urls[request]] = sizes.get(self._urls[request], 0) + size
        return sizes

    def _begin(self, event: Mapping[str, Any]) -> None:
        if event["request"]["url"].startswith("http"):  # not the data of an image, which came with the answer
            self._open.add(event["requestId"])
            self._read[event["requestId"]] = 0
            self._urls[event["requestId"]] = event["request"]["url"]

    def _add(self, event: Mapping[str, Any]) -> None:
        if event["requestId"] in self._read:
            self._read[event["requestId"]] += event["dataLength"]


def open_slowly(browser: Browser, url: str) -> Page:
    """The page on a slowed-down processor with nothing kept from earlier visits, once its first panel stands."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    page.add_init_script(WATCH % TOKENS)
    page.goto(url)
    page.wait_for_function("window.opened", timeout=120_000)
    page.wait_for_timeout(3000)  # what it still does in the background belongs to opening
    return page


def type_slowly(page: Page, text: str) -> tuple[float, float]:
    """The milliseconds a key stroke takes until the page is ready for the next, and the longest task."""
    page.locator(PROMPT).first.fill("")
    page.evaluate("longest = 0")
    started = time.perf_counter()
    page.keyboard.type(text)
    return (time.perf_counter() - started) * 1000 / len(text), longest_task(page)


def time_explore(page: Page, count: int) -> tuple[float, float]:
    """From a click on Explore to a panel of `count` tokens; what it took, and its longest task."""
    button = page.locator(EXPLORE)
    return time_click(page, button.click, token_count(count))


def token_count(count: int) -> str:
    """The JavaScript condition that the page shows a prompt of so many tokens."""
    return f"document.querySelector('{TOKENS}')?.children.length == {count}"


def time_head(page: Page) -> tuple[float, float]:
    """From a click on a head that is not open to its view; what it took, and its longest task."""
    opened = page.locator(VIEW).first.inner_text().split()
    labels = page.locator(HEAD_LABELS).all_inner_texts()
    label = random.choice([label for label in labels if label not in opened])
    head = page.locator(HEAD_LABELS).nth(labels.index(label))
    return time_click(page, head.click, f"document.querySelector('{VIEW}').textContent.includes('{label} ')")


def time_click(page: Page, click: Callable[[], None], condition: str) -> tuple[float, float]:
    """The milliseconds from a click to the frame in which a JavaScript condition holds, and the longest task."""
    page.evaluate(TIME_A_CLICK % condition)
    click()
    page.wait_for_function("took !== null", timeout=120_000)
    return page.evaluate("took"), longest_task(page)


def longest_task(page: Page) -> float:
    """The longest task of the page's main thread since it was set to 0, in milliseconds; 0 where none took over 50."""
    page.wait_for_timeout(500)  # tasks are told of late
    return page.evaluate("longest")
