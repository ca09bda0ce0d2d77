"""The answer first: what the first screen holds, and what the sentence itself shows, in a real browser."""

import re

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from headroles.core.roles.roles import ROLES
from tests.browser.conftest import open_page, wait_until_quiet
from tests.browser.test_page import card, cell, opened_card, prompt_box, type_sentence
from tests.fixtures.known import known

pytestmark = pytest.mark.browser
SCREENS = [(1366, 768), (390, 844)]


def bottom(element: Locator) -> float:
    box = known(element.bounding_box())
    return box["y"] + box["height"]


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_the_first_screen_holds_the_sentence_the_answer_the_next_word_and_all_cards(browser: Browser, url, width, height):
    with open_page(browser, url, width=width) as page:
        page.set_viewport_size({"width": width, "height": height})
        for part in ("#prompt textarea", "#text .hr-announce", "#text .hr-strip", "#next .hr-next"):
            assert bottom(page.locator(part).first) <= height, part
        cards = page.locator("#panel .hr-card")
        expect(cards).to_have_count(len(ROLES))
        assert max(bottom(each) for each in cards.all()) <= height
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_marked_token_draws_arcs_and_names_the_heads_and_one_press_opens_one(page: Page, check_axe):
    expect(page.locator("#text .hr-token").last).to_have_attribute("aria-pressed", "true")
    first = page.locator("#text .hr-token").first
    first.hover()
    expect(first).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#text .hr-arcs path").first).to_be_attached()
    expect(page.locator("#text .hr-looks")).to_contain_text(re.compile(r"“·\S+” \(\d+\): Induction, L\dH\d → ·\S+ \d+%"))
    assert page.locator("#text li.is-looked-at").count() >= 1
    check_axe(page)
    chip = page.locator("#text .hr-looks .hr-chip").first
    label = chip.inner_text().split(" ")[0]
    chip.click()
    expect(page.locator("#view h2")).to_contain_text(label)
    expect(page.locator("#view h2")).to_be_in_viewport()


def test_the_keyboard_walks_the_marked_tokens(page: Page):
    page.locator("#text .hr-token").first.focus()
    page.keyboard.press("Tab")
    expect(page.locator("#text .hr-token").nth(1)).to_have_attribute("aria-pressed", "true")


def test_a_card_that_was_opened_stays_open_on_the_next_sentence(page: Page):
    opened_card(page, "induction")
    type_sentence(page, "She opened a door and saw my small garden.")
    expect(card(page, "induction")).to_contain_text("– not applicable")
    expect(card(page, "induction").locator(".hr-more")).to_be_visible()
    card(page, "induction").locator(".hr-fold").click()
    expect(card(page, "induction").locator(".hr-more")).to_be_hidden()


def test_while_something_else_is_typed_the_old_answer_is_marked_as_old(page: Page):
    stale = page.locator(".hr-stale")
    expect(stale).to_have_text("")
    prompt_box(page).fill("red green blue red green")
    expect(stale).to_contain_text("Below is still the answer to the last sentence")
    page.get_by_role("button", name="Explore").click()
    expect(page.locator("#text .hr-tokens li")).to_have_count(6)
    expect(stale).to_have_text("")


def test_what_is_typed_while_an_answer_is_on_its_way_stays_and_the_answer_is_marked_as_old(page: Page):
    held: list[Route] = []
    page.route("**/queue/join**", lambda route: held.append(route))
    prompt_box(page).fill("red green blue red green")
    with page.expect_request("**/queue/join**"):
        page.get_by_role("button", name="Explore").click()
    prompt_box(page).fill("red green blue and more")
    held[0].continue_()
    page.unroute("**/queue/join**")
    expect(page.locator("#text .hr-tokens li")).to_have_count(6)
    expect(page.locator(".hr-stale")).to_contain_text("Below is still the answer to the last sentence")
    expect(prompt_box(page)).to_have_value("red green blue and more")
    page.get_by_role("button", name="Explore").click()
    expect(page.locator("#text .hr-tokens")).to_contain_text("more")
    expect(page.locator(".hr-stale")).to_have_text("")
    page.locator("#examples button").first.click()  # what was typed before is not brought back
    expect(page.locator("#text .hr-tokens")).not_to_contain_text("more")
    expect(page.locator(".hr-stale")).to_have_text("")


def test_the_map_shows_what_is_seen_here_alone_and_picks_by_touch(browser: Browser, url):
    with open_page(browser, url, width=390, has_touch=True) as page:
        page.get_by_role("button", name="Seen here").tap()
        shown = page.locator("#map .hr-cell:not(.is-off)")
        expect(page.locator("#map .hr-cell.is-off").first).to_be_attached()
        assert {each.get_attribute("data-state") for each in shown.all()} == {"seen"}
        page.get_by_role("button", name="All", exact=True).tap()
        page.get_by_role("button", name="Pick several").tap()
        cell(page, 2, 2).tap()
        cell(page, 2, 1).tap()
        expect(page.locator("#map .hr-picked")).to_contain_text("L2H2, L2H1 picked.")


def test_a_tap_on_the_heatmap_does_what_the_pointer_does(browser: Browser, url):
    with open_page(browser, url, width=390, has_touch=True) as page:
        square = page.locator("#view .hr-square")
        square.scroll_into_view_if_needed()
        box = known(square.bounding_box())
        page.touchscreen.tap(box["x"] + box["width"] * 0.5 / 15, box["y"] + box["height"] * 14.5 / 15)
        expect(page.locator("#view .hr-said")).to_contain_text("“·green” (15) gives")


def test_a_deep_head_opens_where_one_is_looking(page: Page):
    deep = cell(page, 3, 7)
    deep.scroll_into_view_if_needed()
    wait_until_quiet(page, deep.click)
    expect(page.locator("#view h2")).to_contain_text("L3H7")
    expect(page.locator("#view h2")).to_be_in_viewport()
    expect(deep).to_be_in_viewport()
