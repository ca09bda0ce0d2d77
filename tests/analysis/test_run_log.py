"""Many models in one command: lists, revisions and shards, the plan before a run, the log after it, and records pushed later."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from analysis import __main__ as command
from analysis.backends.machines import Machine
from analysis.command_line import parse
from analysis.pipeline.estimates import PROCESS_BYTES, Estimate, estimate_core_seconds, estimate_model, summarize_estimates
from analysis.pipeline.runs import AnalysisPlan, Outcome, find_facts
from analysis.pipeline.sources import default_name
from analysis.run_log import RunLog, expand_revisions, parse_names, select_shard
from headroles.core.records.record_files import record_file_name, write_record
from headroles.core.registry import EMBEDDED_FOLDER, EMBEDDED_MODEL
from headroles.errors import HubError, InvalidInputError, UnknownModelError
from headroles.hub.record_store import EMBEDDED_RECORDS
from headroles.hub.repository import RepositoryFacts
from headroles.models.probes.probe_texts import ProbeSizes
from tests.analysis.publish.test_dataset_files import make
from tests.fixtures.architectures import build
from tests.fixtures.hub import FakeHub, commit_of
from tests.fixtures.known import known

SIZES = ProbeSizes(repeated_sequences=2, repeat_length=8, sentences=1, calibration=0)


@pytest.fixture
def hub(use_hub, tmp_path) -> Iterator[FakeHub]:
    """A double of the Hub with one model of two revisions, `main` and `step0`."""
    with FakeHub() as double:
        repository = use_hub(double).add("org/m", saved(tmp_path / "main"))
        repository.folders["step0"] = saved(tmp_path / "step0", seed=1)
        yield double


def saved(folder: Path, seed: int = 0) -> Path:
    build("gpt2", seed).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(EMBEDDED_FOLDER / name, folder)
    return folder


def models_with_steps(*arguments: object) -> list[str]:
    return parse([*map(str, arguments), "--out", "somewhere"]).models


def test_a_list_has_a_name_a_line_and_comments(tmp_path):
    text = "# those of 2024\norg/a\n\n  org/b  # the small one\n#org/c\n"
    assert parse_names(text) == ["org/a", "org/b"]
    (tmp_path / "list").write_text(text, "utf-8")
    assert models_with_steps("org/first", "--models", tmp_path / "list") == ["org/first", "org/a", "org/b"]


def test_each_model_is_run_at_each_revision_into_a_file_of_its_own():
    models = models_with_steps("org/a", "org/b", "--revisions", "step0,step1000")
    assert (
        models
        == ["org/a@step0", "org/a@step1000", "org/b@step0", "org/b@step1000"]
        == expand_revisions(["org/a", "org/b"], ["step0", "step1000"])
    )
    files = [record_file_name(default_name(model)) for model in (*models, "org/a")]
    assert files[0] == "org__a@step0.json"
    assert len(set(files)) == 5


@pytest.mark.parametrize("of", [1, 2, 3, 7, 12])
def test_the_shards_are_all_models_once_and_of_one_size(of):
    models = [f"org/m{number}" for number in range(10)]
    parts = [select_shard(models, number, of) for number in range(1, of + 1)]
    assert sorted(model for part in parts for model in part) == sorted(models)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert models_with_steps(*models, "--shard", f"1/{of}") == parts[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["m", "--shard", "0/2"], "'0/2' is not a part I/N with I from 1 to N"),
        (["m", "--shard", "3/2"], "'3/2' is not a part I/N"),
        (["m", "--revisions", "step0,..,x"], "'..' is not a branch, tag or commit"),
        (["--models", "/no/such/list"], "/no/such/list cannot be read as a list of names"),
        (["--models", "/dev/null"], "the lists of --models name no model"),
        (["m", "--all", "--models", "/dev/null"], "name one model or more, or use --all instead"),
        (["m", "M", "--shard", "1/2"], "two of the models would be written to the same m.json"),
    ],
)
def test_a_wrong_sweep_is_a_wrong_command_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        models_with_steps(*arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_revision_is_looked_up_as_such_and_what_has_none_says_so(hub, tmp_path):
    plan = AnalysisPlan(tmp_path / "out", SIZES)
    assert [find_facts(name, plan).commit for name in ("org/m", "org/m@step0")] == [
        commit_of(hub.repositories["org/m"].folders[name]) for name in ("main", "step0")
    ]
    with pytest.raises(UnknownModelError, match=r"org/m has no revision step7 on the Hub\."):
        find_facts("org/m@step7", plan)
    with pytest.raises(InvalidInputError, match="headroles-tiny is on this machine and has no revision step0"):
        find_facts(f"{EMBEDDED_MODEL}@step0", plan)
    odd = saved(tmp_path / "a@b")
    assert find_facts(str(odd), plan).path == odd.resolve()


def test_the_plan_says_what_a_run_takes_and_what_is_finished_without_a_download(hub, tmp_path):
    plan = AnalysisPlan(tmp_path / "out", SIZES)
    weights = hub.repositories["org/m"].folders["step0"] / "model.safetensors"
    ahead = estimate_model("org/m@step0", plan)
    numbers = build("gpt2").num_parameters()
    assert (ahead.download_bytes, ahead.memory_bytes) == (weights.stat().st_size, PROCESS_BYTES + 6 * numbers)
    assert (ahead.record, ahead.reason) == ("to be made", "")
    write_record(make("gpt2").model_copy(update={"model_name": "org/m@step0"}), plan.record_path("org/m@step0"))
    assert estimate_model("org/m@step0", plan).record == "to be made again"
    here = estimate_model(str(hub.repositories["org/m"].folders["main"]), plan)
    assert (here.name, here.download_bytes, here.record) == ("main", 0, "to be made")
    assert not hub.count("model.safetensors")
    assert not (tmp_path / "cache").exists()


def test_a_dry_run_prints_the_plan_and_makes_nothing(hub, tmp_path, capsys):
    out = tmp_path / "out"
    size = (hub.repositories["org/m"].folders["main"] / "model.safetensors").stat().st_size
    megabytes = f"{size / 1024**2:,.0f}"
    assert command.main([EMBEDDED_MODEL, "org/m", "--out", str(out), "--dry-run"]) == 0
    header, *rows, total = capsys.readouterr().out.splitlines()
    assert header.split() == ["model", "download", "MB", "memory", "MB", "seconds", "record"]
    assert [(row.split()[0], row.split()[1]) for row in rows] == [(EMBEDDED_MODEL, "0"), ("org/m", megabytes)]
    assert total.startswith(f"2 of 2 to be made: {megabytes} MB to download, ")
    assert re.search(r", about [\d.,]+ (seconds|minutes|hours) of one machine$", total)
    assert not out.exists()


def test_the_estimate_grows_with_the_model_and_with_what_is_asked_and_halves_with_twice_the_cores(tmp_path):
    small, large = RepositoryFacts("org/m", "gpt2", 10**7, 0), RepositoryFacts("org/m", "gpt2", 10**9, 0)
    quick, full = AnalysisPlan(tmp_path, ProbeSizes(calibration=0)), AnalysisPlan(tmp_path, ProbeSizes(outputs=100))
    taken = [estimate_core_seconds(facts, plan) for facts in (small, large) for plan in (quick, full)]
    assert taken[0] < min(taken[1:3])
    assert taken[3] > 10 * taken[1]
    assert max(taken) == taken[3]
    model = Estimate("org/m", 5 * 1024**2, 3 * 1024**2, 7200.0, "to be made")
    one, two = summarize_estimates([model], full, Machine(cores=1)), summarize_estimates([model], full, Machine(cores=2))
    assert one == "1 of 1 to be made: 5 MB to download, 3 MB of memory at most, about 2.0 hours of one machine"
    assert two.endswith("about 60 minutes of one machine")
    priced = summarize_estimates([model], replace(full, device="cuda"), Machine("t4", cores=2, dollars_a_second=0.001))
    assert priced.endswith("about 63 minutes of one machine without its GPU for 3.78 dollars")


def test_without_a_hub_that_is_said_once_and_the_rest_is_planned(hub, tmp_path, capsys):
    hub.stop()
    assert command.main([EMBEDDED_MODEL, "org/m", "org/n", "--out", str(tmp_path / "out"), "--dry-run"]) == 1
    said = capsys.readouterr()
    assert said.err == "note: The Hub cannot be reached; only models that were downloaded before can be analysed.\n"
    assert said.out.splitlines()[-1].endswith("; nothing is known of 2")
    assert said.out.splitlines()[1].split()[:2] == [EMBEDDED_MODEL, "0"]


def test_the_log_has_a_line_an_outcome_and_the_list_what_is_left(tmp_path):
    log = RunLog(tmp_path / "logs" / "run.jsonl", {"a": "path/to/a", "b": "b", "c": "c"})
    log.add(Outcome("b", "failed", 1.5, None, None, "It is broken."))
    log.add(Outcome("a", "written", 2.0, 5, make("gpt2")))
    left = known(log.close())
    failed, written = map(json.loads, log.path.read_text("utf-8").splitlines())
    assert (failed["model"], failed["status"], failed["reason"], failed["record"]) == ("b", "failed", "It is broken.", None)
    assert (written["model"], written["seconds"], written["peak_bytes"], written["record"]) == ("a", 2.0, 5, "a.json")
    assert left == tmp_path / "logs" / "run.jsonl.retry"
    assert parse_names(left.read_text("utf-8")) == ["b", "c"]
    again = RunLog(log.path, {"b": "b", "c": "c"})
    for name in ("b", "c"):
        again.add(Outcome(name, "written", 1.0, None, make("gpt2")))
    assert again.close() is None
    assert not left.exists()
    assert len(log.path.read_text("utf-8").splitlines()) == 4


def test_records_of_a_folder_are_pushed_later_and_a_broken_one_stops_none(hub, tmp_path, capsys, monkeypatch):
    for name in (EMBEDDED_MODEL, "other"):
        shutil.copy(EMBEDDED_RECORDS[EMBEDDED_MODEL], tmp_path / f"{name}.json")
    (tmp_path / "broken.json").write_text("{", "utf-8")
    pushed = []

    def push(record, *more):
        pushed.append((record.model_name, *more))
        if len(pushed) == 1:
            raise HubError("The Hub is busy.")
        return "pushed"

    monkeypatch.setattr("analysis.publish.record_push.push", push)
    assert command.main(["push", str(tmp_path), "org/data", "--create-pr"]) == 1
    assert pushed == [(EMBEDDED_MODEL, "org/data", True, False)] * 2
    said = capsys.readouterr()
    assert said.out == "pushed\n"
    assert [line[:30] for line in said.err.splitlines()] == ["error: The record broken.json ", "error: The Hub is busy."]
    hub.stop()
    assert command.main(["push", str(tmp_path), "org/data"]) == 1
    assert capsys.readouterr().err == "error: The Hub cannot be reached, so nothing was pushed.\n"
    assert len(pushed) == 2
