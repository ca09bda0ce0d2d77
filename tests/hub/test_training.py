"""The runs that ship with headroles."""

from itertools import accumulate

import pytest

from analysis.train_tiny import ALL, FEW, PHASES, STEPS
from headroles.core.registry import EMBEDDED_MODEL, MODELS
from headroles.errors import InvalidRecordError, NoTrainingRunError
from headroles.hub import training
from headroles.hub.training import RUNS, RunFile, find_run


@pytest.mark.parametrize("model", RUNS)
def test_a_run_is_one_of_a_model_of_the_list_and_of_its_shape(model):
    run = find_run(model)
    assert (run.model, run.num_layers, run.num_heads) == (model, MODELS[model].num_layers, MODELS[model].num_heads)
    assert find_run(model) is run


def test_what_the_embedded_model_is_said_to_have_read_is_what_it_was_trained_on():
    run, starts = find_run(EMBEDDED_MODEL), [0, *accumulate(phase.steps for phase in PHASES)]
    assert [stretch.step for stretch in run.stretches] == starts[:-1]
    assert run.steps[-1] == STEPS == starts[-1]
    doubles, repeats, more, everything, prose, long, phrases = (stretch.told for stretch in run.stretches)
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
