"""The next word -> HTML: what the model expects after the sentence."""

from dataclasses import dataclass

from headroles.core.outputs.next_tokens import Predictions
from headroles.core.text.tokens import visible_text
from headroles.render.html import render_template
from headroles.render.wording.phrases import precise_percent

GUESSES = 4


@dataclass(frozen=True)
class NextTokenView:
    """What a model expects after a text; or why that cannot be read."""

    predictions: Predictions | None
    why_not: str = ""


def render_next(found: NextTokenView) -> str:
    """One line: the likeliest next tokens with their chances."""
    return render_template("next", guesses=guesses_of(found), why_not=found.why_not)


def guesses_of(found: NextTokenView) -> list[tuple[str, str]]:
    """The likeliest next tokens with their chances; none where they cannot be read."""
    guesses = found.predictions.guesses[-1][:GUESSES] if found.predictions else ()
    return [(visible_text(guess.token), precise_percent(guess.probability)) for guess in guesses]
