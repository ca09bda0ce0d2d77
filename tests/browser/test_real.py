"""The page on a published model: picked from the list, explored, a head opened, saved; and what the API answers of it."""

import csv
import io
import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from headroles.core.roles.roles import ROLES, measured_roles
from tests.browser.conftest import open_page
from tests.browser.test_links import save
from tests.browser.test_page import card, cell, prompt_box
from tests.fixtures.real import REAL_MODEL, real_file
from tests.fixtures.web import call

INDUCTION = ROLES["induction"].suggested_prompt


@pytest.fixture
def real_page(browser: Browser, url: str) -> Iterator[Page]:
    real_file()
    with open_page(browser, url) as page:
        page.locator("#model input").click()
        page.get_by_role("option", name=REAL_MODEL).click()
        expect(page.locator("#about")).to_contain_text("A real, published chat model")
        page.get_by_role("button", name="Explore").click()
        expect(page.locator("#panel .hr-source")).to_contain_text(f"Roles of {REAL_MODEL}")
        yield page


def test_it_says_what_it_is_and_shows_every_head(real_page: Page, check_axe):
    expect(real_page.locator("#about")).to_contain_text("Q4_1")
    expect(real_page.locator("#about")).to_contain_text("licence apache-2.0")
    expect(real_page.locator("#panel .hr-source")).to_contain_text("weights dequantised from Q4_1")
    expect(prompt_box(real_page)).to_have_value(INDUCTION)
    expect(card(real_page, "induction")).to_contain_text("● seen")
    expect(real_page.locator("#map .hr-cell")).to_have_count(30 * 9)
    check_axe(real_page)


def test_a_deep_head_opens_and_its_files_hold_what_it_does(real_page: Page):
    cell(real_page, 18, 6).click()
    expect(real_page.locator("#view h2")).to_contain_text("L18H6")
    expect(real_page.locator("#view")).to_contain_text("mainly induction")
    saved = json.loads(save(real_page, "analysis.json"))
    assert saved["model"] == REAL_MODEL
    assert len(list(csv.DictReader(io.StringIO(save(real_page, "scores.csv").decode())))) == 30 * 9 * len(measured_roles())


def test_the_api_answers_of_it_as_of_any(url: str, real_page: Page):
    event, answer = call(url, "/analyze", [REAL_MODEL, INDUCTION])
    assert (event, answer["model"], answer["source"]) == ("complete", REAL_MODEL, "embedded")
