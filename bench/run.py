"""What the analysis of a model takes, as ratios within one run: `make bench`. Random weights, so that no network is needed.

Every ratio of times is one of medians over interleaved rounds (A, B, A, B, ...).
"""

from dataclasses import replace
from types import SimpleNamespace

import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.head_detector import detect_head
from transformer_lens.model_bridge import TransformerBridge
from transformers import GPT2Config, PreTrainedConfig

from analysis.pipeline.bridge import open_bridge, score_model
from bench.measuring import compare, peak_memory, random_model
from headroles.core.registry import MODELS
from headroles.core.roles.scoring import pattern_roles
from headroles.core.text.tokens import is_delimiter
from headroles.models.loading.loader import LoadedModel, registered_config
from headroles.models.probes.probe_texts import Probe, ProbeSizes, make_probes
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.scoring.sweep import score_patterns

ROUNDS = 3
MEGABYTE = 1024**2
TOKENS = 50  # of a passage, which each sequence says twice after a BOS


def all_role_probe(loaded: LoadedModel, tokens: int = TOKENS) -> Probe:
    """Returns ten repeated sequences, scored on all roles that patterns show."""
    recipe = ProbeSizes(repeated_sequences=10, repeat_length=tokens, sentences=1)
    probe = next(probe for probe in make_probes(loaded, recipe) if probe.roles[0].requires_repetition)
    delimiters = [[is_delimiter(text) for text in loaded.token_texts(ids)] for ids in probe.token_ids.tolist()]
    return replace(probe, roles=pattern_roles(), delimiters=torch.tensor(delimiters))


def exact_tokens(bridge: TransformerBridge, token_ids: Int[Tensor, " token"]) -> SimpleNamespace:
    """Returns the part of a bridge that `detect_head` touches, which encodes any text as the given ids."""
    return SimpleNamespace(cfg=bridge.cfg, to_tokens=lambda _: token_ids[None], run_with_cache=bridge.run_with_cache)


def bench_detect_head(rounds: int = ROUNDS) -> None:
    """Prints what a `detect_head` call a sequence, of one role, takes beside the streamed analysis of all roles."""
    loaded = random_model("streamed", registered_config(MODELS["gpt2"]))
    probe, bridge = all_role_probe(loaded), open_bridge(loaded)

    def detect() -> None:
        for ids in probe.token_ids:
            with torch.no_grad():
                detect_head(exact_tokens(bridge, ids), "", "previous_token_head")  # type: ignore[arg-type]

    seconds = compare({"streamed": lambda: score_model(bridge, loaded, [probe]), "detect_head": detect}, rounds)
    ratio = seconds["detect_head"] / seconds["streamed"]
    print(f"One detect_head call a sequence takes {ratio:.2f} times as long as the streamed analysis of all roles")


def bench_analysis(title: str, config: PreTrainedConfig, tokens: int = TOKENS, rounds: int = ROUNDS) -> None:
    """Prints the analysis, offline and on the page, beside the bare forward of the same texts.

    Args:
        title: of the line.
        config: the model's shape.
        tokens: of the passage that each text says twice.
        rounds: of which the median is taken.
    """
    lens, pyvene, bare = (random_model(name, config) for name in ("lens", "pyvene", "bare"))
    probe = all_role_probe(lens, tokens)
    bridge, reader = open_bridge(lens), PatternReader(pyvene)
    bare.model.set_attn_implementation("eager")

    def forward() -> None:
        with torch.no_grad():
            bare.model.base_model(input_ids=probe.token_ids, use_cache=False)  # without the unembedding

    contenders = {
        "TransformerLens": lambda: score_model(bridge, lens, [probe]),
        "PyVene": lambda: score_patterns(reader, [probe]),
        "bare": forward,
    }
    seconds = compare(contenders, rounds)
    peaks = {name: peak_memory(run) / MEGABYTE for name, run in contenders.items()}
    told = "".join(f"   {name} {seconds[name] / seconds['bare']:.2f} x, {peak:.0f} MB" for name, peak in peaks.items())
    print(f"  {title:14}{told}", flush=True)


def main() -> None:
    """Prints all of it."""
    torch.set_num_threads(2)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    bench_detect_head()
    print("Analysis of 10 texts of 101 tokens, all roles: times of the bare forward, and peak memory beyond the weights")
    for name in ("gpt2", "gpt2-medium"):
        bench_analysis(name, registered_config(MODELS[name]))
    print("The same of GPT-2-like models of width 512, 8 layers, 8 heads and 101 tokens, unless the row says otherwise")
    for layers in (4, 8, 32):
        bench_analysis(f"{layers} layers", GPT2Config(n_embd=512, n_layer=layers, n_head=8))
    for heads in (4, 16, 32):
        bench_analysis(f"{heads} heads", GPT2Config(n_embd=512, n_layer=8, n_head=heads))
    for tokens in (16, 128, 250):
        bench_analysis(f"{2 * tokens + 1} tokens", GPT2Config(n_embd=512, n_layer=8, n_head=8), tokens)


if __name__ == "__main__":
    main()
