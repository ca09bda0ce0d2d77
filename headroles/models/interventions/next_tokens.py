"""A model's guesses after every token of a text."""

import math

from headroles.core.outputs.next_tokens import Guess, Predictions
from headroles.core.text.tokens import clean_text
from headroles.errors import InvalidInputError
from headroles.models.interventions.ablator import MAX_TOP_TOKENS, Ablator
from headroles.models.reading.batches import TokenIds


def predict(ablator: Ablator, prompt: str, token_ids: TokenIds, count: int) -> Predictions:
    """The likeliest next tokens everywhere in a text, from one forward. Raises InvalidInputError unless `count` is 1 to TOP."""
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_TOP_TOKENS:
        raise InvalidInputError(f"count must be a whole number from 1 to {MAX_TOP_TOKENS}.")
    loaded = ablator.loaded
    tops, losses = ablator.predict_all(token_ids, count)
    return Predictions(
        model=loaded.name,
        prompt=clean_text(prompt),
        tokens=loaded.token_texts(token_ids),
        guesses=tuple(
            tuple(Guess(token, loaded.token_texts((token,))[0], math.exp(value)) for token, value in top) for top in tops
        ),
        losses=(None, *losses),
    )
