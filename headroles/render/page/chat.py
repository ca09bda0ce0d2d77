"""The answer in words alone, for who reads no page: a chat client's tool result, and the card that shows it there."""

from headroles.core.readings.analysis import Analysis
from headroles.core.text.tokens import visible_text
from headroles.render.html import ASSETS
from headroles.render.page.answer import answer_text
from headroles.render.page.next_token import NextTokenView, guesses_of
from headroles.render.wording.catalog import deferred, message
from headroles.render.wording.role_states import describe_role
from headroles.render.wording.sources import describe_source

RUNG = deferred(
    "All this says where heads look and not what they do to the next word; ablate tells what is lost without them, beside "
    "other heads of the same layers."
)


def explain_in_words(analysis: Analysis, following: NextTokenView) -> str:
    """What goes on in a text: the answer, a line a role with its verdict and why, the next word, where the roles come from."""
    text = message(
        "“{text}” on {model}, {tokens} tokens: {answer}",
        text=visible_text(analysis.prompt),
        model=analysis.model,
        tokens=len(analysis.tokens),
        answer=answer_text(analysis),
    )
    roles = [
        f"{message(reading.role.display_name)}: {message(reading.state)}. {describe_role(reading, analysis)}"
        for reading in analysis.roles
    ]
    guesses = ", ".join(f"“{token}” {chance}" for token, chance in guesses_of(following))
    expected = message("Next, the model expects {tokens}.", tokens=guesses) if guesses else following.why_not
    return "\n".join([text, *roles, expected, message(RUNG), describe_source(analysis)])


def chat_card() -> str:
    """A page of its own that shows such a text in a chat client, whichever of the two ways the client hands it over."""
    return (ASSETS / "chat_card.html").read_text("utf-8")  # no template: nothing of it is filled in here
