"""How often the atlas calls a model far from the others where models differ by no more than their distribution does."""

import numpy as np

from headroles.core.surveys.atlas import DEVIATIONS, are_far

HEADS = (48, 144, 384, 672, 1024)  # of the models, in turn
DISTRIBUTIONS = ((8, 40), (2, 30), (1, 20), (6, 4))  # of shares, Beta
DRAWS = 1000


def false_alarms(draws: int, models: int, distribution: tuple[int, int], deviations: float = DEVIATIONS) -> float:
    """The share of atlases in which some model is called far in a role."""
    draw, heads = np.random.default_rng(0), np.resize(HEADS, models)
    named = 0
    for _ in range(draws):
        shares = draw.binomial(heads, draw.beta(*distribution, models)) / heads
        named += any(are_far(shares.tolist(), heads.tolist(), deviations))
    return named / draws


def main() -> None:
    for deviations in (3.0, DEVIATIONS):
        for models in (12, 50):
            found = [f"{false_alarms(DRAWS, models, each, deviations):.3f}" for each in DISTRIBUTIONS]
            print(f"{deviations:g} deviations, {models} models: {', '.join(found)}")


if __name__ == "__main__":
    main()
