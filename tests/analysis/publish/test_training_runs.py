"""Training runs from the records of a folder into a dataset on a double of the Hub, and from there to a server."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis import __main__ as command
from analysis.publish.training_runs import models_with_steps, read_points
from headroles.core.records.record_files import record_file_name, write_record
from headroles.core.surveys.training_run import parse_points, read_training
from headroles.errors import NoTrainingRunError
from headroles.hub.training_store import TrainingStore
from headroles.settings import Settings
from tests.core.surveys.test_training_builder import of_step
from tests.fixtures import dataset_hub
from tests.fixtures.dataset_hub import DatasetHub
from tests.fixtures.hub import MEMBERS_TOKEN
from tests.fixtures.known import known

RUN = "training/org__m.jsonl"


@pytest.fixture
def hub(use_hub, tmp_path) -> Iterator[DatasetHub]:
    """A Hub of datasets, and this process told to use it as one who may write there."""
    with DatasetHub(tmp_path / "hub") as double:
        yield use_hub(double, MEMBERS_TOKEN)


def folder_of(folder: Path, record, *steps: int, **changes) -> str:
    for step in steps:
        made = of_step(record, step, **changes)
        write_record(made, folder / record_file_name(made.model_name))
    return str(folder)


def test_records_of_a_folder_make_a_run_beside_them_and_a_later_one_adds_its_point(record, tmp_path, capsys):
    out = folder_of(tmp_path, record, 1000, 0)
    write_record(record, tmp_path / "other.json")
    (tmp_path / "broken@step7.json").write_text("{")
    assert command.main(["training", "org/m", "--out", out]) == 0
    assert capsys.readouterr().out == f"Training of org/m: 2 recorded steps, 0 to 1,000, in {tmp_path / RUN}\n"
    assert read_training(tmp_path / RUN, "org/m").steps == (0, 1000)
    for path in tmp_path.glob("*@*.json"):
        path.unlink()  # their points stay
    folder_of(tmp_path, record, 64)
    assert command.main(["training", "org/m", "--out", out, "--dry-run"]) == 0
    assert read_training(tmp_path / RUN).steps == (0, 1000)
    assert command.main(["training", "org/m", "--out", out]) == 0
    assert read_training(tmp_path / RUN).steps == (0, 64, 1000)
    assert TrainingStore(Settings(home=tmp_path, records=tmp_path)).find("org/m").steps == (0, 64, 1000)
    assert command.main(["training", "org/none", "--out", out]) == 1
    assert "There is no record of a step of org/none in" in capsys.readouterr().err
    assert (list(read_points(tmp_path)), models_with_steps(["org/m@step0", "org/m", "org/m@step2", "a@main"])) == (
        ["org/m"],
        ["org/m"],
    )


@pytest.mark.processes
@pytest.mark.parametrize("is_large", [False, True], ids=["small file", "large file"])
def test_machines_that_push_a_step_each_make_one_run_which_a_server_fetches_and_keeps(
    hub, record, tmp_path, capsys, monkeypatch, is_large
):
    if is_large:  # as the Hub has it from ten megabytes on
        monkeypatch.setattr(dataset_hub, "LARGE", (*dataset_hub.LARGE, ".jsonl"))
    first, second = (folder_of(tmp_path / str(step), record, step) for step in (0, 10))
    assert command.main(["push", first, "org/data"]) == 0
    assert "step 0 alone; a training run needs at least two steps" in capsys.readouterr().out
    assert RUN not in hub.paths("org/data")
    assert command.main(["training", "org/m", "--out", second, "--push", "org/data", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert re.search(rf"adds {RUN} \([\d,]+ bytes\)\n  adds step 10\n", said)
    assert RUN not in hub.paths("org/data")
    for _ in range(2):
        assert command.main(["training", "org/m", "--out", second, "--push", "org/data"]) == 0
    assert "org/data has it already" in capsys.readouterr().out
    assert [point.step for point in parse_points(hub.content("org/data", RUN), "a run", "org/m")] == [0, 10]
    third = folder_of(tmp_path / "third", record, 20, recipe=record.recipe.model_copy(update={"seed": 7}))
    assert command.main(["training", "org/m", "--out", third, "--push", "org/data"]) == 1
    assert "Step 20 and step 10 of org/m make no training run: its record has another recipe" in capsys.readouterr().err

    settings = Settings(home=tmp_path / "home", dataset="org/data")
    run = TrainingStore(settings).find("org/m")
    assert (run.steps, known(run.source).kind, known(run.source).dataset) == ((0, 10), "published", "org/data")
    with pytest.raises(NoTrainingRunError, match="'org/other', neither here nor in org/data"):
        TrainingStore(settings).find("org/other")
    hub.stop()
    store = TrainingStore(settings)
    assert (store.find("org/m").scores, known(store.find("org/m").source).kind) == (run.scores, "cached")
