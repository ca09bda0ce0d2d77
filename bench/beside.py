"""The page beside BertViz, and beside an older page, in one run: what opening it and one text cost, in bytes and milliseconds.

    python -m bench.beside [MODEL] [--old FOLDER]

FOLDER is another checkout, whose app is opened as well. Of BertViz are told the size of its HTML, and the time of the forward, of
making the HTML and of drawing it: what somebody with a notebook waits for. It needs `pip install -r bench/requirements.txt` and
`npm install --prefix bench`, since its HTML takes scripts from other hosts; without them those figures are left out. Bytes are as
the browser reads them (neither is compressed), times the medians of ROUNDS texts.
"""

import argparse
import importlib
import importlib.util
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from playwright.sync_api import Browser, Error, Route

from analysis.runs import locate
from bench.browsing import EXPLORE, PROMPT, SLOWER, TOKENS, WATCH, Traffic, chromium, time_click, token_count
from bench.load import make_prompts
from headroles.core.registry import EMBEDDED_MODEL
from headroles.models.loading.loader import LoadedModel, load_model
from tests.browser.conftest import wait_until_settled
from tests.fixtures.app_process import running_app

LENGTHS = (16, 64, 256)
ROUNDS = 5
VISITS = 3
PATIENCE = 60_000  # milliseconds; what takes longer is not drawn
GRADIOS = ("/assets/", "/static/", "/svelte/")
VIEWS = ("head_view", "model_view")
NO_BERTVIZ = "  without BertViz; `pip install -r bench/requirements.txt` brings it"
SCRIPTS = {
    "require.min.js": "requirejs/require.js",
    "d3.min.js": "d3/dist/d3.min.js",
    "jquery.min.js": "jquery/dist/jquery.min.js",
}
PACKAGES = Path(__file__).parent / "node_modules"


def opening(browser: Browser, url: str) -> None:
    """Prints what opening the page costs somebody who was never there, and once more, with gradio's scripts kept."""
    first: list[float] = []
    again: list[float] = []
    sizes: dict[str, int] = {}
    for _ in range(VISITS):
        context = browser.new_context()
        for taken in (first, again):
            page = context.new_page()
            page.add_init_script(WATCH % TOKENS)
            traffic = Traffic(page)
            page.goto(url)
            page.wait_for_function("window.opened", timeout=PATIENCE)
            taken.append(page.evaluate("opened"))
            sizes = sizes or traffic.finish()
            page.close()
        context.close()
    gradios = sum(size for address, size in sizes.items() if any(part in address for part in GRADIOS))
    own = sum(sizes.values()) - gradios
    print(
        f"  {'opening':<12}{own / 1000:12,.0f} kB and {gradios / 1000:,.0f} kB of gradio's scripts and fonts; "
        f"{statistics.median(first):,.0f} ms, {statistics.median(again):,.0f} ms with those kept",
        flush=True,
    )


def texts_on_page(browser: Browser, url: str, model: str, loaded: LoadedModel, slower: int = 1) -> None:
    """Prints what a press on Explore brings, and how long it takes until the sentence with its marks stands there; on a processor
    so many times slower, which the server does not share.
    """
    page = browser.new_page()
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": slower})
    traffic = Traffic(page)
    page.goto(f"{url}?model={model}&prompt=Once+upon+a+time+there+was+a+small+dog")
    wait_until_settled(page)
    page.wait_for_timeout(3000)  # the model's first forwards are none of the texts'
    sizes: dict[int, list[int]] = {length: [] for length in LENGTHS}
    times: dict[int, list[float]] = {length: [] for length in LENGTHS}
    # another length each time, by which the page is seen to show the new text
    for length, prompt in zip(cycle(LENGTHS), make_prompts(loaded, LENGTHS * (ROUNDS + 1), seed=1)):
        page.locator(PROMPT).first.fill(prompt)
        page.wait_for_timeout(1000)  # whatever typing brings is no part of it
        traffic.start()
        times[length].append(time_click(page, page.locator(EXPLORE).click, token_count(length))[0])
        page.wait_for_timeout(1000)  # what comes after the answer
        sizes[length].append(sum(traffic.finish().values()))
    for length in LENGTHS:
        _print_text(length, sizes[length][1:], times[length][1:])  # the first warms up
    page.close()


def texts_in_bertviz(browser: Browser, loaded: LoadedModel, view: str) -> None:
    """Prints the size of the HTML, and the time from the text to the frame that shows its lines."""
    for length in LENGTHS:
        sizes: list[int] = []
        times: list[float] = []
        for prompt in make_prompts(loaded, [length] * (ROUNDS if length < 256 else 2), seed=1):
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
    """The HTML of one of BertViz' views of all heads."""
    ids = loaded.encode(prompt)
    loaded.model.set_attn_implementation("eager")  # the only one that gives patterns
    with torch.no_grad():
        attention = loaded.model(input_ids=torch.tensor([ids]), output_attentions=True).attentions
    html = getattr(importlib.import_module("bertviz"), view)(attention, list(loaded.token_texts(ids)), html_action="return")
    return html.data.encode()


def draw(browser: Browser, html: bytes) -> float | None:
    """The milliseconds until BertViz' lines stand there, without those for its scripts to come; None where they never do."""
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


def apps(old: Path | None, stack: ExitStack) -> Iterator[tuple[str, str]]:
    """What each page is called, and its address."""
    for name, folder in (("this page", Path.cwd()), ("the old page", old)):
        if folder is not None:
            yield name, stack.enter_context(running_app(Path(stack.enter_context(TemporaryDirectory())), folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=EMBEDDED_MODEL)
    parser.add_argument("--old", type=Path, help="another checkout")
    asked = parser.parse_args()
    loaded = load_model(asked.model, locate(asked.model))
    with ExitStack() as stack:
        browser = stack.enter_context(chromium())
        if browser is None:
            return
        for name, url in apps(asked.old, stack):
            print(f"{name}, {asked.model}")
            opening(browser, url)
            texts_on_page(browser, url, asked.model, loaded)
            print(f"  on a processor {SLOWER} times slower")
            texts_on_page(browser, url, asked.model, loaded, SLOWER)
        if importlib.util.find_spec("bertviz") is None:
            print(NO_BERTVIZ)
            return
        for view in VIEWS:
            print(f"BertViz' {view}, {asked.model}")
            texts_in_bertviz(browser, loaded, view)


if __name__ == "__main__":
    main()
