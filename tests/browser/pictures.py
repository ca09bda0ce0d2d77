"""Makes the documents' pictures from the real app: `make pictures`, or `python -m tests.browser.pictures NAME.png` for some."""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser.conftest import FLAGS, find_chromium, serve, wait_until_settled

OUT = Path(__file__).parent.parent.parent / "docs"
INDUCTION = "head=L2H2&role=induction"
COMPARISON = "prompt=The+white+cat+saw+the+old+dog.+The+white+cat+saw+the&other_prompt=She+opened+a+door+and+saw+my+small+garden."
SHOTS = {  # file: (width, height, theme, query); a height of 0 is the whole page
    "page-light.png": (1280, 1500, "light", INDUCTION),
    "page-dark.png": (1280, 1500, "dark", INDUCTION),
    "two-texts.png": (1280, 1400, "light", f"{COMPARISON}&tab=prompts"),
    "lessons.png": (1280, 1300, "light", "tab=learn"),
    "training.png": (1280, 1150, "light", "tab=training&step=1500"),
    "embed.png": (640, 900, "light", f"{INDUCTION}&embed=1"),
    "phone.png": (390, 0, "light", INDUCTION),
}
CAUSES = "matters.png", "out=induction&prompt=Zorbat+melkin+frayd+ustole.+Zorbat+melkin+frayd"  # of this part of the page alone


def main(names: list[str]) -> None:
    """Makes those pictures, by default all."""
    OUT.mkdir(exist_ok=True)
    process, url = serve()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
            for name, (width, height, theme, query) in SHOTS.items():
                if names and name not in names:
                    continue
                page = browser.new_page(viewport={"width": width, "height": height or 900})
                page.goto(f"{url}?{query}&__theme={theme}")
                wait_until_settled(page)
                page.wait_for_timeout(1500)  # the second picture of the head comes after the page
                page.screenshot(path=OUT / name, full_page=not height)
                page.close()
            name, query = CAUSES
            if not names or name in names:
                page = browser.new_page(viewport={"width": 1100, "height": 900})
                page.goto(f"{url}?{query}&__theme=light")
                page.locator(".hr-causes").screenshot(path=OUT / name, timeout=60_000)
            browser.close()
    finally:
        process.terminate()


if __name__ == "__main__":
    main(sys.argv[1:])
