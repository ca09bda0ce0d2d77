"""Timings and memory as ratios within one run: `make bench`. Random weights, so that no network is needed.

Every ratio of times is a median over interleaved rounds (A, B, A, B, ...).
"""

from collections.abc import Callable
from types import SimpleNamespace

import torch
from transformer_lens.head_detector import detect_head
from transformers import GPT2Config, PreTrainedConfig

from analysis.lens import open_bridge, score_model
from bench.load import make_prompts
from bench.measuring import compare, peak_memory
from bench.subjects import random_model
from headroles.core.heads import Attention
from headroles.core.registry import EMBEDDED_MODEL, MODELS
from headroles.core.roles.scoring import measure_heads, pattern_roles
from headroles.models.loading.loader import LoadedModel, load_model, registered_config
from headroles.models.probes.probe_texts import Probe, ProbeSizes, make_probes
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.scoring.sweep import score_here

BUILT_IN = ("previous_token_head", "induction_head", "duplicate_token_head")
MEGABYTE = 1024**2
PROMPT_TOKENS = (16, 64, 256)


def all_role_probes(loaded: LoadedModel, recipe: ProbeSizes) -> list[Probe]:
    """The repeated sequences of the recipe, each scored on all roles that patterns show."""
    probes = [probe for probe in make_probes(loaded, recipe) if probe.roles[0].requires_repetition]
    return [Probe(probe.token_ids, probe.lengths, pattern_roles()) for probe in probes]


def bare_forward(config: PreTrainedConfig, probes: list[Probe]) -> Callable[[], None]:
    """The model's eager forward on the probes, without the unembedding."""
    loaded = random_model("bare", config)
    loaded.model.set_attn_implementation("eager")
    body = loaded.model.base_model

    def run() -> None:
        for probe in probes:
            with torch.no_grad():
                body(input_ids=probe.token_ids, use_cache=False)

    return run


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


def bench_detect_head(rounds: int = 3) -> None:
    """The streamed analysis against `detect_head` calls a sequence."""
    loaded = random_model("streamed", registered_config(MODELS["gpt2"]))
    probes = all_role_probes(loaded, ProbeSizes(repeated_sequences=10, sentences=1))
    bridge = open_bridge(loaded)

    def detect(names: tuple[str, ...]) -> None:
        for probe in probes:
            for ids in probe.token_ids:
                stand_in = ExactTokens(bridge, ids)
                with torch.no_grad():
                    for name in names:
                        detect_head(stand_in, "", name)  # type: ignore[arg-type]

    seconds = compare(
        {
            "streamed": lambda: score_model(bridge, loaded, probes),
            "one detect_head call a sequence": lambda: detect(BUILT_IN[:1]),
            "three detect_head calls a sequence": lambda: detect(BUILT_IN),
        },
        rounds,
    )
    count, length = probes[0].token_ids.shape
    print(f"\nAnalysis, GPT-2-small shape, {count} sequences of {length} tokens, all five roles")
    for name in list(seconds)[1:]:
        print(f"  {name:38} takes {seconds[name] / seconds['streamed']:6.2f} times the streamed analysis")


def bench_models(rounds: int = 3) -> None:
    """The whole analysis, offline and on the page, against the bare headless forward of the same texts."""
    print("\nAnalysis of 10 sequences of 101 tokens, all five roles: times, and peak memory beyond the weights")
    print(f"  {'shape':20}{'TransformerLens':>18}{'PyVene':>10}{'bare':>9}{'TransformerLens':>18}{'PyVene':>10}{'bare':>9}")
    for name in ("gpt2", "gpt2-medium", "Qwen/Qwen2.5-0.5B"):
        _analysis_row(name, registered_config(MODELS[name]), ProbeSizes(repeated_sequences=10, sentences=1), rounds)


def bench_growth(rounds: int = 3) -> None:
    """How the same ratios grow with layers, heads and the length of the texts, around 8 layers of 8 heads and 101 tokens."""
    print("\nHow it grows: GPT-2-like, width 512; 8 layers, 8 heads, 101 tokens unless the row says otherwise")
    for layers in (4, 8, 16, 32):
        _analysis_row(f"{layers} layers", GPT2Config(n_embd=512, n_layer=layers, n_head=8), ProbeSizes(10, 50, 1), rounds)
    for heads in (4, 16, 32):
        _analysis_row(f"{heads} heads", GPT2Config(n_embd=512, n_layer=8, n_head=heads), ProbeSizes(10, 50, 1), rounds)
    for length in (16, 128, 250):
        _analysis_row(f"{2 * length + 1} tokens", GPT2Config(n_embd=512, n_layer=8, n_head=8), ProbeSizes(10, length, 1), rounds)


def _analysis_row(title: str, config: PreTrainedConfig, recipe: ProbeSizes, rounds: int) -> None:
    lens, pyvene = random_model("lens", config), random_model("pyvene", config)
    probes = all_role_probes(lens, recipe)
    bridge, reader = open_bridge(lens), PatternReader(pyvene)
    contenders = {
        "lens": lambda: score_model(bridge, lens, probes),
        "pyvene": lambda: score_here(reader, probes),
        "bare": bare_forward(config, probes),
    }
    seconds, memory = compare(contenders, rounds), peak_memory(contenders)
    ratios = "".join(f"{seconds[name] / seconds['bare']:{width - 2}.2f} x" for name, width in (("lens", 18), ("pyvene", 10)))
    peaks = "".join(f"{memory[name] / MEGABYTE:{width - 3}.0f} MB" for name, width in (("lens", 18), ("pyvene", 10), ("bare", 9)))
    print(f"  {title:20}{ratios}{seconds['bare']:7.2f} s{peaks}", flush=True)


def bench_prompt(rounds: int = 15) -> None:
    """Reading and scoring a prompt, against a plain forward of the model as a user would run it (SDPA, with the unembedding)."""
    print("\nFrom a prompt to all scores, as multiples of a plain forward (SDPA, with the unembedding) over the same tokens")
    print(f"  {'model':24}{'tokens':>8}{'plain':>12}{'capture':>11}{'scoring':>11}{'evidence':>11}{'whole':>11}")
    _prompt_rows(EMBEDDED_MODEL, load_model(EMBEDDED_MODEL), load_model(EMBEDDED_MODEL), rounds)
    for name in ("gpt2", "HuggingFaceTB/SmolLM2-135M"):
        loaded, plain = (random_model(side, registered_config(MODELS[name])) for side in ("probed", "plain"))
        _prompt_rows(f"{name.split('/')[-1]}'s shape", loaded, plain, rounds)


def _prompt_rows(title: str, loaded: LoadedModel, plain: LoadedModel, rounds: int) -> None:
    reader = PatternReader(loaded)
    plain.model.set_attn_implementation("sdpa")
    for length, prompt in zip(PROMPT_TOKENS, make_prompts(loaded, PROMPT_TOKENS)):
        token_ids = torch.tensor([loaded.encode(prompt)])
        attention = reader.read(loaded.encode(prompt))

        def forward(token_ids=token_ids) -> None:
            with torch.no_grad():
                plain.model(input_ids=token_ids, use_cache=False)

        contenders = {
            "plain": forward,
            "capture": lambda prompt=prompt: reader.read(loaded.encode(prompt)),
            "scoring": lambda attention=attention: score_prompt(attention),
            "evidence": lambda attention=attention: weigh_prompt(attention),
            "whole": lambda prompt=prompt: weigh_prompt(score_prompt(reader.read(loaded.encode(prompt)))),
        }
        seconds = compare(contenders, rounds)
        ratios = "".join(f"{seconds[name] / seconds['plain']:9.2f} x" for name in list(contenders)[1:])
        print(f"  {title:24}{length:8}{seconds['plain'] * 1000:9.1f} ms{ratios}", flush=True)


def score_prompt(attention: Attention) -> Attention:
    """All that a prompt is scored on, every head in every measured role."""
    measure_heads(attention.patterns[None], torch.tensor([attention.token_ids]))
    return attention


def weigh_prompt(attention: Attention) -> None:
    """The excess of every head at every token, in every role that a text calls for."""
    for role in pattern_roles():
        if role.measure.is_triggered:
            role.measure.excess(attention.patterns, torch.tensor(attention.token_ids))


def main() -> None:
    torch.set_num_threads(2)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    bench_detect_head()
    bench_prompt()
    bench_models()
    bench_growth()


if __name__ == "__main__":
    main()
