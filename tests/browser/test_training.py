"""The training tab in a real browser: the slider moves the map, by keyboard and by itself, and everything says the same step."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from headroles.core.registry import EMBEDDED_MODEL
from tests.browser.conftest import open_page
from tests.fixtures.known import known
from tests.fixtures.shipped import find_run

pytestmark = pytest.mark.browser
RUN = find_run(EMBEDDED_MODEL)


def roles_shown(page: Page) -> list[str]:
    return page.locator("#training .hr-cell").evaluate_all("cells => cells.map((cell) => cell.dataset.role)")


def roles_at(step: int) -> list[str]:
    return [role.name for row in RUN.primary[RUN.at(step)] for role in row]


def assert_at(page: Page, step: int) -> None:
    """Slider, map, table and curves all show this step."""
    told = f"{step:,}"
    expect(page.locator("#training .hr-step-told")).to_have_text(told)
    expect(page.get_by_role("slider", name="Step")).to_have_attribute("aria-valuetext", f"step {told}")
    assert roles_shown(page) == roles_at(step)
    at = RUN.at(step)
    for role in RUN.roles:
        best = RUN.best(role)[at]
        said = [best.head.label, f"{best.score:.2f}", str(RUN.counts(role)[at])]
        expect(page.locator(f'#training tr[data-role="{role.name}"] td')).to_have_text(said)
    expect(page.locator('#training tr[data-loss="second_pass"] td').nth(1)).to_have_text(f"{RUN.losses['second_pass'][at]:.2f}")
    assert len(set(page.locator("#training .hr-now").evaluate_all("lines => lines.map((line) => line.getAttribute('x1'))"))) == 1


def test_the_slider_moves_the_map_by_keyboard_alone_from_the_end_to_the_start(page: Page, check_axe):
    assert page.locator("#training .hr-training").count() == 0  # drawn when it is opened
    page.get_by_role("tab", name="Training").click()
    expect(page.locator("#training .hr-cell")).to_have_count(RUN.num_layers * RUN.num_heads)
    expect(page).to_have_url(re.compile("tab=training"))
    assert_at(page, 4100)
    slider = page.get_by_role("slider", name="Step")
    slider.focus()
    page.keyboard.press("Home")
    assert_at(page, 0)
    assert set(roles_shown(page)) == {"diffuse"}
    place = page.locator("#training .hr-now").first.get_attribute("x1")
    for _ in range(RUN.at(1450)):
        page.keyboard.press("ArrowRight")
    assert_at(page, 1450)
    assert page.locator("#training .hr-now").first.get_attribute("x1") != place
    page.keyboard.press("ArrowRight")
    assert_at(page, 1500)
    label = page.locator('#training .hr-cell[data-layer="1"][data-head="6"]').get_attribute("aria-label")
    assert re.fullmatch(r"L1H6: Previous Token \(score \d\.\d\d\), at step 1,500", known(label))
    check_axe(page)


@pytest.mark.parametrize(
    ("theme", "width"),
    [
        ("dark", 1366),
        ("light", 390),
        pytest.param("light", 1366, marks=pytest.mark.thorough),
        pytest.param("dark", 390, marks=pytest.mark.thorough),
    ],
)
def test_a_link_opens_it_in_any_theme_and_width_for_everybody(browser: Browser, url: str, theme: str, width: int, check_axe):
    with open_page(browser, url, f"?tab=training&__theme={theme}", width=width) as page:
        expect(page.locator("#training .hr-cell")).to_have_count(RUN.num_layers * RUN.num_heads)
        expect(page.locator("#training .hr-births")).to_contain_text("between step 1,450 and 1,500")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        check_axe(page)


def test_it_plays_and_stops_and_a_head_opens_as_it_is_now(browser: Browser, url: str):
    with open_page(browser, url, "?tab=training") as page:
        expect(page.locator("#training .hr-cell")).to_have_count(RUN.num_layers * RUN.num_heads)
        page.clock.install()
        page.get_by_role("button", name="Play").click()  # from the end it begins again
        page.clock.run_for(2000)
        told = page.locator("#training .hr-step-told").inner_text()
        assert 0 < int(told) < RUN.steps[-1]
        page.get_by_role("button", name="Pause").click()
        page.clock.run_for(60_000)
        assert_at(page, int(told))
        page.clock.resume()
        page.get_by_role("slider", name="Step").press("End")
        page.locator('#training .hr-cell[data-layer="1"][data-head="6"]').click()
        expect(page.locator("#view h2")).to_contain_text("L1H6")
        expect(page.get_by_role("tab", name="Explore")).to_have_attribute("aria-selected", "true")


def test_nothing_plays_by_itself_for_those_who_ask_for_less_motion(browser: Browser, url: str):
    with open_page(browser, url, "?tab=training", reduced_motion="reduce") as page:
        expect(page.locator("#training .hr-cell")).to_have_count(RUN.num_layers * RUN.num_heads)
        page.clock.install()
        page.get_by_role("slider", name="Step").press("Home")
        page.get_by_role("button", name="Next step").click()
        page.clock.run_for(60_000)
        assert_at(page, 50)


def test_its_lesson_takes_the_heads_out(browser: Browser, url: str):
    with open_page(browser, url, "?tab=training") as page:
        page.locator("#training .hr-try").click()
        expect(page.locator("#causes .hr-causes")).to_contain_text("Matters")


def test_the_step_is_in_the_address_which_opens_it_there_and_moves_without_the_server(browser: Browser, url: str):
    with open_page(browser, url, "?tab=training&step=1430") as page:
        cells = page.locator("#training .hr-cell")
        expect(cells).to_have_count(RUN.num_layers * RUN.num_heads)
        assert_at(page, 1450)  # the nearest recorded one
        expect(page).to_have_url(re.compile("&tab=training&step=1450$"))
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        before = page.evaluate("history.length")
        slider = page.get_by_role("slider", name="Step")
        slider.press("ArrowRight")
        expect(page).to_have_url(re.compile("&tab=training&step=1500$"))
        expect(page.locator(".hr-back")).to_have_attribute("href", re.compile("&step=1500$"))
        slider.press("End")
        expect(page).to_have_url(re.compile("&tab=training$"))
        slider.press("Home")
        expect(page).to_have_url(re.compile("&tab=training&step=0$"))
        assert (asked, page.evaluate("history.length")) == ([], before)
        slider.press("ArrowRight")
        cells.nth(9).click()  # at once: the step before it is told all the same
        expect(page.locator("#view h2")).to_contain_text("L1H1")
        expect(page).to_have_url(re.compile("head=L1H1(?!.*(tab|step)=)"))
        page.get_by_role("tab", name="Training").click()
        slider.press("End")
        page.go_back()
        expect(page.get_by_role("tab", name="Explore")).to_have_attribute("aria-selected", "true")
        page.go_back()
        expect(page).to_have_url(re.compile("&tab=training&step=50$"))
        assert_at(page, 50)
