"""What five questions cost a visitor: clicks, keys beside the typed text, screens scrolled, and seconds until the answer is seen.

`python -m bench.tasks [MODEL] [--url ADDRESS]`, at 1366 x 768; without an address the app of this checkout. Each task goes on
from where the one before it ended, as a visitor does. Seconds are the page's alone (nobody reads or thinks): compare them within
one run.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Locator, Page, expect

from bench.browsing import chromium
from headroles.core.registry import EMBEDDED_MODEL
from tests.browser.conftest import wait_until_settled
from tests.fixtures.app_process import running_app

SCREEN = {"width": 1366, "height": 768}
SENTENCE = "Zorbat melkin frayd ustole. Zorbat melkin frayd"
OTHER = "She opened the door and saw a small garden behind the house."
PATIENCE = 120_000  # milliseconds
CARD = '#panel .hr-card[data-role="induction"]'


@dataclass
class Visitor:
    """Someone at the page, and what they did so far in one task."""

    page: Page
    clicks: int = 0
    keys: int = 0
    scrolled: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def click(self, what: Locator) -> None:
        self.look_at(what)
        what.click()
        self.clicks += 1

    def ask(self, box: str, text: str) -> None:
        """Types a text into a box, which is clicked for it, and sends it off."""
        place = self.page.locator(f"{box} :is(textarea, input)").first
        self.click(place)
        place.fill(text)
        place.press("Enter")
        self.keys += 1

    def see(self, what: Locator, text: str) -> None:
        """Waits for a text and scrolls to it."""
        expect(what).to_contain_text(text, timeout=PATIENCE)
        self.look_at(what)

    def look_at(self, what: Locator) -> None:
        """Scrolls as far as it takes until the upper edge of a part is on the screen."""
        what.wait_for(timeout=PATIENCE)
        top = what.evaluate("part => part.getBoundingClientRect().top")
        by = min(top, 0) + max(top + 40 - SCREEN["height"], 0)
        if by:
            self.page.mouse.move(SCREEN["width"] / 2, SCREEN["height"] / 2)
            self.page.mouse.wheel(0, by)
            self.page.wait_for_timeout(100)
        self.scrolled += abs(by) / SCREEN["height"]


def is_induction_at_work(visitor: Visitor) -> None:
    visitor.ask("#prompt", SENTENCE)
    visitor.see(visitor.page.locator("#text"), "(induction), most clearly")


def which_head(visitor: Visitor) -> None:
    head = visitor.page.locator(f"{CARD} .hr-chip").first
    visitor.click(head)
    visitor.see(visitor.page.locator("#view h2"), f"L{head.get_attribute('data-layer')}H{head.get_attribute('data-head')}")


def does_it_matter(visitor: Visitor) -> None:
    visitor.click(visitor.page.locator(f"{CARD} [data-rung=matters]"))
    visitor.see(visitor.page.locator("#causes .hr-rungs"), "Matters")


def compare_with_another_text(visitor: Visitor) -> None:
    visitor.click(visitor.page.get_by_role("tab", name="Two texts"))
    visitor.ask("#other-prompt", OTHER)
    visitor.see(visitor.page.locator("#by_prompt"), "From A to B, ")


def send_it(visitor: Visitor) -> None:
    visitor.click(visitor.page.get_by_role("button", name="Copy link"))
    visitor.see(visitor.page.locator(".hr-copied"), "")


TASKS: tuple[tuple[str, Callable[[Visitor], None]], ...] = (
    ("is induction at work in my sentence, and where?", is_induction_at_work),
    ("which head?", which_head),
    ("does it matter?", does_it_matter),
    ("compare with my other sentence", compare_with_another_text),
    ("send this to a colleague", send_it),
)


def try_tasks(page: Page) -> None:
    """Prints a line for each task."""
    print(f"  {'task':<50}{'clicks':>8}{'keys':>6}{'screens':>9}{'seconds':>9}")
    for name, do in TASKS:
        visitor = Visitor(page)
        do(visitor)
        took = time.perf_counter() - visitor.started
        print(f"  {name:<50}{visitor.clicks:>8}{visitor.keys:>6}{visitor.scrolled:>9.1f}{took:>9.1f}")


def open_at(url: str, model: str) -> None:
    """A browser at that address, with the model open."""
    with chromium() as browser:
        if browser is None:
            return
        context = browser.new_context(viewport={"width": SCREEN["width"], "height": SCREEN["height"]})
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{url}?model={model}&prompt=Once+upon+a+time+there+was+a+small+dog")
        wait_until_settled(page)
        page.wait_for_timeout(3000)  # what comes later, and the model's first forwards, are none of the tasks'
        try_tasks(page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=EMBEDDED_MODEL)
    parser.add_argument("--url", help="of an app that runs already")
    asked = parser.parse_args()
    print(f"{asked.model}, {SCREEN['width']} x {SCREEN['height']}")
    if asked.url:
        open_at(asked.url, asked.model)
        return
    with TemporaryDirectory() as folder, running_app(Path(folder)) as url:
        open_at(url, asked.model)


if __name__ == "__main__":
    main()
