"""The app under API clients, and what a click on a head costs the server: `python -m bench.load [MODEL] [--requests 128]`."""

import argparse
import json
import os
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from analysis.pipeline.sources import locate_model
from bench.measuring import make_prompts, run_locust
from headroles.core.registry import EMBEDDED_MODEL
from headroles.explorer import Explorer
from headroles.models.loading.loader import LoadedModel, load_model
from headroles.render.api.schema import analysis_result
from headroles.server.page.page_state import PageState
from headroles.server.page.parts import visit
from headroles.settings import Settings
from tests.fixtures.app_process import running_app

CLIENTS = (1, 8, 32, 64)
PROMPT_TOKENS = (16, 64)  # the shortest and the longest prompt of a client
LENGTHS = (16, 64, 256)  # tokens of the texts on which heads are clicked
CLICKS = 15


def bench_clients(plain: LoadedModel, explorer: Explorer, url: str, clients: int, requests: int) -> None:
    """Prints how clients at once fare, each request another prompt, beside plain forwards of the same texts in turn.

    Args:
        plain: the model, a copy that PyVene never touched.
        explorer: gives the serial answers.
        url: the running app's.
        clients: how many ask at once; they share the machine with the server.
        requests: how many they ask in all.
    """
    generator = random.Random(clients)
    prompts = make_prompts(plain, [generator.randint(*PROMPT_TOKENS) for _ in range(requests)], clients)
    before = forward_seconds(plain, prompts)
    told = ask_at_once(explorer, url, plain.name, prompts, clients)
    # before and after, so that a machine whose speed drifts does not favour one side
    forwards = 2 * requests / (before + forward_seconds(plain, prompts))
    print(
        f"  {clients:4} clients: {told['per_second']:6.1f} requests/s, {told['per_second'] / forwards:.2f} of plain forwards, "
        f"p50 {told['p50']:.0f} ms, p95 {told['p95']:.0f} ms, "
        f"{told['calls'] - told['failures']} of {requests} answers equal the serial ones {'; '.join(told['errors'])}",
        flush=True,
    )


def ask_at_once(explorer: Explorer, url: str, model: str, prompts: Sequence[str], clients: int, *options: object) -> dict:
    """Lets locust ask an app for analyses, each of which fails where it differs from the serial one.

    Args:
        explorer: gives the serial answers.
        url: the app's.
        model: what both call it.
        prompts: each is asked for once.
        clients: how many ask at once.
        options: more of them for locust.

    Returns:
        What locust measured; see `locustfile.write_report`.
    """
    calls = [(model, prompt, analysis_result(explorer.analyze(model, prompt)).model_dump()) for prompt in prompts]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "prompts.json"
        file.write_text(json.dumps(calls), "utf-8")
        return run_locust(url, clients, "Caller", "--prompts", file, "--calls", len(calls), *options)["Caller"]


def forward_seconds(loaded: LoadedModel, prompts: Sequence[str]) -> float:
    """Returns how long the model takes for the texts in turn, as a user would run it (SDPA, with the unembedding)."""
    rows = [torch.tensor([loaded.encode(prompt)]) for prompt in prompts]
    started = time.perf_counter()
    with torch.no_grad():
        for row in rows:
            loaded.model(input_ids=row, use_cache=False)
    return time.perf_counter() - started


def bench_clicks(plain: LoadedModel, explorer: Explorer) -> None:
    """Prints what a click on a head costs the server, once the prompt was analysed; another head each time."""
    for length, prompt in zip(LENGTHS, make_prompts(plain, LENGTHS)):
        first, *heads = random.Random(0).sample(explorer.analyze(plain.name, prompt).heads.heads(), CLICKS + 2)
        place, seconds = PageState(plain.name, prompt, first), []
        for head in heads:
            started = time.perf_counter()
            visit(explorer, replace(place, head=head), place)
            seconds.append((time.perf_counter() - started) * 1000)
        median, longest = statistics.median(seconds[1:]), max(seconds[1:])  # the first fills caches
        print(f"  a click at {length:3} tokens: {median:.0f} ms, the longest of {CLICKS} {longest:.0f} ms", flush=True)


def main() -> None:
    """Prints both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default=EMBEDDED_MODEL)
    parser.add_argument("--requests", type=int, default=128, help="for each number of clients")
    asked = parser.parse_args()
    print(f"{asked.model}, {torch.get_num_threads()} threads, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    plain, explorer = load_model(asked.model, locate_model(asked.model)), Explorer(Settings(any_model=True))
    bench_clicks(plain, explorer)
    with TemporaryDirectory() as home, running_app(Path(home)) as url:
        ask_at_once(explorer, url, plain.name, make_prompts(plain, [20]), 1)  # loads the model
        for clients in CLIENTS:
            bench_clients(plain, explorer, url, clients, asked.requests)


if __name__ == "__main__":
    main()
