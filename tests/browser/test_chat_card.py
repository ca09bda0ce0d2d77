"""The card that a chat client shows, in a frame of a client that speaks as MCP Apps, and alone as ChatGPT opens it."""

import json

import pytest
from playwright.sync_api import Browser, expect

from headroles.render.page.chat import chat_card

pytestmark = pytest.mark.browser
ANSWER = "“a b” on m: <img src=x onerror=parent.evil=1> both heads look."
WORDS = f"{ANSWER}\nInduction: seen. 2 of 2: <b>x</b> → y.\nDuplicate Token: not applicable. No.\nNext, the model expects “c”."
RESULT = {"content": [{"type": "text", "text": WORDS}], "structuredContent": {"result": [{"type": "text", "text": WORDS}]}}
HOST = """
<iframe sandbox="allow-scripts" style="width:600px;height:300px"></iframe>
<script>
  window.heard = [];
  const frame = document.querySelector('iframe');
  window.addEventListener('message', ({ data, source }) => {
    heard.push(data.method);
    const say = (message) => source.postMessage({ jsonrpc: '2.0', ...message }, '*');
    const result = { protocolVersion: data.params?.protocolVersion, hostCapabilities: {} };
    if (data.method === 'ui/initialize') say({ id: data.id, result });
    if (data.method === 'ui/notifications/initialized') say({ method: 'ui/notifications/tool-result', params: RESULT });
  });
</script>
"""


def test_a_client_that_greets_it_gets_the_answer_shown_as_text(browser: Browser):
    page = browser.new_page()
    page.set_content(HOST.replace("RESULT", json.dumps(RESULT)))
    page.locator("iframe").evaluate("(frame, html) => { frame.srcdoc = html; }", chat_card())
    card = page.frame_locator("iframe")
    expect(card.locator("h1")).to_have_text(ANSWER)
    expect(card.locator("li")).to_have_text(["Induction: seen. 2 of 2: <b>x</b> → y.", "Duplicate Token: not applicable. No."])
    expect(card.locator("li.is-on")).to_have_count(1)
    expect(card.locator("footer")).to_have_text("Next, the model expects “c”.")
    assert page.evaluate("heard") == ["ui/initialize", "ui/notifications/initialized", "ui/notifications/size-changed"]
    assert page.evaluate("window.evil") is None
    page.close()


def test_one_that_sets_a_global_gets_it_too(browser: Browser):
    page = browser.new_page()
    page.add_init_script(f"window.openai = {{ toolOutput: {json.dumps(RESULT['structuredContent'])} }};")
    page.route("https://card.test/", lambda route: route.fulfill(body=chat_card(), content_type="text/html"))
    page.goto("https://card.test/")
    expect(page.locator("h1")).to_have_text(ANSWER)
    expect(page.locator("li")).to_have_count(2)
    page.close()
