"""Models on a Ray cluster of three nodes on this machine: the records of *here*, whoever dies on the way."""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import main
from analysis.backends.backend import open_backend, run_models
from analysis.pipeline.runs import AnalysisPlan, analyze_and_save
from headroles.errors import MissingPackageError
from headroles.models.probes.probe_texts import ProbeSizes
from headroles.settings import GIGABYTE
from tests.analysis.pipeline.test_runs import break_weights, save
from tests.fixtures import ray_faults

SIZES = ProbeSizes(repeated_sequences=2, repeat_length=8, sentences=1, calibration=0)
OPTIONS = ["--on", "ray", "--quick", "--repeated-sequences", "2", "--repeat-length", "8", "--sentences", "1"]
ROOT = Path(__file__).parent.parent.parent.parent
pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("one_thread")]


def test_without_ray_the_command_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "analysis.backends.ray_cluster", raising=False)
    with pytest.raises(MissingPackageError):
        open_backend("ray")
    assert main(["headroles-tiny", "--out", str(tmp_path), *OPTIONS]) == 1
    assert capsys.readouterr().err == "error: --on ray needs ray, which is not installed: pip install 'headroles[ray]'.\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", ["ray:", "ray:host", "slurm", "ray:ray://host:10001", "hf-jobs:"])
def test_a_place_that_is_none_is_a_wrong_command_line(wrong, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["headroles-tiny", "--out", str(tmp_path), "--on", wrong])
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith(
        f"argument --on: {wrong!r} is not one of here, ray, ray:HOST:PORT, hf-jobs, hf-jobs:FLAVOR\n"
    )


@pytest.fixture(scope="module")
def notes(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("notes")


@pytest.fixture(scope="module")
def cluster(notes) -> Iterator:
    """Three nodes of one core each, that this process is connected to, with faults in their workers."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports]

    size: dict[str, Any] = {"num_cpus": 1, "memory": 4 * GIGABYTE, "object_store_memory": 80 * 1024**2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ray_faults.NOTES, str(notes))
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # else the workers wait for all else that this machine does
        cluster = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
        for _ in range(2):
            cluster.add_node(**size)
        ray.init(cluster.address, log_to_driver=False, runtime_env={"worker_process_setup_hook": ray_faults.install})
        yield cluster
        ray.shutdown()
        cluster.shutdown()


def started(notes: Path, name: str = "*") -> list[str]:
    return sorted(note.name for note in notes.glob(f"{name}.*"))


@pytest.mark.slow
def test_every_record_is_there_once_and_is_that_of_here_though_a_node_and_processes_die(cluster, notes, tiny, tmp_path, capfd):
    names = ["waits-a", "waits-b", "dies"]
    folders = [save(tiny, tmp_path / name, seed) for seed, name in enumerate(names)]
    broken = break_weights(save(tiny, tmp_path / "broken"))
    out = tmp_path / "out"

    def remove_a_node() -> None:
        busy = []
        while not busy:
            time.sleep(0.05)
            busy = [node for node in cluster.worker_nodes if any(node.node_id in note for note in started(notes, "waits-*"))]
        cluster.remove_node(busy[0], allow_graceful=False)
        (notes / "go").touch()

    killer = threading.Thread(target=remove_a_node, daemon=True)
    killer.start()
    assert main([*map(str, folders), str(broken), "--out", str(out), *OPTIONS]) == 1
    killer.join()
    printed = capfd.readouterr()
    assert "error: broken could not be loaded: its weights file is broken." in printed.err.splitlines()
    rows = [line.split() for line in printed.out.splitlines()]
    ended = [(row[0], row[-1]) for row in rows if row and row[0] in (*names, "broken")]
    assert ended == [*((name, "written") for name in names), ("broken", "broken.")]
    assert sorted(file.name for file in out.iterdir()) == sorted(f"{name}.json" for name in names)
    for folder in folders:
        here = analyze_and_save(str(folder), AnalysisPlan(tmp_path / "here", SIZES))
        assert here.status == "written"
        assert (out / f"{folder.name}.json").read_bytes() == (tmp_path / "here" / f"{folder.name}.json").read_bytes()
    again = [name for name in names if len(started(notes, name)) == 2]
    assert [name.partition("-")[0] for name in again] == ["waits", "dies"]  # the one on the lost node, and who wanted memory
    first, second = sorted(int(note.split(".")[2]) for note in started(notes, "dies"))
    assert second == pytest.approx(2 * first, rel=0.001)  # Ray rounds it
    there = started(notes)
    assert main([*map(str, folders), "--out", str(out), *OPTIONS]) == 0  # as a driver that was started again
    assert capfd.readouterr().out.count("skipped: up to date") == len(names)
    assert started(notes) == there


@pytest.mark.slow
def test_what_hangs_is_stopped_and_gives_its_place_to_the_next(cluster, notes, tiny, tmp_path):
    folder = save(tiny, tmp_path / "hangs")
    (notes / "hang").touch()
    plan = AnalysisPlan(tmp_path / "out", SIZES, limit=1.0)
    (outcome,) = run_models([str(folder)], plan, open_backend("ray"))
    assert (outcome.status, outcome.reason) == ("failed", "hangs was stopped: it took longer than the 1 seconds of --limit.")
    assert not plan.out.exists()
    (notes / "hang").unlink()
    (outcome,) = run_models([str(folder)], AnalysisPlan(tmp_path / "out", SIZES), open_backend("ray"))
    assert outcome.status == "written"


@pytest.mark.slow
def test_without_a_gpu_in_the_cluster_none_is_waited_for(cluster, tmp_path, capsys):
    assert main(["headroles-tiny", "--out", str(tmp_path), *OPTIONS, "--device", "cuda"]) == 1
    assert capsys.readouterr().err == "error: No node of the Ray cluster has a GPU; leave --device out to use the CPUs.\n"
