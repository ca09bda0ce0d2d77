"""The next word -> HTML: what the model expects after the sentence."""

from dataclasses import dataclass

from headroles.core.outputs.next_tokens import Predictions
from headroles.core.text.phrases import fine_percent
from headroles.core.text.tokens import visible
from headroles.render.html import draw

GUESSES = 4


@dataclass(frozen=True)
class Next:
    """What a model expects after a text; or why that cannot be read."""

    predictions: Predictions | None
    why_not: str = ""


def render_next(found: Next) -> str:
    """One line: the likeliest next tokens with their chances."""
    return draw("next", guesses=guesses_of(found), why_not=found.why_not)


def guesses_of(found: Next) -> list[tuple[str, str]]:
    """The likeliest next tokens with their chances; none where they cannot be read."""
    guesses = found.predictions.guesses[-1][:GUESSES] if found.predictions else ()
    return [(visible(guess.token), fine_percent(guess.probability)) for guess in guesses]
