"""From a card, a head or the map to what heads write and what is lost without them, in a real browser."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import open_page
from tests.browser.test_page import card, cell, type_sentence

pytestmark = pytest.mark.browser


def test_a_card_asks_what_its_heads_write_and_whether_they_matter_and_a_link_leads_there(page: Page, browser, url, check_axe):
    expect(page.locator("#causes .hr-causes")).to_have_count(0)
    card(page, "induction").get_by_role("button", name="Do the Induction heads matter here?").click()
    causes = page.locator("#causes .hr-causes")
    expect(causes.locator("h2")).to_contain_text("Do they matter here?")
    expect(causes).to_contain_text("Without these 8 heads, the model gives “·window”")
    expect(causes.locator(".hr-other")).to_have_count(20)
    expect(causes).to_be_in_viewport()
    expect(card(page, "induction").locator("[data-rung=matters]")).to_contain_text(re.compile("matters [●○]"))
    expect(card(page, "induction").locator("[data-rung=writes]")).to_contain_text("writes +")
    expect(card(page, "duplicate_token").locator("[data-rung=matters]")).to_contain_text("matters ?")
    check_axe(page)
    causes.get_by_role("button", name="its mean").click()
    expect(causes.get_by_role("button", name="its mean")).to_have_attribute("aria-pressed", "true")
    expect(page).to_have_url(re.compile("out=induction&method=mean"))
    said = causes.locator(".hr-announce").inner_text()
    with open_page(browser, url, "?" + page.url.partition("?")[2]) as other:
        expect(other.locator("#causes .hr-announce")).to_have_text(said)


def test_heads_are_picked_on_the_map_with_shift_or_a_key_and_taken_out_together(page: Page):
    picked = page.locator("#map .hr-picked")
    expect(picked).to_be_hidden()
    cell(page, 1, 6).click(modifiers=["Shift"])
    expect(picked).to_contain_text("L1H6 picked.")
    cell(page, 1, 6).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("x")
    expect(picked).to_contain_text("L1H6, L1H7 picked.")
    page.keyboard.press("x")
    expect(picked).to_contain_text("L1H6 picked.")
    cell(page, 0, 1).click(modifiers=["Shift"])
    picked.get_by_role("button", name="What is lost without them?").click()
    expect(page.locator("#causes h2")).to_contain_text("L1H6, L0H1")
    expect(page.locator("#causes")).to_contain_text("not asked: they stand for no role")
    expect(picked).to_be_hidden()


def test_another_text_asks_no_more_and_a_heads_own_question_is_of_it_alone(page: Page):
    cell(page, 2, 2).click()
    page.get_by_role("button", name="What does L2H2 write, and does it matter here?").click()
    expect(page.locator("#causes")).to_contain_text("Without L2H2, the model gives")
    type_sentence(page, "The sun rose over the hills.")
    expect(card(page, "induction")).to_contain_text("not applicable")
    expect(page.locator("#causes .hr-causes")).to_have_count(0)


def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Browser, url):
    with open_page(browser, url, "?out=induction", width=390) as phone:
        expect(phone.locator("#causes .hr-announce")).to_be_visible()
        assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
