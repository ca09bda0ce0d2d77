"""Hostile texts in the page's box and in its address: shown as text or refused in a sentence, never run."""

from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, expect

from headroles.core.text.tokens import visible_text
from headroles.errors import PromptError
from headroles.models.loading.loader import LoadedModel
from headroles.server.page.page_state import TABS
from tests.browser.conftest import open_page
from tests.browser.test_page import prompt_box, type_sentence
from tests.conftest import REPEATING
from tests.fixtures.hostile import HOSTILE_TEXTS

pytestmark = pytest.mark.browser
# a lone surrogate cannot even be typed; the API's tests send it
TYPED = [text for text in HOSTILE_TEXTS if text.isprintable() or not any("\ud800" <= letter <= "\udfff" for letter in text)]
GOOD = {"prompt": "one two three one two three one", "head": "L2H1"}


@pytest.fixture
def watched(browser: Browser, url: str) -> Iterator[Page]:
    """The page, which fails on any dialog, script error or request to another host; its elements are counted after the test."""
    with open_page(browser, url, "?" + urlencode(GOOD)) as page:
        page.wait_for_selector("#twin blockquote")  # the part that comes last
        known = kinds(page)
        yield page
        assert kinds(page) <= known, "a text brought elements of its own"
        assert page.evaluate("document.querySelectorAll('h1').length") == 1


def kinds(page: Page) -> set[str]:
    """The names of all elements, and of all attributes that could run a script."""
    names = (
        "[...document.querySelectorAll('body *')].flatMap(e => [e.tagName, ...e.getAttributeNames().filter(n => /^on/.test(n))])"
    )
    return set(page.evaluate(names))


def assert_shown_or_refused(page: Page, text: str, tiny: LoadedModel) -> None:
    """What the tokenizer makes of the text stands on the page, letter by letter, or a sentence why it does not."""
    try:
        tokens = [visible_text(token) for token in tiny.token_texts(tiny.encode(text))]
    except PromptError as error:
        expect(page.locator("#message .hr-message")).to_have_text(str(error))
        return
    page.wait_for_function(
        "tokens => JSON.stringify([...document.querySelectorAll('#text .hr-tokens bdi')].map(e => e.textContent)) === tokens",
        arg=page.evaluate("tokens => JSON.stringify(tokens)", tokens),
    )


def follow(page: Page, query: dict[str, str]) -> None:
    """What the browser does on a step back to an address."""
    page.evaluate(
        "query => { history.pushState(null, '', '?' + query); dispatchEvent(new PopStateEvent('popstate')); }", urlencode(query)
    )


def test_a_hostile_text_in_the_box_is_shown_as_text_or_refused(watched: Page, tiny: LoadedModel):
    for text in TYPED:
        type_sentence(watched, text)
        assert_shown_or_refused(watched, prompt_box(watched).input_value(), tiny)
        type_sentence(watched, REPEATING)
        assert_shown_or_refused(watched, REPEATING, tiny)


def test_half_a_megabyte_in_the_box_is_refused_in_a_sentence(watched: Page):
    prompt_box(watched).evaluate(
        "(box, length) => { box.value = 'a'.repeat(length); box.dispatchEvent(new Event('input', {bubbles: true})); }",
        500_000,
    )
    watched.get_by_role("button", name="Explore").click()
    expect(watched.locator("#message .hr-message")).to_contain_text("has 500,000 characters; at most 10,000 are read")
    expect(watched.locator("#text .hr-tokens li")).to_have_count(8)


def test_a_hostile_text_in_the_address_is_shown_as_text_or_refused(watched: Page, tiny: LoadedModel):
    for text in TYPED[::3]:  # the box takes them all
        follow(watched, {"prompt": text})
        assert_shown_or_refused(watched, text, tiny)
        follow(watched, GOOD)
        assert_shown_or_refused(watched, GOOD["prompt"], tiny)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["model", "head", "role", "tab", "other_model"])
def test_a_hostile_part_of_the_address_is_refused_in_a_sentence(watched: Page, name: str):
    for text in TYPED[::4]:  # the server's tests send them all
        follow(watched, {**GOOD, name: text})
        expect(watched.locator("#message .hr-message")).not_to_be_empty()
        expect(watched.locator("#view h2")).to_contain_text("L2H1")
        follow(watched, GOOD)
        expect(watched.locator("#message .hr-message")).to_have_count(0)


def test_a_page_opened_by_a_hostile_link_shows_the_text_in_every_tab(browser: Browser, url: str, tiny: LoadedModel):
    text = "<script>alert(1)</script> <img src=x onerror=alert(1)> {{7*7}} \u202eevil"
    query = {"prompt": text, "other_prompt": text[::-1]}
    with open_page(browser, url, "?" + urlencode(query)) as page:
        assert_shown_or_refused(page, text, tiny)
        for tab in TABS:
            page.goto(f"{url}?{urlencode({**query, 'tab': tab})}")
            page.wait_for_selector("body:not(.hr-opening) [role=tabpanel]:visible")
        page.goto(f"{url}?{urlencode({**query, 'tab': 'prompts'})}")
        expect(page.locator("#by_prompt .hr-side").first).to_contain_text("·<")
        assert page.locator("#by_prompt script, #by_prompt img[src=x], #text script").count() == 0
