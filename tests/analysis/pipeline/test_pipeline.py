"""The offline analysis of one model: its probes, its numbers, its record, and what it refuses."""

from importlib.metadata import version

import pytest
import torch
from huggingface_hub import constants
from transformers import BioGptConfig, BioGptForCausalLM, RwkvConfig, RwkvForCausalLM

from analysis.__main__ import main
from analysis.pipeline.bridge import open_bridge, score_model
from headroles.core.records.record_files import read_record
from headroles.core.registry import EMBEDDED_FOLDER, EMBEDDED_MODEL
from headroles.core.roles.scoring import pattern_roles
from headroles.errors import InvalidInputError, UnsupportedModelError
from headroles.hub.record_store import EMBEDDED_RECORDS
from headroles.models.loading.loader import LoadedModel, load_model
from headroles.models.probes.probe_texts import (
    SENTENCES,
    Probe,
    ProbeSizes,
    encoded_sentences,
    fitting_repeat_length,
    make_probes,
    repeated_sequences,
)
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.scoring.sweep import analyze_model, make_record
from tests.fixtures.double import ROUNDING, to_double

SMALL = ProbeSizes(repeated_sequences=7, repeat_length=20, sentences=5, calibration=0)


@pytest.mark.slow
def test_the_shipped_record_is_what_the_analysis_gives(tmp_path):
    assert main([EMBEDDED_MODEL, "--out", str(tmp_path)]) == 0
    made, shipped = read_record(tmp_path / EMBEDDED_RECORDS[EMBEDDED_MODEL].name), read_record(EMBEDDED_RECORDS[EMBEDDED_MODEL])
    assert made.revision == shipped.revision
    assert made.recipe.tokenizer_sha256 == shipped.recipe.tokenizer_sha256
    for name, table in shipped.all_scores.items():
        torch.testing.assert_close(torch.tensor(made.all_scores[name]), torch.tensor(table), atol=1e-4, rtol=0)
    for name, there in shipped.intervals.items():
        for head, interval in there.items():
            assert made.intervals[name][head] == pytest.approx(interval, abs=1e-4)
    for name, there in shipped.calibrations.items():  # to a last place or two: what is kept is rounded to the fourth
        torch.testing.assert_close(made.calibrations[name].table, there.table, atol=2e-4, rtol=0)
        assert type(made.calibrations[name]) is type(there)
    assert list(tmp_path.iterdir()) == [tmp_path / "headroles-tiny.json"]


def test_the_batch_size_does_not_change_the_scores(in_double, random_model):
    scores = []
    for batch in (1, 4, 100):
        loaded = random_model("gpt2")
        to_double(loaded.model)
        scores.append(score_model(open_bridge(loaded), loaded, make_probes(loaded, SMALL, batch)).scores())
    for name in scores[0]:
        torch.testing.assert_close(scores[0][name], scores[1][name], atol=ROUNDING, rtol=0)
        torch.testing.assert_close(scores[0][name], scores[2][name], atol=ROUNDING, rtol=0)


def test_nothing_after_the_last_pattern_is_computed(random_model):
    loaded = random_model("gpt2")
    ran = []
    loaded.model.transformer.h[-1].mlp.register_forward_hook(lambda *_: ran.append("mlp"))
    loaded.model.lm_head.register_forward_hook(lambda *_: ran.append("head"))
    bridge = open_bridge(loaded)
    ran.clear()
    score_model(bridge, loaded, make_probes(loaded, SMALL))
    assert ran == []


def test_repeated_sequences_are_a_bos_and_one_string_twice_of_ordinary_tokens_each_once(tiny):
    rows = repeated_sequences(tiny, SMALL)
    assert rows.shape == (7, 41)
    assert (rows[:, 0] == tiny.tokenizer.bos_token_id).all()
    assert torch.equal(rows[:, 1:21], rows[:, 21:])
    assert all(len(set(row.tolist())) == 20 for row in rows[:, 1:21])
    assert not (rows[:, 1:] == tiny.tokenizer.bos_token_id).any()
    assert torch.equal(rows, repeated_sequences(tiny, SMALL))
    assert not torch.equal(rows, repeated_sequences(tiny, ProbeSizes(7, 20, 5, seed=1)))


def test_there_are_twenty_different_sentences_and_all_roles_of_patterns_are_probed(tiny):
    assert len(set(SENTENCES)) == 20
    assert all(8 <= len(ids) <= 64 for ids in encoded_sentences(tiny, ProbeSizes()))
    assert {role for probe in make_probes(tiny, SMALL) for role in probe.roles} == set(pattern_roles())


def test_the_repeated_string_is_cut_to_fit_strictly_below_the_context(random_model):
    loaded = random_model("gpt2")  # 128 tokens, BOS
    assert fitting_repeat_length(loaded, 50) == 50
    assert fitting_repeat_length(loaded, 100) == 63
    loaded.model.config.n_positions = 16
    with pytest.raises(InvalidInputError, match="random-gpt2 reads 16 tokens"):
        fitting_repeat_length(loaded, 50)


def test_more_sentences_than_there_are_cannot_be_asked_for(tiny):
    with pytest.raises(InvalidInputError, match="There are 20 sentences, so 21"):
        list(make_probes(tiny, ProbeSizes(sentences=21)))


def save(loaded: LoadedModel, folder) -> str:
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)  # pyright: ignore[reportAttributeAccessIssue]
    return str(folder)


def test_sentences_are_cut_strictly_below_the_end_of_the_context(random_model):
    loaded = random_model("gpt2")
    whole = encoded_sentences(loaded, ProbeSizes())
    loaded.model.config.n_positions = 20
    cut = encoded_sentences(loaded, ProbeSizes())
    assert max(map(len, whole)) > 20
    assert cut == [ids[:19] for ids in whole]
    record = make_record(loaded, score_model(open_bridge(loaded), loaded, make_probes(loaded, SMALL)), SMALL)
    assert record.recipe.repeat_length == 9


def test_sentences_are_encoded_as_prompts_are(tiny):
    assert encoded_sentences(tiny, ProbeSizes()) == [tiny.encode(sentence) for sentence in SENTENCES]


def test_a_local_folder_is_analysed_under_its_name(random_model, tmp_path, capsys):
    folder = save(random_model("gpt2"), tmp_path / "my-model")
    out = tmp_path / "out"
    options = ["--quick", "--repeated-sequences", "3", "--repeat-length", "12", "--sentences", "2", "--seed", "5", "--batch", "2"]
    assert main([folder, "--out", str(out), *options]) == 0
    record = read_record(out / "my-model.json")
    assert (record.model_name, record.num_layers, record.num_heads) == ("my-model", 3, 4)
    recipe = record.recipe
    assert (recipe.repeated_sequences, recipe.repeat_length, recipe.sentences, recipe.seed) == (3, 12, 2, 5)
    assert recipe.prepend_bos
    assert recipe.transformer_lens == version("transformer-lens")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["model", "my-model"]
    assert list(out.iterdir()) == [out / "my-model.json"]


def test_a_model_is_called_what_the_command_says(tiny, tmp_path, capsys):
    quick = ["--quick", "--repeated-sequences", "2", "--repeat-length", "8", "--sentences", "1"]
    assert main([str(EMBEDDED_FOLDER), "--name", "org/model", "--out", str(tmp_path), *quick]) == 0
    record = read_record(tmp_path / "org__model.json")
    assert (record.model_name, record.revision) == ("org/model", tiny.revision)
    for wrong in (["a", "b", "--name", "org/model"], ["a", "--name", "../x"], ["a", "--name", "a/b/c"]):
        with pytest.raises(SystemExit) as caught:
            main([*wrong, "--out", str(tmp_path)])
        assert caught.value.code == 2
    assert "--name needs exactly one model" in capsys.readouterr().err


def rwkv(tiny) -> LoadedModel:
    config = RwkvConfig(vocab_size=64, hidden_size=16, num_hidden_layers=2, attention_hidden_size=16)
    return LoadedModel("odd", RwkvForCausalLM(config), tiny.tokenizer, "r")


def test_an_unsupported_architecture_is_refused_in_one_line(tiny, tmp_path, capsys):
    folder = save(rwkv(tiny), tmp_path / "odd")
    assert_refused(folder, tmp_path, capsys, "odd is of the architecture rwkv, which headroles cannot read")


def test_a_model_without_attention_patterns_is_refused_by_name(tiny):
    loaded = rwkv(tiny)
    loaded.model.config.architectures = [type(loaded.model).__name__]
    probe = Probe(torch.tensor([[1, 2, 3]]), torch.tensor([3]), pattern_roles(), torch.zeros(1, 3, dtype=torch.bool))
    with pytest.raises(UnsupportedModelError, match=r"TransformerLens cannot analyse odd: it has no attention patterns\."):
        score_model(open_bridge(loaded), loaded, [probe])


def test_an_architecture_that_transformer_lens_does_not_know_is_refused_by_name(tiny):
    config = BioGptConfig(vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    with pytest.raises(
        UnsupportedModelError, match=r"^TransformerLens cannot analyse odd \(biogpt\): [^.]+ architecture[^.]+\.$"
    ):
        open_bridge(LoadedModel("odd", BioGptForCausalLM(config), tiny.tokenizer, "r"))


@pytest.mark.parametrize(
    ("model", "message"),
    [("no/such/model", "'no/such/model' is no"), ("nobody/nothing-at-all", "nobody/nothing-at-all is not on this machine")],
)
def test_a_model_that_is_unknown_or_out_of_reach_is_refused_in_one_line(model, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert_refused(model, tmp_path, capsys, message)


def test_a_context_too_short_is_refused_in_one_line(random_model, tmp_path, capsys):
    loaded = random_model("gpt2")
    loaded.model.config.n_positions = 12
    folder = tmp_path / "short"
    save(loaded, folder)
    weights = loaded.model.state_dict()
    weights["transformer.wpe.weight"] = weights["transformer.wpe.weight"][:12].clone()
    loaded.model.save_pretrained(folder, state_dict=weights)
    assert_refused(str(folder), tmp_path, capsys, "short reads 12 tokens")


def assert_refused(model: str, tmp_path, capsys, message: str) -> None:
    """One line says why, the exit code is 1, and nothing is written."""
    out = tmp_path / "out"
    assert main([model, "--out", str(out)]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not out.exists()


def test_what_transformer_lens_cannot_read_is_analysed_through_pyvene_and_said_so(random_model, tmp_path, capsys):
    folder = save(random_model("nemotron_h"), tmp_path / "mixed")
    sizes = ["--quick", "--repeated-sequences", "2", "--repeat-length", "8", "--sentences", "2"]
    command = [folder, "--out", str(tmp_path / "out"), *sizes]
    assert main(command) == 0
    assert "written, read through PyVene, since TransformerLens cannot" in capsys.readouterr().out
    record = read_record(tmp_path / "out" / "mixed.json")
    assert (record.recipe.transformer_lens, record.layers, record.num_layers) == (None, (1, 4), 5)
    again = load_model("mixed", folder)
    theirs = analyze_model(PatternReader(again), ProbeSizes(2, 8, 2, calibration=0))
    assert record.all_scores == theirs.all_scores
    assert main(command) == 0  # and such a record is finished
    assert "skipped: up to date, read through PyVene" in capsys.readouterr().out
