"""The process of a stranger's tokenizer, and the one that its model is tried in: what they answer, and how they end."""

import gc
import json
import os
import re
import resource
import signal
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from headroles import Explorer
from headroles.core.registry import EMBEDDED_FOLDER, EMBEDDED_MODEL
from headroles.errors import ModelLoadError, ModelTooLargeError, PromptError, UnsupportedModelError
from headroles.hub.repository import inspect
from headroles.jobs import Job
from headroles.models.model_pool import MAX_LOADS, ModelPool
from headroles.models.untrusted import sandbox as strangers
from headroles.models.untrusted.sandbox import RemoteTokenizer, check_in_sandbox
from headroles.models.untrusted.subprocess_worker import SubprocessWorker, WorkerDiedError
from headroles.models.untrusted.tokenizer_loader import open_tokenizer
from headroles.settings import GIGABYTE, Settings
from tests.conftest import PLAIN
from tests.fixtures import strange_files as files
from tests.fixtures.patience import NEVER, PATIENCE, wait_until
from tests.fixtures.strange_files import VOCABULARY, honest
from tests.fixtures.strangers import STRANGERS

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="looks at processes as Linux shows them"),
]
TEXTS = (PLAIN, "Ünïcödé 你好 \U0001f600", "\tx  = 1\n", "<|endoftext|>", "\ud800 half a sign", "")
BACKTRACKING = "a" * 40 + "!"  # for (a+)+$, which the library gives up in a panic
SLOW = "a" * 3000  # for a*a*x|a, some 10**9 steps
OF_OTHERS: set[int] = set()  # that another file's models still have


def children() -> dict[int, psutil.Process]:
    """The processes of strangers that a test here started, by their numbers; those that have ended are not among them."""
    found = {}
    for process in psutil.Process().children():
        if process.pid in OF_OTHERS:
            continue
        try:
            if "headroles.models.worker_main" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = process
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    gc.collect()
    OF_OTHERS.update(children())
    yield
    gc.collect()
    assert not children()


@pytest.fixture
def folder(tmp_path) -> Path:
    return honest(tmp_path / "model")


@pytest.fixture
def opened(folder) -> Iterator[RemoteTokenizer]:
    tokenizer = RemoteTokenizer("m", folder, VOCABULARY)
    yield tokenizer
    tokenizer.close()


def with_pattern(folder: Path, pattern: str) -> Path:
    files.tokens(pre_tokenizer=files.split(pattern))(folder)
    return folder


# the same as in this process


def test_it_answers_what_the_same_tokenizer_answers_here(folder, opened):
    here = open_tokenizer(folder, VOCABULARY)
    assert (opened.bos_token_id, opened.all_special_ids, len(opened)) == (here.bos_token_id, here.all_special_ids, len(here))
    assert opened.get_vocab() == here.get_vocab()
    for text in TEXTS[:-2]:
        for split in (False, True):
            ids = here.encode(text, split_special_tokens=split)
            assert opened.encode(text, split_special_tokens=split) == ids
        assert opened.decode(ids, clean_up_tokenization_spaces=False) == here.decode(ids, clean_up_tokenization_spaces=False)
        assert [opened.convert_ids_to_tokens(number) for number in ids] == here.convert_ids_to_tokens(ids)
    assert opened.encode("") == here.encode("")
    assert opened.memory_bytes > 0


def test_several_threads_get_their_own_answers(folder, opened):
    here = open_tokenizer(folder, VOCABULARY)
    texts = [f"{PLAIN} {number}" for number in range(40)]
    given: dict[str, list[int]] = {}
    threads = [threading.Thread(target=lambda text=text: given.update({text: opened.encode(text)})) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert given == {text: here.encode(text) for text in texts}
    assert len(children()) == 1


# how it ends


def test_a_text_on_which_a_pattern_backtracks_costs_a_prompt_error_and_the_next_text_is_read(folder, capfd):
    tokenizer = RemoteTokenizer("m", with_pattern(folder, "(a+)+$"), VOCABULARY)
    first = set(children())
    ids = tokenizer.encode(PLAIN)
    with pytest.raises(PromptError, match=r"^The tokenizer of m broke a library or took too much memory with this text; take"):
        tokenizer.encode(BACKTRACKING)
    assert not children()
    assert tokenizer.encode(PLAIN) == ids
    assert len(children()) == 1
    assert set(children()).isdisjoint(first)
    assert "panicked" not in "".join(capfd.readouterr())
    tokenizer.close()


@pytest.mark.parametrize(("of_a_processor", "by_the_clock"), [(0, NEVER), (NEVER, 0.2)])
def test_a_text_that_takes_too_long_is_refused(folder, monkeypatch, of_a_processor, by_the_clock):
    tokenizer = RemoteTokenizer("m", with_pattern(folder, "a*a*x|a"), VOCABULARY)
    ids = tokenizer.encode(PLAIN)
    monkeypatch.setattr(strangers, "TEXT_SECONDS", of_a_processor)  # rounded up, so a second at most
    monkeypatch.setattr(strangers, "TEXT_WALL_SECONDS", by_the_clock)
    with pytest.raises(PromptError, match="^The tokenizer of m took too long with this text"):
        tokenizer.encode(SLOW)
    assert not children()
    monkeypatch.undo()
    assert tokenizer.encode(PLAIN) == ids
    tokenizer.close()


def test_a_tokenizer_that_takes_too_much_memory_is_refused(folder, monkeypatch):
    files.tokens(added_tokens=files.added(*(f"token {number}" for number in range(19_000))))(folder)
    monkeypatch.setattr(strangers, "TOKENIZER_BYTES", 1024**2)
    with pytest.raises(ModelLoadError, match="^m could not be loaded: .* memory"):
        RemoteTokenizer("m", folder, 20_000)
    assert not children()


def test_a_tokenizer_that_takes_too_long_to_open_is_refused(folder, monkeypatch):
    monkeypatch.setattr(strangers, "OPEN_SECONDS", 0.05)  # an interpreter alone takes longer
    with pytest.raises(ModelLoadError, match="^m could not be loaded: the process that tried out its tokenizer took too long"):
        RemoteTokenizer("m", folder, VOCABULARY)
    assert not children()


def test_a_process_that_is_killed_between_two_texts_is_started_again(opened):
    ids = opened.encode(PLAIN)
    (process,) = children().values()
    process.kill()
    wait_until(lambda: process.status() == psutil.STATUS_ZOMBIE)
    assert opened.encode(PLAIN) == ids
    assert process.pid not in children()


def test_a_process_that_is_killed_while_it_works_is_an_error_and_the_next_question_is_answered(folder):
    child = SubprocessWorker(GIGABYTE)
    arguments: dict[str, object] = {"name": "m", "folder": str(folder), "vocab_size": VOCABULARY}

    def kill() -> None:
        for process in children().values():
            process.kill()

    with pytest.raises(WorkerDiedError, match="^broke a library or took too much memory$"):
        child.call("open_and_test_tokenizer", arguments, NEVER, NEVER, kill)
    assert not child.is_running
    assert child.call("open_and_test_tokenizer", arguments, NEVER, NEVER)
    child.close()
    assert not children()


def test_whoever_waits_can_end_it(folder):
    def stop() -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="^enough$"):
        RemoteTokenizer("m", folder, VOCABULARY, while_waiting=stop)
    assert not children()


def test_it_ends_when_it_is_closed_or_when_nobody_holds_it(folder):
    tokenizer = RemoteTokenizer("m", folder, VOCABULARY)
    assert len(children()) == 1
    tokenizer.close()
    tokenizer.close()
    assert not children()
    assert tokenizer.encode("a")  # a request that still held the model
    assert len(children()) == 1
    del tokenizer
    gc.collect()
    assert not children()


# what it can do


def test_it_has_no_token_and_can_write_no_file_and_what_it_prints_goes_nowhere(folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_PlantedToken")
    monkeypatch.setenv("HEADROLES_SECRET", "hf_PlantedToken")
    tokenizer = RemoteTokenizer("m", folder, VOCABULARY)
    (pid,) = children()
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"hf_PlantedToken" not in environment
    assert b"HF_HUB_OFFLINE=1" in environment
    assert resource.prlimit(pid, resource.RLIMIT_FSIZE)[0] == 0
    assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
    within = psutil.Process(pid).memory_info().vms + strangers.TOKENIZER_BYTES
    assert 0 < resource.prlimit(pid, resource.RLIMIT_AS)[0] <= within
    assert os.readlink(f"/proc/{pid}/fd/2") == os.devnull
    opens = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    assert not any(re.match(r"socket:|/(?!dev/null)", name) for name in opens)  # pipes to this process alone
    tokenizer.close()


# trials


def test_a_trials_refusal_comes_through_as_what_it_was(tmp_path):
    stranger = next(stranger for stranger in STRANGERS if stranger.name.startswith("CodeGen with fewer heads"))
    facts = inspect(stranger.make(tmp_path / "model"))
    with pytest.raises(UnsupportedModelError, match=r"^m \(codegen\) cannot be read by headroles: a forward through it fails\.$"):
        check_in_sandbox("m", facts)
    assert not children()


def test_other_models_are_served_while_a_trial_hangs_and_its_death_gives_the_place_back(tmp_path):
    folder = with_pattern(honest(tmp_path / "model"), "(a+)+$")
    explorer = Explorer(Settings(any_model=True))
    load = explorer.prepare(str(folder))
    wait_until(lambda: len(children()) == 2)  # of the tokenizer, and of the trial
    trial = children()[max(children())]
    trial.suspend()
    assert explorer.analyze(EMBEDDED_MODEL, PLAIN).tokens
    assert not load.is_done
    trial.send_signal(signal.SIGKILL)
    with pytest.raises(ModelLoadError, match="could not be loaded: the process that tried it out broke a library or took too"):
        load.result()
    wait_until(lambda: not children())
    assert explorer.analyze(EMBEDDED_MODEL, PLAIN).tokens

    pool = ModelPool(GIGABYTE)
    name, embedded = str(folder), EMBEDDED_FOLDER
    ids = pool.use(name, folder, lambda reader: reader.loaded.encode(PLAIN[:20]))
    with pytest.raises(PromptError):
        pool.use(name, folder, lambda reader: reader.loaded.encode(BACKTRACKING))
    assert pool.use(EMBEDDED_MODEL, embedded, lambda reader: reader.loaded.encode(PLAIN))
    assert pool.use(name, folder, lambda reader: reader.loaded.encode(PLAIN[:20])) == ids
    assert len(children()) == 1
    del pool
    wait_until(lambda: bool(gc.collect()) or not children())


def test_refused_strangers_give_their_places_back(tmp_path):
    pool = ModelPool(GIGABYTE)
    for number in range(2 * MAX_LOADS):
        folder = honest(tmp_path / str(number))
        files.config(num_hidden_layers=1)(folder)
        with pytest.raises(ModelLoadError, match="describes 1 layers, but its weights have 2"):
            pool.prepare(str(folder), folder).result()
    assert pool.used_bytes == 0
    assert not children()


def test_weights_that_are_a_hole_of_34_gb_are_refused_by_the_budget_before_anything_is_read(folder, monkeypatch):
    numbers = 2**33
    header = json.dumps({"w": {"dtype": "F32", "shape": [numbers], "data_offsets": [0, 4 * numbers]}}).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + 4 * numbers)

    def never(name: str, facts: object, job: Job) -> None:
        raise AssertionError("its weights were to be read")

    pool = ModelPool(GIGABYTE, load=never)  # type: ignore[arg-type]
    with pytest.raises(ModelTooLargeError, match=r"has 8,590 million parameters, which take 3\d\.\d GB of memory"):
        pool.prepare("m", folder).result()
    assert pool.used_bytes == 0
