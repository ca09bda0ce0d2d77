"""The budget for downloads: what may go, in which order, and what never goes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants, scan_cache_dir, snapshot_download

from analysis.backends import local
from analysis.backends.local import LocalBackend
from analysis.pipeline.disk_budget import DiskBudget
from analysis.pipeline.runs import AnalysisPlan, Outcome
from tests.analysis.test_run_log import saved
from tests.fixtures.hub import FakeHub

pytestmark = pytest.mark.processes
NAMES = ["org/a", "org/b", "org/c"]


@pytest.fixture
def hub(use_hub, tmp_path) -> Iterator[FakeHub]:
    """Four models of about one size; `org/before` is in the cache already."""
    with FakeHub() as double:
        use_hub(double)
        for seed, name in enumerate(["org/before", *NAMES]):
            double.add(name, saved(tmp_path / name, seed))
        download("org/before")
        yield double


def download(name: str) -> None:
    snapshot_download(name, endpoint=constants.ENDPOINT, cache_dir=constants.HF_HUB_CACHE)


def kept() -> set[str]:
    return {repository.repo_id for repository in scan_cache_dir(constants.HF_HUB_CACHE).repos}


def taken() -> int:
    return scan_cache_dir(constants.HF_HUB_CACHE).size_on_disk


def test_the_oldest_that_is_done_goes_first_and_what_was_there_stays(hub, tmp_path, monkeypatch):
    seen = []

    def analysed(model: str, plan: AnalysisPlan) -> Outcome:
        download(model)
        seen.append((model, kept()))
        assert taken() <= budget  # with what is in use
        return Outcome(model, "written", 1.0)

    monkeypatch.setattr(local, "run_in_process", analysed)
    each = taken()
    budget = int(3.2 * each)
    outcomes = LocalBackend(DiskBudget(budget)).outcomes([*NAMES, "org/before"], AnalysisPlan(tmp_path / "out"))
    assert [outcome.status for outcome in outcomes] == ["written"] * 4
    assert seen == [
        ("org/a", {"org/before", "org/a"}),
        ("org/b", {"org/before", "org/a", "org/b"}),
        ("org/c", {"org/before", "org/b", "org/c"}),
        ("org/before", {"org/before", "org/b", "org/c"}),
    ]


def test_a_model_that_has_no_room_is_not_begun_and_says_so(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "run_in_process", lambda model, plan: pytest.fail("begun"))
    outcome, other = LocalBackend(DiskBudget(taken() + 100)).outcomes(NAMES[:2], AnalysisPlan(tmp_path / "out"))
    assert (outcome.status, other.status) == ("failed", "failed")
    assert outcome.reason.startswith("org/a needs 0.0 GB to download, and 0.0 GB stay in the cache; together that is ")
    assert kept() == {"org/before"}


def test_two_revisions_of_a_model_go_one_by_one(hub, tmp_path):
    hub.repositories["org/a"].folders["step0"] = Path(saved(tmp_path / "step0", seed=9))
    disk = DiskBudget(taken() * 10)
    for revision in ("main", "step0"):
        snapshot_download("org/a", revision=revision, endpoint=constants.ENDPOINT, cache_dir=constants.HF_HUB_CACHE)
        disk.ended("org/a" if revision == "main" else "org/a@step0")
    disk.budget = taken() - 1
    disk.ended("org/a")
    (left,) = next(
        repository for repository in scan_cache_dir(constants.HF_HUB_CACHE).repos if repository.repo_id == "org/a"
    ).revisions
    assert left.refs == {"step0"}
