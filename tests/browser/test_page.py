"""What a visitor does, in a real browser: one test a journey."""

import re

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from headroles.core.roles.roles import ROLES
from tests.browser.conftest import open_page, wait_until_quiet, wait_until_settled
from tests.conftest import REPEATING
from tests.fixtures.known import known

pytestmark = pytest.mark.browser
PLAIN = "She opened a door and saw my small garden."


def prompt_box(page: Page) -> Locator:
    return page.locator("#prompt textarea, #prompt input").first


def type_sentence(page: Page, text: str) -> None:
    prompt_box(page).fill(text)
    page.get_by_role("button", name="Explore").click()


def card(page: Page, role: str) -> Locator:
    return page.locator(f'#panel .hr-card[data-role="{role}"]')


def opened_card(page: Page, role: str) -> Locator:
    """The same, with all that it says."""
    found = card(page, role)
    fold = found.locator(".hr-fold")
    if fold.get_attribute("aria-expanded") == "false":
        fold.click()
    expect(found.locator(".hr-more")).to_be_visible()
    return found


def cell(page: Page, layer: int, head: int) -> Locator:
    return page.locator(f'#map .hr-cell[data-layer="{layer}"][data-head="{head}"]')


def assert_in_step(page: Page, label: str) -> None:
    """Map, cards and the head's page all show this head as the open one."""
    expect(page.locator("#view h2")).to_contain_text(label)
    layer, head = known(re.fullmatch(r"L(\d+)H(\d+)", label)).groups()
    expect(cell(page, int(layer), int(head))).to_have_attribute("aria-selected", "true")
    assert page.locator('#map .hr-cell[aria-selected="true"]').count() == 1
    pressed = page.locator('#panel .hr-head[aria-pressed="true"] .hr-label')
    assert all(text == label for text in pressed.all_inner_texts())


def test_a_first_visit_shows_a_full_result_at_once(page: Page, check_axe):
    expect(page.locator("#panel .hr-card")).to_have_count(len(ROLES))
    expect(card(page, "induction")).to_contain_text("● seen")
    expect(page.locator("#view img.hr-heatmap")).to_be_visible()
    expect(page.locator("#view .hr-sentence")).to_contain_text("On this text")
    expect(page.locator("#map .hr-cell")).to_have_count(32)
    assert "?" not in page.url
    page.get_by_text("What do the words and marks mean?").click()
    expect(page.get_by_text("the text could show it, and no head of the role shows enough")).to_be_visible()
    check_axe(page)


def test_typing_a_repeat_turns_induction_from_open_to_filled_and_a_click_opens_its_head(page: Page):
    type_sentence(page, PLAIN)
    expect(card(page, "induction")).to_contain_text("– not applicable")
    expect(card(page, "induction")).to_contain_text("Not visible here: no token of your text comes back")
    type_sentence(page, "The white cat saw the old dog. The white cat saw the")
    expect(card(page, "induction")).to_contain_text("● seen")
    head = opened_card(page, "induction").locator(".hr-head").first
    label = head.locator(".hr-label").inner_text()
    head.click()
    assert_in_step(page, label)
    expect(page.locator("#view img.hr-heatmap")).to_have_attribute("alt", re.compile(f"Attention of {label} over 14 tokens"))
    expect(page.locator("#view .is-looked-at")).to_contain_text("Induction")


def test_clicking_through_map_neighbours_roles_and_legend_keeps_everything_in_step(page: Page, check_axe):
    cell(page, 1, 2).hover()
    expect(page.locator("#map .hr-name")).to_contain_text("L1H2: Duplicate Token (score 0.81), here 93%, not seen")
    cell(page, 1, 2).click()
    assert_in_step(page, "L1H2")
    expect(page.locator("#twin blockquote")).to_contain_text("The old man told the boy")
    expect(page.locator("#twin .hr-heatmap")).to_be_visible()
    page.get_by_role("button", name="next head, L1H3").click()
    assert_in_step(page, "L1H3")
    page.get_by_role("button", name="previous head, L1H2").click()
    assert_in_step(page, "L1H2")
    page.get_by_role("button", name="Look at L1H2 for First Token").click()
    expect(page.locator("#view .is-looked-at")).to_contain_text("First Token")
    page.locator('#map [data-filter="induction"]').click()
    expect(page.locator("#map .hr-cell:not(.is-off)")).to_have_count(8)
    type_sentence(page, PLAIN)
    expect(page.locator("#text .hr-tokens li")).to_have_count(11)
    expect(page.locator("#map .hr-cell:not(.is-off)")).to_have_count(8)  # the filter outlives a new text
    page.locator('#map [data-filter="induction"]').click()
    expect(page.locator("#map .hr-cell.is-off")).to_have_count(0)
    assert_in_step(page, "L1H2")
    check_axe(page)


def test_pointing_at_a_token_turns_its_row_or_column_into_bars(page: Page):
    cell(page, 2, 3).click()
    assert_in_step(page, "L2H3")
    queries, keys = (page.locator(f"#view [data-axis={axis}]") for axis in ("queries", "keys"))
    page.locator("#view .hr-square").scroll_into_view_if_needed()
    box = known(page.locator("#view .hr-square").bounding_box())
    row = box["height"] / 15
    page.mouse.move(known(queries.bounding_box())["x"] + 5, box["y"] + 14.5 * row)
    expect(page.locator("#view .hr-said")).to_contain_text(re.compile(r"^“·green” \(15\) looks most at “·window” \(8\) \d+%"))
    assert known(page.locator("#view .hr-key-bars path").get_attribute("d")).count("M") == 15
    page.mouse.move(box["x"] + 7.5 * row, known(keys.bounding_box())["y"] + 5)
    expect(page.locator("#view .hr-said")).to_contain_text("“·window” (8) is looked at most by “·green” (15)")
    page.mouse.move(box["x"] + 14.5 * row, box["y"] + 0.5 * row)
    expect(page.locator("#view .hr-said")).to_contain_text("“<|endoftext|>” (1) cannot look ahead to “·green” (15)")


def test_the_offer_of_a_grey_card_runs_with_one_click(page: Page):
    type_sentence(page, PLAIN)
    opened_card(page, "induction").locator(".hr-try").click()
    expect(card(page, "induction")).to_contain_text("● seen")
    expect(prompt_box(page)).to_have_value(re.compile("^My uncle hid a small"))


def test_one_click_on_an_example_runs_it(page: Page):
    page.get_by_role("button", name="red green blue black white red").click()
    expect(page.locator("#text .hr-tokens li")).to_have_count(11)
    expect(card(page, "induction")).to_contain_text("● seen")
    expect(prompt_box(page)).to_have_value(re.compile("^red green"))


def test_keyboard_alone_types_explores_walks_the_map_and_reads_the_heatmap(page: Page, check_axe):
    prompt_box(page).focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("red green blue red green blue red")
    page.keyboard.press("Enter")
    expect(page.locator("#text .hr-tokens li")).to_have_count(8)

    def tab_to(selector: str) -> None:
        for _ in range(150):
            page.keyboard.press("Tab")
            if page.evaluate(f"document.activeElement.matches({selector!r})"):
                return
        pytest.fail(f"Tab does not lead to {selector}")

    tab_to("#map .hr-cell")
    for key in ["ArrowUp"] * 4 + ["ArrowLeft"] * 8 + ["ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight"]:
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("L2H2: Induction")
    page.keyboard.press("Enter")
    assert_in_step(page, "L2H2")
    tab_to("#view [data-axis=queries]")
    page.keyboard.press("End")
    told = page.evaluate("document.activeElement.getAttribute('aria-valuetext')")
    assert re.match(r"“·red” \(8\) looks most at “·green” \(\d\) \d+%", told)
    check_axe(page)


def test_two_texts_side_by_side_say_what_turns_on_and_open_their_heads(page: Page, check_axe):
    type_sentence(page, PLAIN)
    expect(card(page, "induction")).to_contain_text("– not applicable")
    page.get_by_role("tab", name="Two texts").click()
    page.locator("#other-prompt textarea, #other-prompt input").first.fill(REPEATING)
    page.get_by_role("button", name="Compare texts").click()
    expect(page.locator("#by_prompt")).to_contain_text(re.compile(r"From A to B, Induction.* turn"))
    check_axe(page)
    page.locator('#by_prompt .hr-open[data-side="b"]').first.click()
    expect(prompt_box(page)).to_have_value(REPEATING)
    expect(card(page, "induction")).to_contain_text("● seen")
    expect(page.get_by_role("tab", name="Explore")).to_have_attribute("aria-selected", "true")


def test_lessons_show_every_role_and_their_offers_run(page: Page, check_axe):
    page.get_by_role("tab", name="Lessons").click()
    expect(page.locator(".hr-lesson[data-lesson]")).to_have_count(len(ROLES))
    check_axe(page)
    page.locator('#lessons [data-try="duplicate_token"]').click()
    expect(prompt_box(page)).to_have_value(re.compile("^The old man told the boy"))
    assert_in_step(page, "L1H2")


def test_a_wrong_prompt_says_so_in_one_line_and_the_last_result_stays(page: Page):
    tokens = page.locator("#text .hr-tokens").inner_text()
    type_sentence(page, "word " * 400)
    expect(page.locator("#message .hr-message")).to_contain_text("reads at most 256 here. Shorten it.")
    assert page.locator("#text .hr-tokens").inner_text() == tokens
    type_sentence(page, REPEATING)
    expect(page.locator("#message .hr-message")).to_have_count(0)


@pytest.mark.parametrize("theme", ["dark", pytest.param("light", marks=pytest.mark.thorough)])
def test_a_phone_shows_everything_without_scrolling_sideways(browser: Browser, url: str, theme: str, check_axe):
    with open_page(browser, url, f"?__theme={theme}", width=360) as page:
        expect(page.locator("#view img.hr-heatmap")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        check_axe(page)
        cell(page, 2, 1).click()
        expect(page.locator("#view h2")).to_contain_text("L2H1")
        expect(page.locator("#view h2")).to_be_in_viewport()
        for tab in ("prompts", "training", "atlas", "learn", "api"):
            page.goto(f"{url}?tab={tab}&other_prompt=Once+upon+a+time&__theme={theme}")
            page.wait_for_selector("body:not(.hr-opening) [role=tabpanel]:visible")
            wait_until_settled(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, tab
            check_axe(page)


def test_nothing_moves_for_those_who_ask_for_less_motion(browser: Browser, url: str):
    with open_page(browser, url, reduced_motion="reduce") as page:
        moving = page.evaluate(
            "[...document.querySelectorAll('[class*=hr-]')]"
            ".filter(part => getComputedStyle(part).transitionDuration !== '0s').length"
        )
        assert moving == 0


def test_boxes_and_buttons_have_edges_in_forced_colours(browser: Browser, url: str, check_axe):
    with open_page(browser, url, forced_colors="active") as page:
        for part in ("#explore", "#ask .block:has(textarea, input)", ".hr-tools button", ".hr-card", ".hr-chip", ".hr-square"):
            width = "part => Math.max(...['Top', 'Bottom'].map(side => parseFloat(getComputedStyle(part)[`border${side}Width`])))"
            assert page.locator(part).first.evaluate(width) > 0, part
        check_axe(page)


def test_a_visitor_who_is_faster_than_the_server_never_sees_two_texts_mixed(page: Page):
    """A head is opened while a new text is still on its way: the page ends on one text, in all its parts."""
    prompt_box(page).fill("one two three one two three one")
    cell_then = 'document.querySelector(\'.hr-cell[data-layer="2"][data-head="1"]\').click()'
    wait_until_quiet(page, lambda: page.evaluate(f"document.getElementById('explore').click(); {cell_then}"))
    tokens = page.locator("#text .hr-tokens li").count()
    expect(page.locator("#view .hr-heatmap")).to_have_attribute("alt", re.compile(f"over {tokens} tokens"))
