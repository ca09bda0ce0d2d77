"""The running app: under many API clients, at a click, and on a slow processor.

    python -m bench.load [load] [clicks] [journey]

All parts by default. On the embedded model and on random weights of GPT-2-small's shape, so that no network is needed. The part
in a browser needs a Chromium; without one its figures are left out.
"""

import argparse
import json
import math
import os
import random
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch
from urllib.parse import urlsplit

import torch
from transformers import GPT2Model, GPTNeoXModel

from bench.browsing import (
    COPY_LINK,
    SLOWER,
    chromium,
    longest_task,
    open_slowly,
    time_click,
    time_explore,
    time_head,
    type_slowly,
)
from bench.subjects import random_model
from headroles.core.registry import EMBEDDED_MODEL, MODELS
from headroles.explorer import Explorer
from headroles.hub.record_store import RecordStore
from headroles.models.loading.loader import LoadedModel, load_model, registered_config
from headroles.models.probes.probe_texts import ProbeSizes
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.scoring.sweep import analyze_here
from headroles.render.api.serialize import analysis_result
from headroles.server.page.page_state import PageState
from headroles.server.page.parts import visit
from headroles.settings import Settings
from tests.fixtures.app_process import running_app

CLIENTS = (1, 8, 32, 64)
REQUESTS = 128  # for each number of clients
PROMPT_TOKENS = (16, 64)  # the shortest and the longest prompt of a client
LENGTHS: tuple[int, ...] = (16, 64, 256)
CLICKS = 15
ROUNDS = 7
TOLERANCE = 1e-6  # of every number of an answer


@dataclass(frozen=True)
class Subject:
    """A model of the bench: what the app calls it, and a copy of it that PyVene never touched."""

    title: str
    name: str
    plain: LoadedModel


def bench_load(subjects: Sequence[Subject], explorer: Explorer, url: str) -> None:
    """Clients at once on the API, each request another prompt, against plain forwards of the same texts one after the other.

    Raises:
        AssertionError: when an answer differs from the serial one.
    """
    print(f"\nAPI clients at once: {REQUESTS} prompts of {PROMPT_TOKENS[0]} to {PROMPT_TOKENS[1]} tokens, all different,")
    print("so that no kept pattern serves twice; the clients share the machine with the server")
    for subject in subjects:
        print(f"  {subject.title:20}{'requests':>10}{'plain forwards':>18}{'ratio':>8}{'p50':>10}{'p95':>10}   equal")
        ask(connect(url), subject.name, "The model is in memory now.")
        for clients in CLIENTS:
            generator = random.Random(clients)
            prompts = make_prompts(subject.plain, [generator.randint(*PROMPT_TOKENS) for _ in range(REQUESTS)], clients)
            before = forward_seconds(subject.plain, prompts)
            serial = [analysis_result(explorer.analyze(subject.name, prompt)) for prompt in prompts]
            started = time.perf_counter()
            answers, waits = ask_at_once(url, subject.name, prompts, clients)
            requests = REQUESTS / (time.perf_counter() - started)
            # before and after, so that a machine whose speed drifts does not favour one side
            forwards = 2 * REQUESTS / (before + forward_seconds(subject.plain, prompts))
            equal = sum(map(is_equal, answers, serial))
            title = f"{clients:5} client{'s' if clients > 1 else ''}"
            print(
                f"  {title:20}{requests:8.1f}/s{forwards:16.1f}/s{requests / forwards:8.2f}"
                f"{percentile(waits, 50) * 1000:7.0f} ms{percentile(waits, 95) * 1000:7.0f} ms   {equal} of {REQUESTS}",
                flush=True,
            )
            assert equal == REQUESTS, f"{REQUESTS - equal} answers differ from the serial ones"


def bench_clicks(subjects: Sequence[Subject], explorer: Explorer) -> None:
    """What a click on a head costs the server, once the prompt was analysed; another head each time.

    Raises:
        AssertionError: when a click takes a forward.
    """
    print(f"\nFrom a click to the heatmap, on the server: median and longest of {CLICKS} heads (aim: under 150 ms, no forward)")
    for subject in subjects:
        explorer.prepare(subject.name).result()  # loading takes forwards too
        for length, prompt in zip(LENGTHS, make_prompts(subject.plain, LENGTHS)):
            with counted_forwards() as forwards:
                table = explorer.analyze(subject.name, prompt).heads
            assert len(forwards) == 1, f"{len(forwards)} forwards seen for an analysis"  # else the count below would be blind
            heads = random.Random(0).sample(table.heads(), CLICKS + 1)
            here, seconds = PageState(subject.name, prompt, table.heads()[0]), []
            with counted_forwards() as forwards:
                for head in heads:
                    started = time.perf_counter()
                    _, parts = visit(explorer, replace(here, head=head), here)
                    seconds.append(time.perf_counter() - started)
                    assert head == here.head or set(parts) == {"view", "twin"}
            median, longest = statistics.median(seconds[1:]), max(seconds[1:])  # the first fills caches
            print(
                f"  {subject.title:20}{length:4} tokens: {median * 1000:6.0f} ms, longest {longest * 1000:6.0f} ms, "
                f"{len(forwards)} forwards",
                flush=True,
            )
            assert not forwards, "a click takes a forward"


def bench_journey(loaded: LoadedModel, url: str) -> None:
    """Open, type, explore and click on a slowed-down processor (aim: from Explore to the panel under 1 s)."""
    print(f"\nThe journey on a processor {SLOWER} times slower, embedded model: medians, and the longest task of the main thread")
    with chromium() as browser:
        if not browser:
            return
        opened = [open_slowly(browser, url) for _ in range(3)]
        _print_step("open the page", [page.evaluate("opened") for page in opened], [longest_task(page) for page in opened])
        *others, page = opened
        for other in others:
            other.close()
        texts = make_prompts(loaded, range(20, 20 + ROUNDS + 1), seed=1)
        steps: dict[str, list[tuple[float, float]]] = {"type, a key stroke": [], "Explore to panel": [], "click to view": []}
        for count, text in enumerate(texts, start=20):
            steps["type, a key stroke"].append(type_slowly(page, text))
            steps["Explore to panel"].append(time_explore(page, count))
            steps["click to view"].append(time_head(page))
        for step, pairs in steps.items():
            milliseconds, tasks = zip(*pairs[1:])  # the first warms up
            _print_step(step, milliseconds, tasks)
        if (copy := page.locator(COPY_LINK)).count():
            _print_step("copy the link", *zip(time_click(page, copy.first.click, "true")))


def _print_step(step: str, milliseconds: Sequence[float], tasks: Sequence[float]) -> None:
    print(f"  {step:20}{statistics.median(milliseconds):8.0f} ms, longest task {max(tasks):6.0f} ms", flush=True)


def make_prompts(loaded: LoadedModel, lengths: Sequence[int], seed: int = 0) -> list[str]:
    """A text of so many tokens each, a BOS counted: random words that are one token of the model, a capital one first."""
    ids = range(len(loaded.tokenizer))
    texts = [text for text, i in zip(loaded.token_texts(tuple(ids)), ids) if loaded.tokenizer.encode(text) == [*loaded.bos, i]]
    first = [text for text in texts if re.fullmatch("[A-Z][a-z]+", text)]
    words = [text for text in texts if re.fullmatch(" [a-z]{2,}", text)]
    generator = random.Random(seed)
    return [generator.choice(first) + "".join(generator.choices(words, k=length - len(loaded.bos) - 1)) for length in lengths]


def forward_seconds(loaded: LoadedModel, prompts: Sequence[str]) -> float:
    """How long the model takes for the texts one after the other, as a user would run it (SDPA, with the unembedding)."""
    rows = [torch.tensor([loaded.encode(prompt)]) for prompt in prompts]
    started = time.perf_counter()
    with torch.no_grad():
        for row in rows:
            loaded.model(input_ids=row, use_cache=False)
    return time.perf_counter() - started


def connect(url: str) -> HTTPConnection:
    return HTTPConnection(urlsplit(url).netloc, timeout=600)


def ask(connection: HTTPConnection, model: str, prompt: str) -> bytes:
    """The stream that the API answers with, in its two steps: hand in, then fetch."""
    call = "/gradio_api/call/analyze"
    connection.request("POST", call, json.dumps({"data": [model, prompt]}), {"Content-Type": "application/json"})
    event = json.loads(connection.getresponse().read())["event_id"]
    connection.request("GET", f"{call}/{event}")
    return connection.getresponse().read()


def read_answer(stream: bytes) -> object:
    """The result at the end of a stream. Raises RuntimeError when it is none."""
    *_, event, data = stream.decode().strip().split("\n")
    if event != "event: complete":
        raise RuntimeError(f"the API answered {event}, {data}")
    return json.loads(data.removeprefix("data: "))[0]


def ask_at_once(url: str, model: str, prompts: Sequence[str], clients: int) -> tuple[list[object], list[float]]:
    """Answers in the order of the prompts, and each one's seconds; every client has a connection and one request at a time."""
    answers: list[object] = [None] * len(prompts)
    seconds = [0.0] * len(prompts)

    def work(first: int) -> None:
        connection = connect(url)
        for number in range(first, len(prompts), clients):
            started = time.perf_counter()
            stream = ask(connection, model, prompts[number])
            seconds[number] = time.perf_counter() - started
            answers[number] = read_answer(stream)

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(work, range(clients)))
    return answers, seconds


def is_equal(answer: object, serial: object) -> bool:
    """Whether two results are the same: numbers with a fraction to TOLERANCE, all else exactly."""
    if isinstance(answer, Mapping) and isinstance(serial, Mapping):
        return answer.keys() == serial.keys() and all(is_equal(answer[key], serial[key]) for key in answer)
    if isinstance(answer, list) and isinstance(serial, list):
        return len(answer) == len(serial) and all(map(is_equal, answer, serial))
    if isinstance(answer, float) and isinstance(serial, float):
        return abs(answer - serial) <= TOLERANCE
    return type(answer) is type(serial) and answer == serial


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of the values do not exceed."""
    return sorted(values)[max(math.ceil(len(values) * percent / 100) - 1, 0)]


@contextmanager
def counted_forwards() -> Iterator[list[None]]:
    """A list that grows by one with every forward of a body of the two architectures, whoever asks for it."""
    forwards: list[None] = []

    def counting(forward: Callable) -> Callable:
        def counted(*args: object, **kwargs: object) -> object:
            forwards.append(None)
            return forward(*args, **kwargs)

        return counted

    with (
        patch.object(GPT2Model, "forward", counting(GPT2Model.forward)),
        patch.object(GPTNeoXModel, "forward", counting(GPTNeoXModel.forward)),
    ):
        yield forwards


def make_subjects(folder: Path, settings: Settings) -> tuple[Subject, Subject]:
    """The embedded model, and random weights that are kept in `folder`, their record in the settings' home."""
    random_weights = random_model("random", registered_config(MODELS["gpt2"]))
    random_weights.model.save_pretrained(folder)
    random_weights.tokenizer.save_pretrained(folder)  # pyright: ignore[reportAttributeAccessIssue]
    # random weights have no roles to find: a short recipe will do
    RecordStore(settings).keep(analyze_here(PatternReader(load_model(str(folder), folder)), ProbeSizes(3, 50, 3)))
    embedded = Subject("embedded model", EMBEDDED_MODEL, load_model(EMBEDDED_MODEL))
    return embedded, Subject("GPT-2-small shape", str(folder), random_weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], "load", "clicks", "journey"], metavar="part")
    parts = parser.parse_args().parts or ["load", "clicks", "journey"]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        settings = Settings(any_model=True, home=home)
        explorer = Explorer(settings)
        subjects = make_subjects(Path(folder) / "random-gpt2", settings)
        if "clicks" in parts:
            bench_clicks(subjects, explorer)
        if {"load", "journey"} & set(parts):
            with running_app(home) as url:
                if "load" in parts:
                    bench_load(subjects, explorer, url)
                if "journey" in parts:
                    bench_journey(subjects[0].plain, url)


if __name__ == "__main__":
    main()
