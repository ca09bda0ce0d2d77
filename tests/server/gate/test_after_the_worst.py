"""What a killed server leaves behind, and that the next one serves; a server that may write nowhere serves as well."""

import contextlib
import resource
import signal
from pathlib import Path

import psutil
import pytest

from headroles.core.records.atomic_files import PARTIAL
from headroles.core.records.record_files import read_record
from headroles.core.registry import EMBEDDED_MODEL
from headroles.models.loading.loader import LoadedModel
from tests.fixtures.app_process import serve, stop, take_offer
from tests.fixtures.architectures import build
from tests.fixtures.patience import PATIENCE, wait_until
from tests.fixtures.web import call

pytestmark = pytest.mark.processes
ANALYSES = "coring all heads of"
OFFLINE = {"HF_HUB_OFFLINE": "1", "HEADROLES_ANY_MODEL": "1"}


def save(tiny: LoadedModel, folder: Path, **sizes: int) -> str:
    """A folder with a random GPT-2, which no server knows the roles of."""
    build("gpt2", **sizes).save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)  # pyright: ignore[reportAttributeAccessIssue]
    return str(folder)


@pytest.fixture
def model(tiny: LoadedModel, tmp_path) -> str:
    """One that is scored in no time."""
    return save(tiny, tmp_path / "model", n_positions=128)


@pytest.fixture
def slow_model(tiny: LoadedModel, tmp_path) -> str:
    """One that takes some seconds to score."""
    return save(tiny, tmp_path / "model", n_layer=12, n_embd=256)


def children_at_work() -> set[int]:
    """The processes on this machine in which strangers' models are opened."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if "headroles.models.worker_main" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.add(process.pid)
    return found


def wait_until_gone(processes: set[int]) -> None:
    wait_until(lambda: not processes & children_at_work())


@pytest.mark.thorough
def test_a_server_killed_while_it_analyses_leaves_no_process_and_the_next_one_serves_and_analyses_the_model(slow_model, tmp_path):
    home = tmp_path / "home"
    settings = {**OFFLINE, "HEADROLES_HOME": str(home), "HF_HOME": str(home / "hf")}
    process, url = serve(None, "", None, **settings)
    for line in take_offer(url, slow_model):
        if ANALYSES in line:
            break
    else:
        raise AssertionError("no analysis was seen")
    own = {child.pid for child in psutil.Process(process.pid).children(recursive=True)} & children_at_work()
    assert own  # the model's tokenizer is read in one
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)
    wait_until_gone(own)
    assert all(read_record(path) for path in home.rglob("*.json"))  # whole, if there is one

    half = home / "analysed" / f".{'0' * 32}{PARTIAL}"  # as if it had been in the middle of its write, for which see tests/core
    half.parent.mkdir(parents=True, exist_ok=True)
    half.write_bytes(b"half")
    process, url = serve(int(url.rstrip("/").rpartition(":")[2]), "", None, **settings)
    try:
        assert call(url, "/analyze", [EMBEDDED_MODEL, "The king and the queen"])[0] == "complete"
        assert "process_completed" in list(take_offer(url, slow_model))[-1]
        (record,) = (read_record(path) for path in home.rglob("analysed/*.json"))
        assert record.model_name == slow_model
        assert list(home.rglob(f"*{PARTIAL}")) == []
    finally:
        stop(process)


def fill_the_disk() -> None:
    """From now on no file of this process may hold a byte: what is written ends in an error, as on a disk that is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


@pytest.mark.parametrize(
    ("first", "home"),
    [
        pytest.param(None, {"HEADROLES_HOME": "/proc/headroles"}, marks=pytest.mark.thorough, id="a home that cannot be written"),
        pytest.param(fill_the_disk, {"HOME": "/proc/nobody/home"}, id="no home and a full disk"),
    ],
)
def test_a_server_that_may_write_nowhere_serves_and_says_why_it_cannot_keep_an_analysis(model, first, home):
    process, url = serve(None, "", first, **OFFLINE, **home)
    try:
        assert call(url, "/analyze", [EMBEDDED_MODEL, "The king and the queen"])[0] == "complete"
        answers = list(take_offer(url, model))
        assert "could not be kept: " in "".join(answers)
        assert "process_completed" in answers[-1]
        assert call(url, "/analyze", [EMBEDDED_MODEL, "And then another text"])[0] == "complete"
    finally:
        stop(process)
