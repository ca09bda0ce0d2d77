"""The atlas tab in a real browser: drawn when it is opened, readable in any theme and width, by keyboard too."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from headroles.hub.record_store import EMBEDDED_RECORDS
from tests.browser.conftest import open_page

pytestmark = pytest.mark.browser


def test_it_is_drawn_once_when_it_is_opened_and_its_tables_are_reached_by_keyboard(page: Page, check_axe):
    assert page.locator("#atlas .hr-atlas").count() == 0
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/queue/join" in request.url else None)
    page.get_by_role("tab", name="Atlas").click()
    expect(page.locator("#atlas .hr-curves")).to_have_count(10)
    expect(page).to_have_url(re.compile("tab=atlas"))
    expect(page.locator("#atlas .hr-announce")).to_contain_text("2 models of 2 families")
    page.locator("#atlas summary").press("Enter")
    models = page.get_by_role("region", name="Models")
    expect(models.locator("tbody tr")).to_have_count(len(EMBEDDED_RECORDS))
    page.keyboard.press("Tab")
    expect(models).to_be_focused()
    check_axe(page)
    drawn = len(asked)
    page.get_by_role("tab", name="Explore").click()
    page.get_by_role("tab", name="Atlas").click()
    expect(page.locator("#atlas .hr-curves").first).to_be_visible()
    assert len(asked) == drawn


@pytest.mark.parametrize(("theme", "width"), [("light", 390), ("dark", 1366)])
def test_a_link_opens_it_in_any_theme_and_width_for_everybody(browser: Browser, url: str, theme: str, width: int, check_axe):
    with open_page(browser, url, f"?tab=atlas&__theme={theme}", width=width) as page:
        expect(page.locator("#atlas .hr-curves")).to_have_count(10)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        check_axe(page)
