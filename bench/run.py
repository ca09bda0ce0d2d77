"""Timings as ratios within one run: `make bench`. A GPT-2-small shape with random weights, so that no network is needed.

Every ratio is a median over interleaved rounds (A, B, A, B, ...), so that a machine whose speed drifts does not favour one side.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace

import torch
from transformer_lens.head_detector import detect_head
from transformers import GPT2Config, GPT2LMHeadModel

from analysis.lens import open_bridge, score_model
from analysis.probes import Probe, Recipe, make_probes
from headroles.capture import PatternReader
from headroles.models import EMBEDDED_MODEL, LoadedModel, load_model
from headroles.roles import MEASURED_ROLES
from headroles.scoring import measure_heads

BUILT_IN = ("previous_token_head", "induction_head", "duplicate_token_head")


def gpt2_small(name: str) -> LoadedModel:
    """GPT-2 small's shape with random weights, and the embedded model's tokenizer (its ids all lie inside the vocabulary)."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config()).eval()
    return LoadedModel(name, model, load_model(EMBEDDED_MODEL).tokenizer, "random")


def compare(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median seconds of each, after one run that is not counted, taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


class ExactTokens:
    """The part of a bridge that `detect_head` touches, with `to_tokens` handing out given ids instead of encoding text."""

    def __init__(self, bridge, token_ids: torch.Tensor) -> None:
        self._bridge, self._token_ids = bridge, token_ids
        config = bridge.cfg
        self.cfg = SimpleNamespace(
            n_layers=config.n_layers, n_heads=config.n_heads, n_ctx=config.n_ctx, device=config.device, dtype=config.dtype
        )

    def to_tokens(self, _: str) -> torch.Tensor:
        return self._token_ids[None]

    def run_with_cache(self, tokens: torch.Tensor, remove_batch_dim: bool):
        return self._bridge.run_with_cache(tokens, remove_batch_dim=remove_batch_dim)


def bench_analysis(rounds: int = 3) -> None:
    """The streamed analysis against `detect_head` calls a sequence, and against the bare forward without the unembedding."""
    recipe = Recipe(repeated_sequences=10, sentences=1)
    loaded, plain = gpt2_small("streamed"), gpt2_small("plain")
    probes = [probe for probe in make_probes(loaded, recipe) if probe.roles[0].requires_repetition]
    probes = [Probe(probe.token_ids, probe.lengths, MEASURED_ROLES) for probe in probes]
    bridge, body = open_bridge(loaded), plain.model.base_model
    plain.model.set_attn_implementation("eager")

    def detect(names: tuple[str, ...]) -> None:
        for probe in probes:
            for ids in probe.token_ids:
                stand_in = ExactTokens(bridge, ids)
                with torch.no_grad():
                    for name in names:
                        detect_head(stand_in, "", name)  # type: ignore[arg-type]

    def forward() -> None:
        for probe in probes:
            with torch.no_grad():
                body(input_ids=probe.token_ids, use_cache=False)

    seconds = compare(
        {
            "streamed": lambda: score_model(bridge, probes),
            "one detect_head call a sequence": lambda: detect(BUILT_IN[:1]),
            "three detect_head calls a sequence": lambda: detect(BUILT_IN),
            "bare forward": forward,
        },
        rounds,
    )
    count, length = probes[0].token_ids.shape
    print(f"\nAnalysis, GPT-2-small shape, {count} sequences of {length} tokens, all five roles")
    for name in list(seconds)[1:3]:
        print(f"  {name:38} takes {seconds[name] / seconds['streamed']:6.2f} times the streamed analysis")
    print(f"  {'streamed analysis':38} takes {seconds['streamed'] / seconds['bare forward']:6.2f} times the bare forward")


def bench_analyze(rounds: int = 7) -> None:
    """Reading and scoring a prompt, end to end, against a plain forward of the model as a user would run it (SDPA)."""
    loaded, plain = gpt2_small("probed"), gpt2_small("plain")
    reader = PatternReader(loaded)
    print("\nFrom token ids to all readings, GPT-2-small shape, against a plain forward (SDPA, with the unembedding)")
    for length in (16, 64, 256):
        ids = tuple((torch.arange(length) * 7 % 3000 + 1).tolist())
        row = torch.tensor([ids])

        def analyze(ids=ids, row=row) -> None:
            measure_heads(reader.read(ids).patterns[None], row)

        def forward(row=row) -> None:
            with torch.no_grad():
                plain.model(input_ids=row, use_cache=False)

        seconds = compare({"analyze": analyze, "forward": forward}, rounds)
        print(f"  {length:4} tokens: {seconds['analyze'] / seconds['forward']:5.2f} times the plain forward")


def main() -> None:
    torch.set_num_threads(2)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    bench_analysis()
    bench_analyze()


if __name__ == "__main__":
    main()
