"""Training runs: those that ship with headroles, those of a dataset, and those in the operator's own folder."""

import os
from itertools import accumulate
from pathlib import Path

import pytest

from analysis.tiny.train import ALL, FEW, PHASES, STEPS
from headroles.core.registry import EMBEDDED_MODEL, MODELS
from headroles.core.surveys.training_builder import make_point, merge_points, points_to_lines, run_file_name
from headroles.errors import HubError, InvalidRecordError, NoTrainingRunError
from headroles.hub import dataset
from headroles.hub import training_store as training
from headroles.hub.training_store import RUNS, RunFile, TrainingStore
from headroles.settings import Settings
from tests.core.surveys.test_training_builder import of_step
from tests.fixtures.known import known
from tests.fixtures.shipped import find_run


@pytest.mark.parametrize("model", RUNS)
def test_a_run_is_one_of_a_model_of_the_list_and_of_its_shape(model):
    run = find_run(model)
    assert (run.model, run.num_layers, run.num_heads) == (model, MODELS[model].num_layers, MODELS[model].num_heads)


def test_what_the_embedded_model_is_said_to_have_read_is_what_it_was_trained_on():
    run, starts = find_run(EMBEDDED_MODEL), [0, *accumulate(phase.steps for phase in PHASES)]
    assert [stretch.step for stretch in run.phases] == starts[:-1]
    assert run.steps[-1] == STEPS == starts[-1]
    doubles, repeats, more, everything, prose, long, phrases = (stretch.description for stretch in run.phases)
    assert (PHASES[0].tokens, PHASES[0].doubled) == (FEW, 1.0)
    assert "said twice" in doubles
    assert f"of {FEW} different" in doubles
    assert f"the same {PHASES[1].tokens} tokens" in repeats
    assert f"of {PHASES[2].tokens} different tokens" in more
    assert PHASES[3].tokens == ALL
    assert "of all tokens" in everything
    assert all(phase.repeats >= 0.8 for phase in PHASES[:4])  # the others are prose
    assert PHASES[4].repeats == pytest.approx(1 / 3, abs=0.04)
    assert "a third such strings" in prose
    assert PHASES[5].length > PHASES[4].length
    assert "longer" in long
    assert PHASES[6].phrases > PHASES[5].phrases
    assert "phrases of it that come again" in phrases


@pytest.mark.parametrize("model", ["gpt2", "<img src=x onerror=alert(1)>", "", "x" * 10_000])
def test_a_model_without_a_run_is_told_which_has_one(model):
    with pytest.raises(NoTrainingRunError) as caught:
        find_run(model)
    assert str(caught.value).endswith(f"; there is a recorded run of {EMBEDDED_MODEL}.")
    assert len(str(caught.value)) < 250


def test_a_run_whose_file_is_gone_or_of_another_model_is_refused_in_a_sentence(monkeypatch, tmp_path):
    runs = {"gone": RunFile(tmp_path / "nothing.jsonl"), "other": RUNS[EMBEDDED_MODEL]}
    monkeypatch.setattr(training, "RUNS", runs)
    with pytest.raises(InvalidRecordError, match=r"^The training run of gone could not be read \(No such file or directory\)\.$"):
        find_run("gone")
    with pytest.raises(InvalidRecordError, match="is one of headroles-tiny, and not of other"):
        find_run("other")


def lines(record, *steps: int, **changes) -> bytes:
    return points_to_lines(merge_points((), [make_point(of_step(record, step, **changes)) for step in steps]))


def settings(home: Path, **more) -> Settings:
    return Settings(home=home, dataset="org/roles", **more)


def publish(monkeypatch, content: bytes | Exception, commit: str = "abc") -> list[str]:
    """Lets the dataset hold a text as the run of every model; gives the commits that are asked against."""
    asked: list[str] = []

    def fetch(_model, _dataset, _revision, known):
        asked.append(known)
        if isinstance(content, Exception):
            raise content
        return (None if known == commit else content), commit

    monkeypatch.setattr(dataset, "fetch_run", fetch)
    return asked


def test_a_published_run_is_shown_kept_for_a_start_without_the_hub_and_asked_for_by_its_commit(record, tmp_path, monkeypatch):
    store = TrainingStore(settings(tmp_path))
    asked = publish(monkeypatch, lines(record, 0, 10))
    run = store.find("org/m")
    source = known(run.source)
    assert (run.steps, source.kind, source.dataset, source.commit, source.note) == ((0, 10), "published", "org/roles", "abc", "")
    store._refresh_now("org/m")
    assert asked == ["", "abc"]
    publish(monkeypatch, HubError("The Hub is away."))
    again = TrainingStore(settings(tmp_path))
    cached = again.find("org/m")
    assert (cached.steps, cached.scores, known(cached.source).kind) == (run.steps, run.scores, "cached")
    again._refresh_now("org/m")
    assert known(again.find("org/m").source).note == "The Hub is away."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda record: b"<html>Please log in.</html>\n" * 2, "is not valid in line 1, which is no JSON"),
        (lambda record: lines(record, 0, 10, model="org/other"), "is one of org/other, and not of org/m"),
        (lambda record: lines(record, 0, 10, analysis_date="2999-01-01"), "which is still to come"),
        (lambda record: HubError("The Hub is away."), "The Hub is away."),
    ],
)
def test_a_run_that_cannot_be_believed_takes_nothings_place_and_is_said(record, tmp_path, monkeypatch, content, said):
    store = TrainingStore(settings(tmp_path))
    publish(monkeypatch, content(record))
    with pytest.raises(NoTrainingRunError, match=said):
        store.find("org/m")
    publish(monkeypatch, lines(record, 0, 10), "good")
    store._state("org/m").next_refresh = 0.0
    assert store.find("org/m").steps == (0, 10)
    publish(monkeypatch, content(record), "bad")
    store._refresh_now("org/m")
    run = store.find("org/m")
    assert run.steps == (0, 10)
    assert said in known(run.source).note


def test_a_registered_models_run_of_another_shape_is_refused_and_what_is_missing_is_said_with_the_dataset(
    record, tmp_path, monkeypatch
):
    store = TrainingStore(settings(tmp_path))
    publish(monkeypatch, lines(record, 0, 10, model="gpt2"))
    with pytest.raises(NoTrainingRunError, match="for 4 layers x 8 heads, but gpt2 has 12 x 12"):
        store.find("gpt2")
    publish(monkeypatch, FileNotFoundError())
    with pytest.raises(NoTrainingRunError, match=r"of 'org/m', neither here nor in org/roles; there is a recorded run of headr"):
        store.find("org/m")
    assert known(store.find(EMBEDDED_MODEL).source).kind == "embedded"


def test_the_operators_own_run_comes_first_and_a_spoilt_or_foreign_one_stands_in_nobodys_way(record, tmp_path):
    own, path = tmp_path / "records", tmp_path / "records" / "training" / run_file_name(EMBEDDED_MODEL)
    path.parent.mkdir(parents=True)
    store = TrainingStore(Settings(home=tmp_path, records=own))
    path.write_bytes(lines(record, 0, 10, model=EMBEDDED_MODEL))
    assert (store.find(EMBEDDED_MODEL).steps, known(store.find(EMBEDDED_MODEL).source).kind) == ((0, 10), "local")
    for content in (b"{", b"", lines(record, 0, 10)):
        path.write_bytes(content)
        assert known(store.find(EMBEDDED_MODEL).source).kind == "embedded"
    path.unlink()
    os.mkfifo(path)
    assert known(store.find(EMBEDDED_MODEL).source).kind == "embedded"


def test_few_runs_are_in_memory(record, tmp_path, monkeypatch):
    store = TrainingStore(settings(tmp_path))
    publish(monkeypatch, FileNotFoundError())
    for number in range(20):
        with pytest.raises(NoTrainingRunError):
            store.find(f"org/{number}")
    assert len(store._models) == training.MAX_RUNS_IN_MEMORY
