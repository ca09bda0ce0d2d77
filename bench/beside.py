"""The page beside BertViz, and beside an older page, in one run: what opening it and one text cost, in bytes and milliseconds.

    python -m bench.beside [MODEL] [--old FOLDER] [--rounds 5]

FOLDER is another checkout, whose app is opened as well. Told of BertViz are the size of its HTML, and the time of the forward, of
making the HTML and of drawing it: what somebody with a notebook waits for. It needs `pip install -r bench/requirements.txt` and
`npm install --prefix bench`, since its HTML takes scripts from other hosts; without them those figures are left out. Bytes are as
the browser reads them (neither is compressed), times medians.
"""

import argparse
import importlib
import importlib.util
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from playwright.sync_api import Browser, Error, Page, Route, sync_playwright

from analysis.pipeline.sources import locate_model
from bench.measuring import make_prompts
from headroles.core.registry import EMBEDDED_MODEL
from headroles.models.loading.loader import LoadedModel, load_model
from tests.browser.conftest import FLAGS, find_chromium, wait_until_settled
from tests.fixtures.app_process import running_app

LENGTHS = (16, 64, 256)  # tokens of the texts
SLOWER = 4  # how many times a slow processor is slower
PATIENCE = 60_000  # milliseconds; what takes longer is not drawn
OF_GRADIO = ("/assets/", "/static/", "/svelte/")
VIEWS = ("head_view", "model_view")
SCRIPTS = {
    "require.min.js": "requirejs/require.js",
    "d3.min.js": "d3/dist/d3.min.js",
    "jquery.min.js": "jquery/dist/jquery.min.js",
}
PACKAGES = Path(__file__).parent / "node_modules"
# when a part first stood there, in milliseconds
WATCH = """window.opened = null;
const look = () => document.querySelector('%s') ? (opened = performance.now()) : requestAnimationFrame(look);
look();"""
# the milliseconds from the next click to the frame that shows a text of so many tokens
TIME_A_CLICK = """count => {
  window.took = null;
  addEventListener('click', event => {
    const painted = () => setTimeout(() => { took = performance.now() - event.timeStamp; });
    const look = () => requestAnimationFrame(document.querySelector('.hr-tokens')?.children.length == count ? painted : look);
    look();
  }, {capture: true, once: true});
}"""


def count_bytes(page: Page) -> Counter[str]:
    """Returns the bytes that a page has read, of "gradio" and of its "own", which grow as it reads more.

    The browser tells no reliable length on the wire of a stream that the page closes itself.
    """
    urls: dict[str, str] = {}
    read: Counter[str] = Counter()

    def add(event: dict) -> None:
        if (url := urls[event["requestId"]]).startswith("http"):  # not the data of an image, which came with the answer
            read["gradio" if any(part in url for part in OF_GRADIO) else "own"] += event["dataLength"]

    devtools = page.context.new_cdp_session(page)
    devtools.on("Network.requestWillBeSent", lambda event: urls.update({event["requestId"]: event["request"]["url"]}))
    devtools.on("Network.dataReceived", add)
    devtools.send("Network.enable")
    return read


def explore_texts(browser: Browser, url: str, loaded: LoadedModel, rounds: int, slower: int) -> None:
    """Prints what opening the page brings, then what a press on Explore does, and how soon the sentence's marks stand there.

    Args:
        browser: the browser.
        url: the page's address.
        loaded: the model, by the name that the page knows.
        rounds: texts of each length.
        slower: how many times slower the browser's processor is made, but not the server's.
    """
    page = browser.new_page()
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": slower})
    read = count_bytes(page)
    page.goto(url)
    wait_until_settled(page)
    page.wait_for_timeout(2000)  # what the answer itself asks for
    kilobytes = f"{read['own'] / 1000:,.0f} kB and {read['gradio'] / 1000:,.0f} kB of gradio's scripts and fonts"
    print(f"  opening: {kilobytes}; then, on a processor {slower} times slower:", flush=True)
    page.goto(f"{url}?model={loaded.name}&prompt=Once+upon+a+time+there+was+a+small+dog")
    wait_until_settled(page)
    page.wait_for_timeout(3000)  # the model's first forwards belong to none of the texts
    sizes: dict[int, list[int]] = {length: [] for length in LENGTHS}
    times: dict[int, list[float]] = {length: [] for length in LENGTHS}
    # another length each time, so that the number of tokens tells when the page shows the new text
    for length, prompt in zip(cycle(LENGTHS), make_prompts(loaded, LENGTHS * (rounds + 1), seed=1)):
        page.locator("#prompt :is(textarea, input)").first.fill(prompt)
        page.wait_for_timeout(1000)  # whatever typing brings is no part of it
        read.clear()
        page.evaluate(TIME_A_CLICK, length)
        page.locator("#explore").click()
        page.wait_for_function("took !== null", timeout=2 * PATIENCE)
        times[length].append(page.evaluate("took"))
        page.wait_for_timeout(2000)  # what the answer itself asks for
        sizes[length].append(read.total())
    for length in LENGTHS:
        _print_text(length, sizes[length][1:], times[length][1:])  # the first warms up
    page.close()


def draw_texts(browser: Browser, loaded: LoadedModel, view: str, rounds: int) -> None:
    """Prints the size of BertViz' HTML, and the time from the text to the frame that shows its lines."""
    for length in LENGTHS:
        sizes: list[int] = []
        times: list[float] = []
        for prompt in make_prompts(loaded, [length] * (rounds + 1 if length < 256 else 2), seed=1):
            started = time.perf_counter()
            html = bertviz_html(loaded, prompt, view)
            made = (time.perf_counter() - started) * 1000
            sizes.append(len(html))
            if (drawn := draw(browser, html)) is None:
                times.clear()
                break
            times.append(made + drawn)
        _print_text(length, sizes, times[1:])


def bertviz_html(loaded: LoadedModel, prompt: str, view: str) -> bytes:
    """Returns the HTML of one of BertViz' views of all heads."""
    ids = loaded.encode(prompt)
    loaded.model.set_attn_implementation("eager")  # the only one that gives patterns
    with torch.no_grad():
        attention = loaded.model(input_ids=torch.tensor([ids]), output_attentions=True).attentions
    html = getattr(importlib.import_module("bertviz"), view)(attention, list(loaded.token_texts(ids)), html_action="return")
    return html.data.encode()


def draw(browser: Browser, html: bytes) -> float | None:
    """Returns the milliseconds until BertViz' lines stand there, without loading its scripts; None where they never do."""
    if not PACKAGES.exists():
        return None
    page = browser.new_page()
    try:
        page.add_init_script(WATCH % "#vis svg line, #vis svg path")
        page.route("https://cdnjs.cloudflare.com/**", _give_script)
        page.route("http://bertviz.invalid/", lambda route: route.fulfill(body=html, content_type="text/html; charset=utf-8"))
        page.goto("http://bertviz.invalid/", timeout=PATIENCE)
        page.wait_for_function("window.opened", timeout=PATIENCE)
        return page.evaluate("opened")
    except Error:  # too much for the browser, or for our patience
        return None
    finally:
        with suppress(Error):  # it may have died of what it was given
            page.close()


def _give_script(route: Route) -> None:
    route.fulfill(path=PACKAGES / SCRIPTS[route.request.url.rpartition("/")[2]])


def _print_text(length: int, sizes: Sequence[int], times: Sequence[float]) -> None:
    took = f"{statistics.median(times):10,.0f} ms" if times else "not drawn"
    print(f"  {length:>3} tokens  {statistics.median(sizes) / 1000:12,.1f} kB {took:>14}", flush=True)


def main() -> None:
    """Opens this page, the old one where it was named, and BertViz where it is installed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=EMBEDDED_MODEL)
    parser.add_argument("--old", type=Path, help="another checkout")
    parser.add_argument("--rounds", type=int, default=5, help="texts of each length")
    asked = parser.parse_args()
    if not (path := find_chromium()):
        raise SystemExit("There is no Chromium on this machine; `apt-get install chromium` brings one.")
    loaded = load_model(asked.model, locate_model(asked.model))
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=path, args=FLAGS) as browser:
        for folder in filter(None, (Path.cwd(), asked.old)):
            with TemporaryDirectory() as home, running_app(Path(home), folder) as url:
                print(f"The page of {folder.resolve().name}, {asked.model}")
                for slower in (1, SLOWER):
                    explore_texts(browser, url, loaded, asked.rounds, slower)
        if importlib.util.find_spec("bertviz") is None:
            print("Without BertViz; `pip install -r bench/requirements.txt` brings it.")
            return
        for view in VIEWS:
            print(f"BertViz' {view}, {asked.model}")
            draw_texts(browser, loaded, view, asked.rounds)


if __name__ == "__main__":
    main()
