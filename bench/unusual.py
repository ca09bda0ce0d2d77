"""How often the atlas calls a model far from the others where models differ by no more than their distribution does.

Run it by `python -m bench.unusual`.
"""

import numpy as np

from headroles.core.surveys.atlas import DEVIATIONS, are_far

HEADS = (48, 144, 384, 672, 1024)  # of the models, in turn
DISTRIBUTIONS = ((8, 40), (2, 30), (1, 20), (6, 4))  # of shares, Beta
DRAWS = 1000


def false_alarms(draws: int, models: int, distribution: tuple[int, int], deviations: float = DEVIATIONS) -> float:
    """Draws atlases of one role, and returns the share of those in which some model is called far.

    Args:
        draws: how many atlases.
        models: of each atlas.
        distribution: the parameters of the Beta distribution that the models' shares come from.
        deviations: robust standard deviations, from which on a model is called far.
    """
    draw, heads = np.random.default_rng(0), np.resize(HEADS, models)
    named = 0
    for _ in range(draws):
        shares = draw.binomial(heads, draw.beta(*distribution, models)) / heads
        named += any(are_far(shares.tolist(), heads.tolist(), deviations))
    return named / draws


def main() -> None:
    """Prints a line for each number of models and of deviations."""
    for deviations in (3.0, DEVIATIONS):
        for models in (12, 50):
            found = [f"{false_alarms(DRAWS, models, each, deviations):.3f}" for each in DISTRIBUTIONS]
            print(f"{deviations:g} deviations, {models} models: {', '.join(found)}")


if __name__ == "__main__":
    main()
