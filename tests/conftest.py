"""Shared fixtures: the embedded model, tiny random-weight models built from configs, and random attention."""

import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import hypothesis
import jaxtyping
import pytest
import torch

from headroles.core.readings import verdicts
from headroles.core.records.head_categories import HeadCategories
from headroles.core.registry import EMBEDDED_MODEL
from headroles.explorer import Explorer
from headroles.hub.record_store import load_head_categories
from headroles.models.loading.loader import LoadedModel, load_model
from headroles.models.probes.probe_texts import ProbeSizes
from tests.fixtures.architectures import build
from tests.fixtures.double import InDouble
from tests.fixtures.patience import NEVER, VARIABLE

pytest_plugins = ["tests.plan", "tests.fixtures.real"]
# `make thorough` asks for the second: --hypothesis-profile=thorough. No test sets a number of examples of its own. How long an
# example takes says nothing on a busy machine; what fails is printed so that it can be tried again.
for _profile, _examples in (("default", 25), ("thorough", 200)):
    hypothesis.settings.register_profile(
        _profile,
        max_examples=_examples,
        deadline=None,
        print_blob=True,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
hypothesis.settings.load_profile("default")
# what whoever runs the tests has set for a server of theirs is none of a test's defaults
for _name in [name for name in os.environ if name.startswith("HEADROLES_") and name != VARIABLE]:
    del os.environ[_name]
if os.environ.get("PYTEST_XDIST_WORKER"):  # beside other tests two threads wait for each other many times as long as one computes
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # and in the processes that tests start
else:
    torch.set_num_threads(2)
REPEATING = "The king and the queen lived in a castle. The king and the"
PLAIN = "She opened a door and saw the small garden behind it."


# what tests found out and people want to see at the end of a run: rows of columns, by title
tables: dict[str, list[dict[str, object]]] = {}


def pytest_sessionfinish(session) -> None:
    """Hands the tables of a worker process to the one that prints."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["tables"] = tables


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    for title, rows in getattr(node, "workeroutput", {}).get("tables", {}).items():
        tables.setdefault(title, []).extend(rows)


def pytest_terminal_summary(terminalreporter) -> None:
    """Prints the tables that tests filled."""
    for title, rows in tables.items():
        cells = [[_cell(value) for value in row.values()] for row in rows]
        widths = [max(map(len, column)) + 2 for column in zip(list(rows[0]), *cells)]
        terminalreporter.section(title)
        for line in (list(rows[0]), *cells):
            terminalreporter.write_line("".join(text.ljust(width) for text, width in zip(line, widths)).rstrip())


def _cell(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)


@pytest.fixture(scope="module")
def one_thread():
    """Two threads make small models no faster, and far slower where something else wants the second core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def in_double() -> Iterator[None]:
    """While it lasts, nothing but the weights of a model is in float32."""
    with InDouble():
        yield


@pytest.fixture
def unchecked(monkeypatch) -> None:
    """Shapes are not enforced: for what we say ourselves of those that are wrong."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def measured(monkeypatch) -> list[tuple[str, tuple[int, ...]]]:
    """The model and token ids of every measuring of all heads, as they come."""
    texts, original = [], verdicts.read_heads

    def counted(attention, record):
        texts.append((attention.model, attention.token_ids))
        return original(attention, record)

    monkeypatch.setattr("headroles.explorer.read_heads", counted)
    return texts


@pytest.fixture(scope="session", autouse=True)
def short_analyses() -> Iterator[None]:
    """What is analysed here is scored and calibrated on as few texts as can be; `tests/models` tries the real thing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headroles.explorer.HERE", ProbeSizes(5, 20, 5, calibration=1))
        yield


@pytest.fixture(scope="session", autouse=True)
def product_limits_never_strike() -> Iterator[None]:
    """A test of one of these limits sets it itself, so low or so high that the speed of the machine cannot matter."""
    limits = (
        "headroles.hub.dataset.HUB_TIMEOUT_SECONDS",
        "headroles.hub.repository.HUB_TIMEOUT_SECONDS",
        "headroles.hub.http.HUB_TIMEOUT_SECONDS",
        "headroles.hub.sync.HUB_WAIT_SECONDS",
        "headroles.models.untrusted.sandbox.OPEN_SECONDS",
        "headroles.models.untrusted.sandbox.TEXT_WALL_SECONDS",
        "headroles.models.untrusted.sandbox.CHECK_SECONDS",
    )
    with pytest.MonkeyPatch.context() as patch:
        for limit in limits:
            patch.setattr(limit, NEVER)
        yield


@pytest.fixture(scope="session")
def explorer() -> Explorer:
    return Explorer()


@pytest.fixture(scope="session")
def tiny() -> LoadedModel:
    """The embedded model, untouched by PyVene."""
    return load_model(EMBEDDED_MODEL)


@pytest.fixture
def fresh_tiny() -> LoadedModel:
    """A copy of the embedded model of one's own, for what changes it."""
    return load_model(EMBEDDED_MODEL)


@pytest.fixture(scope="session")
def record() -> HeadCategories:
    return load_head_categories(EMBEDDED_MODEL)


@pytest.fixture
def random_model(tiny: LoadedModel) -> Callable[[str], LoadedModel]:
    """Makes a small model of an architecture with random weights and the embedded model's tokenizer."""

    def make(architecture: str, seed: int = 0) -> LoadedModel:
        return LoadedModel(f"random-{architecture}", build(architecture, seed), tiny.tokenizer, "random")

    return make


def random_attention(*shape: int, length: int, seed: int = 0, sharpness: float = 3.0) -> torch.Tensor:
    """Causal attention patterns [*shape, length, length] with rows that sum to 1."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(*shape, length, length, generator=generator) * sharpness
    future = torch.triu(torch.ones(length, length, dtype=torch.bool), diagonal=1)
    return scores.masked_fill(future, float("-inf")).softmax(-1)


def uniform_attention(length: int) -> torch.Tensor:
    """The pattern [length, length] of a head that looks at everything alike."""
    return torch.tril(torch.ones(length, length)) / torch.arange(1, length + 1)[:, None]


class ExactTokens:
    """What TransformerLens' `detect_head` touches of a model, over given patterns [layer, head, query, key] and token ids.

    `detect_head` takes strings only, and no random token sequence survives being decoded and encoded again.
    """

    def __init__(self, patterns: torch.Tensor, token_ids: torch.Tensor) -> None:
        self._patterns, self._token_ids = patterns, token_ids
        layers, heads = patterns.shape[:2]
        self.cfg = SimpleNamespace(n_layers=layers, n_heads=heads, n_ctx=10_000, device="cpu", dtype=torch.float32)

    def to_tokens(self, _: str) -> torch.Tensor:
        return self._token_ids[None]

    def run_with_cache(self, _: torch.Tensor, remove_batch_dim: bool):
        assert remove_batch_dim
        return None, {("pattern", layer, "attn"): pattern for layer, pattern in enumerate(self._patterns)}
