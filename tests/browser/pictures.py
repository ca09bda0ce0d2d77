"""Makes the README's pictures from the real app: `make pictures`."""

from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser.conftest import FLAGS, find_chromium, serve

OUT = Path(__file__).parent.parent.parent / "docs"
SHOTS = {"page-light.png": (1280, "light"), "page-dark.png": (1280, "dark"), "phone.png": (390, "light")}


def main() -> None:
    OUT.mkdir(exist_ok=True)
    process, url = serve()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
            for name, (width, theme) in SHOTS.items():
                page = browser.new_page(viewport={"width": width, "height": 1000})
                page.goto(f"{url}?__theme={theme}")
                page.wait_for_selector("#panel .hr-card", timeout=60_000)
                page.wait_for_timeout(1000)
                page.screenshot(path=OUT / name, full_page=width < 800)
                page.close()
            browser.close()
    finally:
        process.terminate()


if __name__ == "__main__":
    main()
