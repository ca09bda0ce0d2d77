"""The offline analysis: its numbers against PyVene, its record, its command line."""

import pytest
import torch

from analysis.__main__ import main
from analysis.lens import open_bridge, score_model
from analysis.probes import (
    SENTENCES,
    Recipe,
    encoded_sentences,
    fitting_repeat_length,
    make_probes,
    repeated_sequences,
)
from headroles.capture import PatternReader
from headroles.categories import read_record
from headroles.errors import InvalidInputError
from headroles.models import EMBEDDED_MODEL, LoadedModel, load_model
from headroles.roles import MEASURED_ROLES
from headroles.scoring import measure_heads
from headroles.store import EMBEDDED

SMALL = Recipe(repeated_sequences=7, repeat_length=20, sentences=5)


def scores_through_pyvene(loaded: LoadedModel, recipe: Recipe) -> dict[str, torch.Tensor]:
    """The same probes, one text at a time, through PyVene: an independent way to the same numbers."""
    reader = PatternReader(loaded)
    values = {role.name: [] for role in MEASURED_ROLES}
    for probe in make_probes(loaded, recipe):
        for ids, length in zip(probe.token_ids, probe.lengths):
            patterns = reader.read_batch(ids[None, :length])
            measured = measure_heads(patterns, ids[None, :length])
            for role in probe.roles:
                values[role.name].append(measured[role.name].values[0])
    return {name: torch.stack(each).mean(0) for name, each in values.items()}


@pytest.mark.parametrize("architecture", ["tiny", "gpt2", "llama"])
def test_transformer_lens_and_pyvene_agree(architecture, random_model, fresh_tiny):
    make = (lambda: load_model(EMBEDDED_MODEL)) if architecture == "tiny" else (lambda: random_model(architecture))
    loaded = make()
    lens = score_model(open_bridge(loaded), make_probes(loaded, SMALL, batch=3))
    pyvene = scores_through_pyvene(make(), SMALL)
    for name in lens:
        torch.testing.assert_close(lens[name], pyvene[name], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_the_shipped_record_is_what_the_analysis_gives(tmp_path):
    assert main([EMBEDDED_MODEL, "--out", str(tmp_path)]) == 0
    made, shipped = read_record(tmp_path / EMBEDDED[EMBEDDED_MODEL].name), read_record(EMBEDDED[EMBEDDED_MODEL])
    assert made.revision == shipped.revision
    assert made.recipe.tokenizer_sha256 == shipped.recipe.tokenizer_sha256
    for name, table in shipped.all_scores.items():
        torch.testing.assert_close(torch.tensor(made.all_scores[name]), torch.tensor(table), atol=1e-4, rtol=0)
    assert list(tmp_path.iterdir()) == [tmp_path / "headroles-tiny.json"]


def test_the_batch_size_does_not_change_the_scores(random_model):
    scores = []
    for batch in (1, 4, 100):
        loaded = random_model("gpt2")
        scores.append(score_model(open_bridge(loaded), make_probes(loaded, SMALL, batch)))
    for name in scores[0]:
        torch.testing.assert_close(scores[0][name], scores[1][name], atol=1e-6, rtol=0)
        torch.testing.assert_close(scores[0][name], scores[2][name], atol=1e-6, rtol=0)


def test_nothing_after_the_last_pattern_is_computed(random_model):
    loaded = random_model("gpt2")
    ran = []
    loaded.model.transformer.h[-1].mlp.register_forward_hook(lambda *_: ran.append("mlp"))
    loaded.model.lm_head.register_forward_hook(lambda *_: ran.append("head"))
    bridge = open_bridge(loaded)
    ran.clear()
    score_model(bridge, make_probes(loaded, SMALL))
    assert ran == []


def test_repeated_sequences_are_a_bos_and_one_string_twice_of_ordinary_tokens_each_once(tiny):
    rows = repeated_sequences(tiny, SMALL)
    assert rows.shape == (7, 41)
    assert (rows[:, 0] == tiny.tokenizer.bos_token_id).all()
    assert torch.equal(rows[:, 1:21], rows[:, 21:])
    assert all(len(set(row.tolist())) == 20 for row in rows[:, 1:21])
    assert not (rows[:, 1:] == tiny.tokenizer.bos_token_id).any()
    assert torch.equal(rows, repeated_sequences(tiny, SMALL))
    assert not torch.equal(rows, repeated_sequences(tiny, Recipe(7, 20, 5, seed=1)))


def test_there_are_twenty_different_sentences_and_all_roles_are_probed(tiny):
    assert len(set(SENTENCES)) == 20
    assert all(8 <= len(ids) <= 64 for ids in encoded_sentences(tiny, Recipe()))
    assert {role for probe in make_probes(tiny, SMALL) for role in probe.roles} == set(MEASURED_ROLES)


def test_the_repeated_string_is_cut_to_fit_strictly_below_the_context(random_model):
    loaded = random_model("gpt2")  # 128 tokens, BOS
    assert fitting_repeat_length(loaded, 50) == 50
    assert fitting_repeat_length(loaded, 100) == 63
    loaded.model.config.n_positions = 16
    with pytest.raises(InvalidInputError, match="random-gpt2 reads 16 tokens"):
        fitting_repeat_length(loaded, 50)


def test_more_sentences_than_there_are_cannot_be_asked_for(tiny):
    with pytest.raises(InvalidInputError, match="There are 20 sentences, so 21"):
        list(make_probes(tiny, Recipe(sentences=21)))


def save(loaded: LoadedModel, folder) -> str:
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_local_folder_is_analysed_under_its_name(random_model, tmp_path, capsys):
    folder = save(random_model("gpt2"), tmp_path / "my-model")
    out = tmp_path / "out"
    options = ["--repeated-sequences", "3", "--repeat-length", "12", "--sentences", "2", "--seed", "5", "--batch", "2"]
    assert main([folder, "--out", str(out), *options]) == 0
    record = read_record(out / "my-model.json")
    assert (record.num_layers, record.num_heads) == (3, 4)
    recipe = record.recipe
    assert (recipe.repeated_sequences, recipe.repeat_length, recipe.sentences, recipe.seed) == (3, 12, 2, 5)
    assert recipe.prepend_bos
    assert "best L" in capsys.readouterr().out


def test_an_unsupported_architecture_ends_in_one_line_and_exit_code_2(tiny, tmp_path, capsys):
    from transformers import RwkvConfig, RwkvForCausalLM

    model = RwkvForCausalLM(RwkvConfig(vocab_size=64, hidden_size=16, num_hidden_layers=2, attention_hidden_size=16))
    folder = save(LoadedModel("odd", model, tiny.tokenizer, "r"), tmp_path / "odd")
    assert_refused([folder], tmp_path, capsys, "TransformerLens cannot analyse odd: it has no attention patterns.")


def test_an_unknown_model_ends_in_one_line_and_exit_code_2(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert_refused(["nobody/nothing-at-all"], tmp_path, capsys, "nobody/nothing-at-all could not be loaded")


def test_a_context_too_short_ends_in_one_line_and_exit_code_2(random_model, tmp_path, capsys):
    loaded = random_model("gpt2")
    loaded.model.config.n_positions = 12
    folder = tmp_path / "short"
    save(loaded, folder)
    weights = loaded.model.state_dict()
    weights["transformer.wpe.weight"] = weights["transformer.wpe.weight"][:12].clone()
    loaded.model.save_pretrained(folder, state_dict=weights)
    assert_refused([str(folder)], tmp_path, capsys, "short reads 12 tokens")


def assert_refused(arguments: list[str], tmp_path, capsys, message: str) -> None:
    out = tmp_path / "out"
    assert main([*arguments, "--out", str(out)]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not out.exists() or not list(out.iterdir())


@pytest.mark.parametrize("arguments", [[], ["m"], ["m", "--out", "x", "--batch", "0"], ["m", "--out", "x", "--batch", "a"]])
def test_a_wrong_command_line_is_exit_code_2(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
