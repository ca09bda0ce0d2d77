"""What effects and knock-outs cost, as ratios to a plain forward with unembedding: `python -m bench.causes`.

GPT-2-small's shape, random weights, 64 tokens. Ratios are medians over interleaved rounds.
"""

from functools import partial

import torch

from bench.measuring import compare
from bench.subjects import random_model
from headroles.core.heads import Head
from headroles.core.registry import MODELS
from headroles.models.interventions.ablator import KnockOuts, Replacement, open_knock_outs, open_outputs
from headroles.models.interventions.direct_effects import read_writes
from headroles.models.loading.loader import registered_config
from headroles.models.reading.batches import TokenIds
from headroles.models.reading.pattern_reader import PatternReader

TOKENS = 64
SETS = (1, 21, 64)
ROUNDS = 5


def main() -> None:
    """Prints a line for effects of all heads, and one for each number of knock-outs in a batch."""
    loaded, plain = (random_model("gpt2", registered_config(MODELS["gpt2"])) for _ in range(2))
    plain.model.set_attn_implementation("sdpa")
    reader = PatternReader(loaded)
    outputs, knock_outs = open_outputs(reader), open_knock_outs(reader)
    ids = tuple(torch.randint(0, 50_000, (TOKENS,), generator=torch.Generator().manual_seed(0)).tolist())

    def forward() -> None:
        with torch.no_grad():
            plain.model(input_ids=torch.tensor([ids]), use_cache=False)

    def effects() -> None:
        read_writes(outputs, "", ids, heads[:8])

    heads = [Head(layer, index) for layer in range(12) for index in range(12)]
    nothing, contenders = knock_outs.replacement("zero", ids), {"plain": forward, "effects": effects}
    for count in SETS:
        for losses in (False, True):
            sets = [[head] for head in heads[:count]]
            contenders[f"{count} {losses}"] = partial(_run, knock_outs, ids, sets, nothing, losses)
    seconds = compare(contenders, ROUNDS)
    print(f"effects of all heads: {seconds['effects'] / seconds['plain']:.2f} of a plain forward")
    for count in SETS:
        alone, with_losses = (seconds[f"{count} {losses}"] / seconds["plain"] / count for losses in (False, True))
        print(f"{count} knock-outs: {alone:.2f} of as many plain forwards, with all losses {with_losses:.2f}")


def _run(knock_outs: KnockOuts, ids: TokenIds, sets: list[list[Head]], replacement: Replacement, losses: bool) -> None:
    for _ in knock_outs.run(ids, sets, replacement, (5,), losses=losses):
        pass


if __name__ == "__main__":
    main()
