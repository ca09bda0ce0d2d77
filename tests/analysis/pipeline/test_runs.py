"""Many models in one command: what is run, skipped, redone, survived and said of it."""

import multiprocessing
import os
import re
import signal
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from analysis.__main__ import COMMANDS, main
from analysis.backends import local
from analysis.backends.local import LocalBackend, run_in_process
from analysis.command_line import EXIT_CODES, parse
from analysis.commands import find_record
from analysis.outcome_table import outcome_table
from analysis.pipeline import runs
from analysis.pipeline.runs import AnalysisPlan, Outcome, analyze_and_save, check_registered, check_room, find_facts
from headroles.core.records.record_files import read_record, write_record
from headroles.core.registry import EMBEDDED_MODEL, MODELS
from headroles.core.roles.roles import measured_roles
from headroles.errors import ModelLoadError, ModelTooLargeError
from headroles.hub.record_store import EMBEDDED_RECORDS
from headroles.models.loading.loader import LoadedModel, load_model
from headroles.models.probes.probe_texts import ProbeSizes
from headroles.settings import Settings
from tests.core.records.test_head_categories import without_intervals
from tests.fixtures.architectures import build
from tests.fixtures.known import known

SMALL = ProbeSizes(repeated_sequences=3, repeat_length=12, sentences=2, calibration=0)
SMALL_OPTIONS = ["--quick", "--repeated-sequences", "3", "--repeat-length", "12", "--sentences", "2"]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def folder(tiny, tmp_path) -> Path:
    """A small random GPT-2 on the disk."""
    return save(tiny, tmp_path / "small-gpt2")


def save(tiny: LoadedModel, path: Path, seed: int = 0) -> Path:
    build("gpt2", seed).save_pretrained(path)
    tiny.tokenizer.save_pretrained(path)  # pyright: ignore[reportAttributeAccessIssue]
    return path


def break_weights(path: Path) -> Path:
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    return path


@pytest.mark.processes
@pytest.mark.slow
def test_a_broken_model_is_a_failed_row_and_the_others_are_written(tiny, folder, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    broken = break_weights(save(tiny, tmp_path / "broken"))
    out = tmp_path / "out"
    assert main([EMBEDDED_MODEL, str(broken), str(folder), "--out", str(out), *SMALL_OPTIONS]) == 1
    printed = capfd.readouterr()
    assert [line for line in printed.err.splitlines() if line.startswith("error:")] == [
        "error: broken could not be loaded: its weights file is broken."
    ]
    header, *rows = [line.split() for line in printed.out.splitlines()]
    assert header == ["model", "seconds", "peak", "MB", *(role.name for role in measured_roles()), "status"]
    assert [(row[0], row[-1]) for row in rows] == [(EMBEDDED_MODEL, "written"), ("broken", "broken."), ("small-gpt2", "written")]
    assert (
        " ".join(rows[1][3:]) == f"{'- ' * len(measured_roles())}failed: broken could not be loaded: its weights file is broken."
    )
    assert all(50 < int(row[2]) < 10_000 for row in rows)  # megabytes, each process its own
    assert {file.name for file in out.iterdir()} == {f"{EMBEDDED_MODEL}.json", "small-gpt2.json"}
    diffuse = torch.tensor(read_record(out / "small-gpt2.json").all_scores["diffuse"])
    layer, head = divmod(int(diffuse.argmax()), 4)
    assert rows[2][-3:-1] == [f"L{layer}H{head}", f"{diffuse.max():.3f}"]
    assert multiprocessing.active_children() == []


@pytest.mark.processes
def test_a_killed_process_is_a_failed_row(folder, tmp_path, monkeypatch):
    wait = Connection.recv

    def kill_and_wait(receiver: Connection) -> object:
        (child,) = multiprocessing.active_children()
        child.kill()
        return wait(receiver)

    monkeypatch.setattr(Connection, "recv", kill_and_wait)
    outcome = run_in_process(str(folder), AnalysisPlan(tmp_path / "out", SMALL))
    assert (outcome.model, outcome.status, outcome.peak_bytes, outcome.record) == ("small-gpt2", "failed", None, None)
    assert outcome.reason == "The process of small-gpt2 was killed by SIGKILL, often a sign that memory ran out."
    assert not (tmp_path / "out").exists()


@pytest.mark.processes
def test_ctrl_c_stops_all(folder, tmp_path, capsys, monkeypatch):
    began = []

    def press(_: Connection) -> None:
        began.extend(multiprocessing.active_children())
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Connection, "recv", press)  # where the command waits for the child's answer
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background has it ignored
    try:
        assert main([EMBEDDED_MODEL, str(folder), "--out", str(tmp_path / "out")]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(began) == 1
    printed = capsys.readouterr()
    assert "error: stopped after 0 of 2 models" in printed.err
    assert printed.out == ""
    assert multiprocessing.active_children() == []
    assert not (tmp_path / "out").exists()


def test_a_record_of_before_intervals_is_made_again(tmp_path):
    plan = AnalysisPlan(tmp_path, SMALL)
    made = known(analyze_and_save(EMBEDDED_MODEL, plan).record)
    write_record(without_intervals(made), tmp_path / "headroles-tiny.json")
    assert [analyze_and_save(EMBEDDED_MODEL, plan).status for _ in range(2)] == ["written", "skipped"]
    assert read_record(tmp_path / "headroles-tiny.json").intervals == made.intervals


def test_scores_of_one_text_alone_have_no_interval_and_are_finished_without(tmp_path):
    plan = AnalysisPlan(tmp_path, replace(SMALL, repeated_sequences=1, sentences=1))
    outcomes = [analyze_and_save(EMBEDDED_MODEL, plan) for _ in range(2)]
    assert [outcome.status for outcome in outcomes] == ["written", "skipped"]
    assert not any(known(outcomes[0].record).intervals.values())


def test_a_finished_record_is_kept_and_any_other_is_made_again(tiny, folder, tmp_path):
    plan = AnalysisPlan(tmp_path / "out", SMALL)
    path = plan.out / "small-gpt2.json"

    def run(changed: AnalysisPlan = plan) -> str:
        """The status; every run finds the file as old as the beginning of time."""
        if path.exists():
            os.utime(path, (1, 1))
        outcome = analyze_and_save(str(folder), changed)
        assert outcome.record == read_record(path)
        assert (path.stat().st_mtime == 1) == (outcome.status == "skipped")
        return outcome.status

    assert run() == "written"
    assert run() == "skipped"
    assert run(replace(plan, again=True)) == "written"
    other_seed = replace(plan, sizes=replace(SMALL, seed=7))
    assert [run(other_seed), run(other_seed), run()] == ["written", "skipped", "written"]
    half = replace(plan, dtype=torch.bfloat16)
    assert [run(half), run(half), run()] == ["written", "skipped", "written"]
    first = read_record(path)
    assert (first.model_type, first.parameters) == ("gpt2", build("gpt2").num_parameters())  # the registry does not tell
    save(tiny, folder, seed=1)
    assert [run(), run()] == ["written", "skipped"]
    assert read_record(path).revision != first.revision
    for broken in ("", "{", first.to_json()[:-200]):
        path.write_text(broken, "utf-8")
        assert run() == "written"
    write_record(first.model_copy(update={"model_name": "another"}), path)
    assert run() == "written"
    read = read_record(path)
    older = read.recipe.model_copy(update={"transformer_lens": "3.0"})
    write_record(read.model_copy(update={"recipe": older}), path)
    assert run() == "written"


def test_bfloat16_weights_are_recorded_and_change_the_scores_a_little(folder, tmp_path):
    full, half = (
        known(analyze_and_save(str(folder), AnalysisPlan(tmp_path, SMALL, dtype=dtype)).record)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert (full.recipe.dtype, half.recipe.dtype) == ("float32", "bfloat16")
    for name in full.all_scores:
        torch.testing.assert_close(torch.tensor(full.all_scores[name]), torch.tensor(half.all_scores[name]), atol=0.02, rtol=0)
    assert full.all_scores != half.all_scores


def test_a_model_whose_registry_entry_is_wrong_fails_and_the_sentence_names_both(tiny, tmp_path):
    check_registered(tiny)
    check_registered(LoadedModel("unregistered", build("gpt2"), tiny.tokenizer, "r"))
    with pytest.raises(ModelLoadError) as caught:
        check_registered(LoadedModel("gpt2", build("gpt2"), tiny.tokenizer, "r"))
    assert str(caught.value) == (
        "gpt2 has 3 layers of 4 heads and a BOS, but its registry entry says 12 layers of 12 heads and no BOS; "
        "correct the entry first."
    )


def test_every_registered_fact_is_checked_and_a_wrong_entry_writes_nothing(tiny, tmp_path, monkeypatch):
    info = MODELS[EMBEDDED_MODEL]
    for change in ({"num_layers": 5}, {"prepend_bos": False}, {"num_heads": 4}):
        monkeypatch.setattr(runs, "MODELS", {EMBEDDED_MODEL: replace(info, **change)})
        with pytest.raises(ModelLoadError, match="registry entry"):
            check_registered(tiny)
    outcome = analyze_and_save(EMBEDDED_MODEL, AnalysisPlan(tmp_path / "out", SMALL))
    assert outcome.status == "failed"
    assert "4 layers of 8 heads and a BOS, but its registry entry says 4 layers of 4 heads and a BOS" in outcome.reason
    assert not (tmp_path / "out").exists()


class PanicError(BaseException):
    """As what a library written in Rust raises: Python does not count it among errors."""


TOO_LITTLE = "small-gpt2 does not fit into the memory of cpu; try --batch 1 or --dtype bfloat16."
FULL = OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("step", "error", "reason"),
    [
        ("run_pipeline", ZeroDivisionError("by nought\nand more"), "small-gpt2 met an unexpected ZeroDivisionError: by nought"),
        ("run_pipeline", PanicError("called `Option::unwrap()` on a `None`"), "small-gpt2 broke a library that reads it"),
        ("run_pipeline", MemoryError(), TOO_LITTLE),
        ("run_pipeline", torch.OutOfMemoryError("CUDA out of memory"), TOO_LITTLE),
        ("write_record", FULL, f"The record of small-gpt2 could not be written: {FULL}."),
    ],
    ids=lambda part: type(part).__name__,
)
def test_what_goes_wrong_is_a_failed_row_with_one_sentence(step, error, reason, folder, tmp_path, monkeypatch, capsys):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(runs, step, fail)
    outcome = analyze_and_save(str(folder), AnalysisPlan(tmp_path / "out", SMALL))
    assert (outcome.status, outcome.record) == ("failed", None)
    assert outcome.reason.startswith(reason)
    assert ("Traceback" in capsys.readouterr().err) == isinstance(error, ZeroDivisionError)


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_is_no_failed_row(ending, folder, tmp_path, monkeypatch):
    def end(*_: object) -> None:
        raise ending

    monkeypatch.setattr(runs, "run_pipeline", end)
    with pytest.raises(ending):
        analyze_and_save(str(folder), AnalysisPlan(tmp_path / "out", SMALL))


def test_the_table_is_aligned_and_says_how_each_ended(record):
    lines = outcome_table(
        [
            Outcome("short", "written", 1.25, 100 * 1024**2, record),
            Outcome("a/much-longer-name", "skipped", 1000, 2000 * 1024**2, record),
            Outcome("gone", "failed", 3, None, None, "It is gone."),
        ]
    ).splitlines()
    starts = {line.index(word) for line, word in zip(lines, ("status", "written", "skipped: up to date", "failed: It is gone."))}
    assert len(starts) == 1
    assert lines[1].split()[:5] == ["short", "1.2", "100", "L1H6", "0.999"]
    assert lines[2].split()[:3] == ["a/much-longer-name", "1000.0", "2000"]
    assert lines[3].split()[:8] == ["gone", "3.0", "-", "-", "-", "-", "-", "-"]


def test_all_is_the_registry(tmp_path):
    assert parse(["--all", "--out", str(tmp_path)]).models == list(MODELS)


def test_one_model_runs_here_and_several_each_in_a_process_of_their_own(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(local, "analyze_model", lambda model, plan, old: ran.append(("here", model)))
    monkeypatch.setattr(local, "run_in_process", lambda model, plan: ran.append(("apart", model)))
    for models, limit in ((["a"], None), (["a", "b"], None), (["c"], 60.0)):
        list(LocalBackend().outcomes(models, AnalysisPlan(tmp_path, limit=limit)))
    assert ran == [("here", "a"), ("apart", "a"), ("apart", "b"), ("apart", "c")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: --out"),
        (["m"], "required: --out"),
        (["--out", "x"], "name one model or more, or use --all instead"),
        (["m", "--all", "--out", "x"], "name one model or more, or use --all instead"),
        (["m", "--out", "x", "--batch", "0"], "--batch: must be a whole number, 1 or more"),
        (["m", "--out", "x", "--batch", "a"], "--batch: must be a whole number, 1 or more"),
        (["m", "--out", "x", "--repeat-length", "1"], "--repeat-length: must be a whole number, 2 or more"),
        (["m", "--out", "x", "--sentences", "21"], "--sentences: must be a whole number, 1 to 20"),
        (["m", "--out", "x", "--seed", "-1"], "--seed: must be a whole number, 0 to"),
        (["m", "--out", "x", "--dtype", "int8"], "--dtype: invalid choice: 'int8'"),
        (["m", "--out", "x", "--device", "tpu"], "--device: 'tpu' is not one of cpu, cuda, cuda:N"),
        (["m", "--out", "x", "--device", "cuda:99"], "--device: torch sees no device cuda:99 on this machine"),
        (["m", "--out", __file__], "is a file, not a folder"),
        (["one/model", "one/model", "--out", "x"], "two of the models would be written to the same one__model.json"),
        (["m", "--out", "x", "--unknown"], "unrecognized arguments: --unknown"),
        (["validate"], "required: MODEL"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2_and_says_what_is_wrong(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_one_is_a_wrong_command_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main([EMBEDDED_MODEL, "--out", str(tmp_path), "--device", "cuda"])
    assert caught.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith("torch sees no device cuda on this machine; leave --device out to use the CPU")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_scores_of_the_cpu_and_says_what_memory_it_took_there(tmp_path):
    cpu, cuda = (analyze_and_save(EMBEDDED_MODEL, AnalysisPlan(tmp_path / kind, SMALL, device=kind)) for kind in ("cpu", "cuda"))
    assert known(cpu.record).recipe == known(cuda.record).recipe
    for name, table_ in known(cpu.record).all_scores.items():
        torch.testing.assert_close(torch.tensor(known(cuda.record).all_scores[name]), torch.tensor(table_), atol=1e-3, rtol=0)
    assert load_model(EMBEDDED_MODEL).memory_bytes < known(cuda.peak_bytes) < known(cpu.peak_bytes)


def test_a_model_that_is_too_large_for_the_machine_is_a_failed_row_before_its_weights_are_read(
    folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(Settings, "from_environment", lambda: Settings(memory_bytes=500_000))
    monkeypatch.setattr("analysis.pipeline.runs.load_model", lambda *_: pytest.fail("it was loaded"))
    assert main([str(folder), "--out", str(tmp_path / "out")]) == 1
    assert "GB of memory with 4 bytes each; at most 0.0 GB are allowed here" in capsys.readouterr().out


def test_a_model_too_large_for_the_gpu_that_it_goes_to_is_not_loaded(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 500_000))
    plan = AnalysisPlan(tmp_path, SMALL, device="cuda:1")
    with pytest.raises(ModelTooLargeError, match="at most 0.0 GB are allowed on cuda:1"):
        check_room(find_facts(str(folder), plan), plan)
    check_room(find_facts(str(folder), plan), replace(plan, device="cpu"))


def test_help_has_a_line_for_every_command_and_option_and_the_exit_codes(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(re.search(rf"^    {name}\s", text, re.M) for name in COMMANDS)
    with pytest.raises(SystemExit):
        main(["score", "--help"])
    text = capsys.readouterr().out
    options = [line.split(maxsplit=1)[0] for line in text.splitlines() if line.startswith("  --")]
    assert len(options) == 25
    assert EXIT_CODES in text


def test_the_shipped_record_is_the_one_that_is_read_by_default():
    assert find_record(EMBEDDED_MODEL, None) == read_record(EMBEDDED_RECORDS[EMBEDDED_MODEL])
