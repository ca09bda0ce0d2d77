"""Models as jobs of the Hub, against its double: the records of *here*, whatever becomes of the driver and of the jobs."""

import json
from argparse import ArgumentTypeError
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants

from analysis.__main__ import main
from analysis.arguments import requirement
from analysis.backends import job_pool
from analysis.backends.backend import open_backend, run_models
from analysis.backends.hub_jobs import JobsBackend
from analysis.backends.job_pool import JobPool
from analysis.backends.job_spec import make_job_spec
from analysis.backends.machines import rented_machine
from analysis.pipeline.runs import AnalysisPlan, Outcome, analyze_and_save, find_facts
from headroles.core.records.record_files import parse_record
from headroles.errors import HubError, InvalidInputError, MissingPackageError
from headroles.models.probes.probe_texts import ProbeSizes
from headroles.settings import GIGABYTE
from tests.analysis.test_run_log import saved
from tests.fixtures.hub import MEMBERS_TOKEN
from tests.fixtures.jobs_hub import JobsHub

SIZES = ProbeSizes(repeated_sequences=2, repeat_length=8, sentences=1, calibration=0)
OPTIONS = ["--quick", "--repeated-sequences", "2", "--repeat-length", "8", "--sentences", "1"]
PACKAGE = "headroles[analysis] @ git+https://example.org/headroles@abc"
DATASET = "org/data"
JOBS = ["--on", "hf-jobs", "--package", PACKAGE, "--push", DATASET]
NAMES = ["org/a", "org/b", "org/c"]
pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    return [saved(tmp_path_factory.mktemp("models") / name[-1], seed) for seed, name in enumerate(NAMES)]


@pytest.fixture
def hub(folders, monkeypatch, tmp_path, use_hub) -> Iterator[JobsHub]:
    """A double with three models, an account that may run jobs, and no time to lose."""
    with JobsHub(tmp_path / "repositories") as double:
        use_hub(double, MEMBERS_TOKEN)
        monkeypatch.setattr(job_pool, "POLL_SECONDS", 0.01)
        for name, folder in zip(NAMES, folders):
            double.add(name, folder)
        yield double


def plan_in(folder: Path, **more) -> AnalysisPlan:
    return AnalysisPlan(folder, SIZES, **more)


def outcomes(plan: AnalysisPlan, names: list[str] = NAMES) -> dict[str, Outcome]:
    return {outcome.model: outcome for outcome in run_models(names, plan, JobsBackend("cpu-basic", DATASET, PACKAGE))}


def test_the_records_are_those_of_here_and_the_token_is_sent_as_a_secret_alone(hub, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*NAMES, "--out", str(out), "--log", str(tmp_path / "log"), *JOBS, *OPTIONS]) == 0
    for name in NAMES:
        file = f"{name.replace('/', '__')}.json"
        assert analyze_and_save(name, plan_in(tmp_path / "here")).status == "written"
        assert (out / file).read_bytes() == (tmp_path / "here" / file).read_bytes()
    said = capsys.readouterr()
    assert "note: 3 of 3 to be made: " in said.err
    assert " dollars\n" in said.err
    for job in hub.jobs.values():
        assert job.asked.pop("secrets") == {"HF_TOKEN": MEMBERS_TOKEN}
        assert job.asked["timeoutSeconds"] == job_pool.LONGEST_SECONDS
        assert PACKAGE in job.asked["command"]
    told = [json.dumps([job.asked, job.log]) for job in hub.jobs.values()]
    told += [said.out, said.err, (tmp_path / "log").read_text("utf-8"), *hub.requests]
    assert len(hub.jobs) == 3
    assert not any(MEMBERS_TOKEN in text for text in told)
    assert main([*NAMES, "--out", str(out), *JOBS, *OPTIONS]) == 0  # finished records are seen from here
    assert len(hub.jobs) == 3


def test_a_driver_that_comes_after_one_that_was_killed_starts_nothing_twice(hub, tmp_path, monkeypatch):
    plan = plan_in(tmp_path / "out")
    hub.ends["org/c"] = lambda job: None  # runs for long
    with monkeypatch.context() as killed:
        killed.setattr(JobPool, "cancel", lambda *_: None)  # who is killed tidies nothing up
        first = JobsBackend("cpu-basic", DATASET, PACKAGE).outcomes(NAMES, plan)
        next(first)
        first.close()
    hub.pass_time()
    stages = {job.name: job.stage for job in hub.jobs.values()}
    assert stages == {"org/a": "COMPLETED", "org/b": "COMPLETED", "org/c": "RUNNING"}
    del hub.ends["org/c"]
    assert [outcome.status for outcome in outcomes(plan).values()] == ["written"] * 3
    assert len(hub.jobs) == 3
    assert sorted(file.name for file in plan.out.iterdir()) == ["org__a.json", "org__b.json", "org__c.json"]
    outcomes(plan_in(tmp_path / "other", again=True))
    assert len(hub.jobs) == 6  # made again though they ended well


def test_whoever_stops_listening_cancels_what_runs(hub, tmp_path):
    hub.ends |= dict.fromkeys(NAMES[1:], lambda job: None)
    running = JobsBackend("cpu-basic", DATASET, PACKAGE).outcomes(NAMES, plan_in(tmp_path))
    assert next(running).model == "org/a"
    running.close()
    assert [job.stage for job in hub.jobs.values()] == ["COMPLETED", "CANCELED", "CANCELED"]


def test_however_a_job_ends_the_others_are_written_and_the_reason_says_it(hub, tmp_path):
    long = ["x" * 300, "", f"\x1b[31mthe token is {MEMBERS_TOKEN}", "a bar\rits end", "Killed"]
    ends = {
        "org/a": lambda job: job.end("ERROR", "Job failed with exit code: 137", long),
        "org/b": lambda job: job.end("ERROR", "Job timeout", ["[1/2]"]),
        "org/d": lambda job: job.end("CANCELED"),
        "org/f": lambda job: job.end("COMPLETED", log=["bye"]),
    }
    hub.ends |= ends
    hub.pass_time = lambda: _pass(hub)  # type: ignore[method-assign]
    for name in ("org/d", "org/e", "org/f"):
        hub.add(name, hub.repositories["org/c"].folders["main"])
    plan = plan_in(tmp_path, limit=900.0)
    ended = outcomes(plan, [*NAMES, "org/d", "org/e", "org/f", "org/nothing"])
    assert ended["org/c"].status == "written"
    assert {name: outcome.reason for name, outcome in ended.items() if outcome.status == "failed"} == {
        "org/a": "The job of org/a failed on the Hub, Job failed with exit code: 137. Its log ends: "
        "[31mthe token is *** | its end | Killed",
        "org/b": "The job of org/b was stopped: it took longer than 900 seconds; --limit allows more. Its log ends: [1/2]",
        "org/d": "The job of org/d was cancelled on the Hub.",
        "org/e": "The job of org/e was deleted on the Hub.",
        "org/f": "The job of org/f ended, but org/data has no record of this revision and recipe. Its log ends: bye",
        "org/nothing": "The Hub has no model org/nothing, or it is a private one that needs HF_TOKEN.",
    }
    assert {job.asked["timeoutSeconds"] for job in hub.jobs.values()} == {900}


def _pass(hub: JobsHub) -> None:
    """As time passes; the job of one model is deleted meanwhile."""
    for job in [job for job in hub.jobs.values() if job.name == "org/e" and job.stage == "RUNNING"]:
        del hub.jobs[job.id]
    JobsHub.pass_time(hub)


def test_a_job_whose_making_was_not_answered_is_found_by_its_label(hub, tmp_path):
    hub.fail("POST /api/jobs/member", "lose", times=1)
    assert outcomes(plan_in(tmp_path), NAMES[:1])["org/a"].status == "written"
    assert len(hub.jobs) == 1
    hub.fail("POST /api/jobs/member", 500, times=1)
    assert outcomes(plan_in(tmp_path), NAMES[1:2])["org/b"].status == "written"
    assert len(hub.jobs) == 2


def test_a_hub_that_is_away_for_a_while_costs_nothing_and_for_long_is_given_up(hub, tmp_path, monkeypatch):
    hub.fail("GET /api/jobs/member/job0$", 503, times=2)
    assert outcomes(plan_in(tmp_path), NAMES[:1])["org/a"].status == "written"
    monkeypatch.setattr(job_pool, "AWAY_SECONDS", 0)
    hub.fail("GET /api/jobs/member/job1$", 503)
    with pytest.raises(HubError, match="The Hub answers with error 503, for 0 minutes now; run the same command later"):
        outcomes(plan_in(tmp_path), NAMES[1:2])


def test_what_would_be_paid_for_in_vain_is_refused_before_a_job_starts(hub, folders, tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.backends.hub_jobs.PROCESS_BYTES", 16 * GIGABYTE - 1000)
    ended = outcomes(plan_in(tmp_path), ["org/a", str(folders[0])])
    assert "at most 0.0 GB are allowed on cpu-basic. Pick a smaller model." in ended["org/a"].reason
    assert (
        ended["a"].reason == "a is on this machine, where a job cannot read it; only models on the Hub can be analysed as jobs."
    )
    for place, plan, message in (
        (
            JobsBackend("cpu-huge", DATASET, PACKAGE),
            plan_in(tmp_path),
            "The Hub has no machine cpu-huge for jobs; it has cpu-basic, cpu-xl, t4",
        ),
        (
            JobsBackend("cpu-basic", DATASET, PACKAGE),
            plan_in(tmp_path, device="cuda"),
            "The Hub's cpu-basic has no GPU; name a machine with",
        ),
    ):
        with pytest.raises(InvalidInputError, match=message):
            list(place.outcomes(NAMES, plan))
    assert not hub.jobs


def test_an_account_that_may_not_is_told_so_once(hub, tmp_path, monkeypatch):
    hub.fail("POST /api/jobs", 402)
    with pytest.raises(HubError, match="The Hub answers with error 402 and started no job on cpu-basic; does the account pay"):
        outcomes(plan_in(tmp_path))
    assert hub.count("POST /api/jobs/member$") == 1
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(InvalidInputError, match="needs an account of the Hub: `hf auth login`, or its token in HF_TOKEN"):
        outcomes(plan_in(tmp_path))


def test_an_older_client_is_told_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(HfApi, "list_jobs", lambda self, timeout, namespace: [])
    with pytest.raises(MissingPackageError, match="needs huggingface-hub 2 or newer"):
        list(JobsBackend("cpu-basic", DATASET).outcomes(NAMES, plan_in(tmp_path)))


def test_the_plan_has_the_price_of_the_machine(hub, tmp_path, capsys):
    assert rented_machine("t4-small").gpu_bytes == 16 * GIGABYTE
    assert main(["org/a", "--out", str(tmp_path / "out"), *JOBS, *OPTIONS, "--dry-run"]) == 0
    header, row, total = capsys.readouterr().out.splitlines()
    assert header.split()[-3:] == ["seconds", "dollars", "record"]
    seconds, dollars = map(float, row.split()[3:5])
    assert dollars == pytest.approx(seconds * 0.000167 / 60, abs=5e-4)
    assert total.endswith("for 0.00 dollars")
    assert not hub.jobs


def test_a_job_pushes_its_record_and_shows_no_token(hub, tmp_path, capfd, monkeypatch):
    plan = plan_in(tmp_path)
    facts = find_facts("org/a", plan)
    work = make_job_spec("org/a", plan, PACKAGE, DATASET, facts)
    monkeypatch.chdir(tmp_path)
    assert main(list(work.arguments)) == 0
    record = analyze_and_save("org/a", plan).record
    assert parse_record(hub.content(DATASET, "head_categories/org__a.json"), "pushed") == record
    assert MEMBERS_TOKEN not in "".join(capfd.readouterr())
    assert work.key != make_job_spec("org/a", plan_in(tmp_path, batch=3), PACKAGE, DATASET, facts).key


@pytest.mark.parametrize(
    "wrong", ["headroles @ git+https://me:secret@example.org/x", "", "https://token@example.org/x.whl", "a\nb"]
)
def test_a_package_whose_address_holds_a_password_is_refused(wrong):
    with pytest.raises(ArgumentTypeError, match="without a password in its address"):
        requirement(wrong)
    assert requirement(PACKAGE) == PACKAGE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--on hf-jobs needs --push ORG/DATASET"),
        (["--push", DATASET, "--create-pr"], "--create-pr does not work with --on hf-jobs"),
    ],
)
def test_jobs_need_a_dataset_that_they_may_write_to(options, message, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["org/a", "--out", str(tmp_path), "--on", "hf-jobs", *options])
    assert message in capsys.readouterr().err


def test_places_are_told_by_their_names():
    assert open_backend("hf-jobs", dataset=DATASET) == JobsBackend("cpu-basic", DATASET)
    assert open_backend("hf-jobs:t4-small", PACKAGE, DATASET) == JobsBackend("t4-small", DATASET, PACKAGE)
