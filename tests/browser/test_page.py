"""What a visitor does, in a real browser."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.conftest import REPEATING

pytestmark = pytest.mark.browser
PLAIN = "She opened a door and saw my small garden."


def type_sentence(page: Page, text: str) -> None:
    box = page.locator("#prompt textarea, #prompt input").first
    box.fill(text)
    page.get_by_role("button", name="Explore").click()


def card(page: Page, role: str):
    return page.locator(f'#panel .hr-card[data-role="{role}"]')


def test_a_full_result_stands_there_as_soon_as_the_page_is_open(page: Page):
    expect(page.locator("#panel .hr-card")).to_have_count(6)
    expect(card(page, "induction")).to_contain_text("● active")
    expect(page.locator("#view img.hr-heatmap")).to_be_visible()
    expect(page.locator("#view .hr-sentence")).to_contain_text("On this text")
    expect(page.locator("#map .hr-cell")).to_have_count(32)


def test_typing_a_repeat_turns_induction_from_open_to_filled_and_a_click_opens_its_head(page: Page):
    type_sentence(page, PLAIN)
    expect(card(page, "induction")).to_contain_text("○ not active")
    expect(card(page, "induction")).to_contain_text("Not visible here: no word of your text comes back")
    type_sentence(page, "The white cat saw the old dog. The white cat saw the")
    expect(card(page, "induction")).to_contain_text("● active")
    head = card(page, "induction").locator(".hr-head").first
    label = head.locator(".hr-label").inner_text()
    head.click()
    expect(page.locator("#view h2")).to_contain_text(label)
    expect(page.locator("#view img.hr-heatmap")).to_have_attribute(
        "alt", re.compile(f"Attention heatmap of {label} over 14 tokens")
    )
    width = page.locator("#view img.hr-heatmap").evaluate("image => image.naturalWidth")
    assert width > 300
    expect(page.locator("#which input:checked")).to_have_value("induction")
    expect(page.locator('#map .hr-cell[aria-selected="true"]')).to_have_attribute("aria-label", re.compile(label))


def test_the_offer_of_a_grey_card_runs_with_one_click(page: Page):
    type_sentence(page, PLAIN)
    card(page, "induction").locator(".hr-try").click()
    expect(card(page, "induction")).to_contain_text("● active")
    expect(page.locator("#prompt textarea, #prompt input").first).to_have_value(re.compile("^The king and the queen lived"))


def test_one_click_on_an_example_runs_it(page: Page):
    page.get_by_text("red green blue black white red").click()
    expect(page.locator("#panel .hr-tokens li")).to_have_count(11)
    expect(card(page, "induction")).to_contain_text("● active")


def test_the_box_explains_why_some_are_grey(page: Page):
    page.get_by_text("Why are some greyed out?").click()
    expect(page.get_by_text("The text gives no occasion.")).to_be_visible()


def test_keyboard_alone_types_explores_and_opens_a_head(page: Page):
    page.locator("#prompt textarea, #prompt input").first.focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("red green blue red green blue red")
    page.keyboard.press("Enter")
    expect(page.locator("#panel .hr-tokens li")).to_have_count(8)
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('[data-role=induction] .hr-head')"):
            break
    label = page.evaluate("document.activeElement.querySelector('.hr-label').innerText")
    page.keyboard.press("Enter")
    expect(page.locator("#view h2")).to_contain_text(label)


def test_arrow_keys_move_in_the_map_and_enter_opens(page: Page):
    page.locator('#map .hr-cell[tabindex="0"]').focus()
    for key in ["ArrowUp"] * 4 + ["ArrowLeft"] * 8 + ["ArrowDown", "ArrowRight", "ArrowRight"]:
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("L1H2,")
    page.keyboard.press("Enter")
    expect(page.locator("#view h2")).to_contain_text("L1H2")


def test_the_map_follows_the_chosen_role(page: Page):
    page.locator("#which").get_by_text("First Token").click()
    expect(page.locator("#map .hr-map")).to_have_attribute("aria-label", re.compile("First Token scores"))
    expect(page.locator("#view .hr-readings tr.is-looked-at")).to_contain_text("First Token")


@pytest.mark.parametrize(
    "text", ["<img src=x onerror=alert(1)>", "${alert(1)} `x`", "\\x \\u0041", "{{7*7}} {{#each a}}", "$x^2$"]
)
def test_hostile_text_shows_as_text(page: Page, text: str):
    type_sentence(page, f"{text} end")
    expect(page.locator("#panel .hr-tokens li").last).to_have_text("·end")
    shown = "".join(page.locator("#panel .hr-tokens li").all_inner_texts()[1:])
    assert shown == f"{text} end".replace(" ", "·")
    assert page.locator("img[src=x]").count() == 0
    expect(page.locator("#view img.hr-heatmap")).to_be_visible()


@pytest.mark.parametrize(
    ("text", "message"), [("   ", "There is no text to look at"), ("word " * 400, "reads at most 256 here. Shorten it.")]
)
def test_a_wrong_prompt_says_so_in_one_line_and_the_last_result_stays(page: Page, text: str, message: str):
    tokens = page.locator("#panel .hr-tokens").inner_text()
    type_sentence(page, text)
    expect(page.locator("#message .hr-message")).to_contain_text(message)
    assert page.locator("#panel .hr-tokens").inner_text() == tokens
    type_sentence(page, REPEATING)
    expect(page.locator("#message .hr-message")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_everything_without_scrolling_sideways(browser: Browser, url: str, theme: str):
    page = browser.new_page(viewport={"width": 360, "height": 780})
    page.goto(f"{url}?__theme={theme}")
    page.wait_for_selector("#panel .hr-card", timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    expect(page.locator("#view img.hr-heatmap")).to_be_visible()
    page.close()
