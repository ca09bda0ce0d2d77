"""Picking models in a real browser: one without roles, analysed on the page; those that cannot be had."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from headroles.models.loading.loader import LoadedModel
from tests.browser.conftest import open_page, serve, stop
from tests.fixtures.architectures import build

pytestmark = pytest.mark.browser
WATCH_THE_BAR = """window.seen = [];
new MutationObserver(() => {
  const bar = document.querySelector('#message [role=progressbar]');
  if (bar) window.seen.push(Number(bar.getAttribute('aria-valuenow')));
}).observe(document.getElementById('message'), {subtree: true, childList: true, attributes: true});"""


@pytest.fixture(scope="module")
def folders(tiny: LoadedModel, tmp_path_factory) -> Path:
    """Local models that nobody has published roles for: quick ones, and one whose analysis never ends in time."""
    root = tmp_path_factory.mktemp("models")
    for name, (layers, width) in {"slow": (8, 256), "endless": (60, 64), "quick": (2, 256), "other": (3, 256)}.items():
        build("gpt2", n_embd=width, n_layer=layers, n_head=8, n_positions=128).save_pretrained(root / name)
        tiny.tokenizer.save_pretrained(root / name)  # pyright: ignore[reportAttributeAccessIssue]
    return root


@pytest.fixture(scope="module")
def models_url(tmp_path_factory) -> Iterator[str]:
    home = str(tmp_path_factory.mktemp("home"))
    process, address = serve(HEADROLES_ANY_MODEL="1", HEADROLES_HOME=home, HF_HOME=home, HF_HUB_OFFLINE="1")
    yield address
    stop(process)


@pytest.fixture
def any_page(browser: Browser, models_url: str) -> Iterator[Page]:
    with open_page(browser, models_url) as page:
        yield page


def explore(page: Page, model: object) -> None:
    box = page.locator("#model input")
    box.fill(str(model))
    box.press("Enter")
    page.get_by_role("button", name="Explore").click()


def test_an_unpublished_local_model_is_analysed_on_the_page_while_the_bar_moves(any_page: Page, folders: Path):
    explore(any_page, folders / "slow")
    expect(any_page.locator("#message")).to_contain_text("There are no roles for")
    any_page.evaluate(WATCH_THE_BAR)
    any_page.locator("#offer").click()
    expect(any_page.locator("#panel .hr-source")).to_contain_text("analysed here, not published")
    seen = any_page.evaluate("window.seen")
    assert len(set(seen)) >= 3
    assert seen == sorted(seen)
    expect(any_page.locator("#map .hr-cell")).to_have_count(8 * 8)
    expect(any_page.locator("#offer")).to_be_hidden()
    any_page.locator("#map .hr-cell").nth(20).click()
    expect(any_page.locator("#view h2")).to_contain_text("L2H4")


def test_the_training_of_a_model_that_nobody_recorded_is_said_to_be_missing_and_comes_back_with_the_model(
    any_page: Page, folders: Path
):
    any_page.get_by_role("tab", name="Training").click()
    expect(any_page.locator("#training .hr-cell")).to_have_count(4 * 8)
    shutil.copytree(folders / "quick", folders / "quick2")
    explore(any_page, folders / "quick2")
    any_page.locator("#offer").click()
    expect(any_page.locator("#panel .hr-source")).to_contain_text("analysed here, not published")
    any_page.get_by_role("tab", name="Training").click()
    expect(any_page.locator("#training")).to_contain_text(
        re.compile("Nobody has recorded the training of .*there is a recorded run of")
    )
    expect(any_page.locator("#training .hr-cell")).to_have_count(0)
    explore(any_page, "headroles-tiny")
    expect(any_page.locator("#panel .hr-source")).to_contain_text("Roles of headroles-tiny")
    any_page.get_by_role("tab", name="Training").click()
    expect(any_page.locator("#training .hr-cell")).to_have_count(4 * 8)


def test_an_analysis_can_be_stopped_and_started_again(any_page: Page, folders: Path):
    explore(any_page, folders / "endless")
    any_page.locator("#offer").click()
    any_page.locator("#stop").click()
    expect(any_page.locator("#message .hr-message")).to_contain_text("Stopped; nothing of it is kept.")
    expect(any_page.locator("#panel .hr-source")).to_contain_text("Roles of headroles-tiny")
    expect(any_page.locator("#stop")).to_be_hidden()
    expect(any_page.locator("#offer")).to_be_visible()


def test_a_quick_model_stays_analysed_for_the_next_visitor(any_page: Page, folders: Path, browser: Browser, models_url: str):
    explore(any_page, folders / "quick")
    any_page.locator("#offer").click()
    expect(any_page.locator("#panel .hr-source")).to_contain_text("analysed here, not published")
    with open_page(browser, models_url) as other:
        explore(other, folders / "quick")
        expect(other.locator("#map .hr-cell")).to_have_count(16)
        expect(other.locator("#panel .hr-source")).to_contain_text("analysed here, not published")


def test_two_models_side_by_side_count_their_roles_by_depth_once_the_other_is_analysed(any_page: Page, folders: Path, check_axe):
    any_page.get_by_role("tab", name="Two models").click()
    box = any_page.locator("#other-model input")
    box.fill(str(folders / "other"))
    box.press("Enter")
    any_page.get_by_role("button", name="Compare models").click()
    expect(any_page.locator("#message")).to_contain_text(re.compile("There are no roles for .*other"))
    any_page.locator("#offer").click()
    expect(any_page.locator("#by_model .hr-census")).to_contain_text("Induction")
    expect(any_page.locator("#by_model .hr-side").nth(1)).to_contain_text("3 layers")
    expect(any_page).to_have_url(re.compile("other_model=.*other.*tab=models"))
    expect(any_page.locator("#offer")).to_be_hidden()
    check_axe(any_page)
    any_page.locator('#by_model [data-role="duplicate_token"] [data-side="a"]').click()
    expect(any_page.locator("#view h2")).to_contain_text("L1H2")
    expect(any_page.get_by_role("tab", name="Explore")).to_have_attribute("aria-selected", "true")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("gpt2", "openai-community/gpt2 is not on this machine and the Hub does not answer"),
        ("<img src=x onerror=alert(1)>", "is no model on the Hub"),
    ],
)
def test_a_model_that_cannot_be_had_says_why_and_the_page_goes_on(any_page: Page, model: str, message: str):
    explore(any_page, model)
    expect(any_page.locator("#message .hr-message")).to_contain_text(message)
    expect(any_page.locator("#panel .hr-source")).to_contain_text("Roles of headroles-tiny")
    any_page.locator("#panel .hr-chip").nth(1).click()
    expect(any_page.locator("#view .hr-sentence")).to_contain_text("On this text")


def test_the_list_names_every_model_with_its_size_and_says_why_one_would_pick_it(any_page: Page):
    any_page.locator("#model input").click()
    option = any_page.get_by_role("option", name="gpt2 (12 × 12)")
    expect(option).to_be_visible()
    option.click()
    expect(any_page.locator("#about")).to_contain_text(re.compile("12 layers of 12 heads, 124 million parameters, licence mit"))


def test_without_the_operators_leave_no_other_model_can_be_named(page: Page, folders: Path):
    page.locator("#model input").fill(str(folders / "quick"))
    page.locator("#model input").press("Enter")
    page.get_by_role("button", name="Explore").click()
    expect(page.locator("#panel .hr-source")).to_contain_text("Roles of headroles-tiny")
    assert "quick" not in page.locator("#model input").input_value()
