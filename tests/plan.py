"""Which tests run in which order, and what their marks promise. A plugin of pytest, loaded by conftest.

The order is another one each time, so that no test comes to lean on the one before: the files are shuffled, and the tests within
each. What a file shares is still made once. `TEST_ORDER=<the number at the end of a run>` repeats an order; with `TEST_ORDER=0`
they run as they are written.
"""

import multiprocessing.process
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.patience import PATIENCE

# workers of pytest-xdist inherit the number, and must: each makes the order for itself
ORDER = int(os.environ.setdefault("TEST_ORDER", str(random.SystemRandom().randrange(1, 100_000))))
BROWSER = Path(__file__).parent / "browser"
# what Python says when a program begins beside this one; a multiprocessing one says nothing
BEGINNINGS = {"subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.system", "os.startfile"}
ASKED_FOR = "ninja"  # transformers asks for its version when it opens some models, whether it is there or not
_begun: list[str] = []


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if BROWSER in item.path.parents:
            item.add_marker(pytest.mark.browser)
    if ORDER:
        shuffle(items, random.Random(ORDER))


def shuffle(items: list[pytest.Item], chance: random.Random) -> None:
    """In place: first the files, then the tests of each."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    parts = list(files.values())
    chance.shuffle(parts)
    for part in parts:
        chance.shuffle(part)
    items[:] = [item for part in parts for item in part]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"TEST_ORDER={ORDER}")


def note(event: str, told: tuple) -> None:
    """An audit hook."""
    if event in BEGINNINGS and told[:1] != (ASKED_FOR,):
        _begun.append(f"{event} {told[:2]}")


@pytest.hookimpl(tryfirst=True)  # before pytest-timeout reads its option
def pytest_configure(config: pytest.Config) -> None:
    if config.option.timeout is None:  # a test waits for several states, one after the other
        config.option.timeout = 6 * PATIENCE
    sys.addaudithook(note)
    start = multiprocessing.process.BaseProcess.start

    def note_and_start(self: multiprocessing.process.BaseProcess) -> None:
        _begun.append("multiprocessing")
        start(self)

    multiprocessing.process.BaseProcess.start = note_and_start


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    _begun.clear()
    yield
    check_processes(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    yield
    check_processes(item)


def check_processes(item: pytest.Item) -> None:
    """Fails a test that started another process and is not marked as one that does."""
    if _begun and not any(item.get_closest_marker(mark) for mark in ("processes", "browser")):
        pytest.fail(f"It starts other processes ({_begun[0]}): mark it with `processes`.", pytrace=False)
