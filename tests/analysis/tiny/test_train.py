"""The training of the embedded model: reproducible batches, checkpoints it goes on from, and what the shipped model must show."""

import json
import re

import numpy as np
import pytest
import torch

from analysis.tiny import history as tiny_history
from analysis.tiny import train as train_tiny
from analysis.tiny.card import CONTINUE, token_losses
from analysis.tiny.corpus import BatchSampler, TokenStream, TrainingStage, read_books, split_books, train_tokenizer
from headroles.core.records.head_categories import HeadCategories
from headroles.core.registry import EMBEDDED_FOLDER
from headroles.core.roles.scoring import pattern_roles
from headroles.models.probes.probe_texts import ProbeSizes, repeated_sequences

TEXT = ["The king and the queen lived in a castle near a great forest.", "Once upon a time there was a little girl."] * 60
PHASE = TrainingStage(
    "p", steps=9, batch=8, length=40, repeats=0.5, periods=(4, 12), jumbled=0.3, phrases=0.3, tokens=60, doubled=0.2
)


@pytest.fixture(scope="module")
def prose() -> TokenStream:
    return TokenStream(TEXT, train_tokenizer(TEXT, 320))


def test_a_batch_depends_on_seed_and_step_alone(prose):
    first, again, other = BatchSampler(prose, 320, 0), BatchSampler(prose, 320, 0), BatchSampler(prose, 320, 1)
    first.draw(PHASE, 1)
    assert np.array_equal(first.draw(PHASE, 5), again.draw(PHASE, 5))
    assert not np.array_equal(first.draw(PHASE, 5), first.draw(PHASE, 6))
    assert not np.array_equal(first.draw(PHASE, 5), other.draw(PHASE, 5))


def test_every_training_sequence_starts_with_the_bos_and_holds_none_after_it(prose):
    rows = np.concatenate([BatchSampler(prose, 320, 0).draw(PHASE, step) for step in range(20)])
    assert (rows[:, 0] == 0).all()
    assert (rows[:, 1:] > 0).all()


def test_repeated_sequences_repeat_and_jumbled_ones_do_not_at_one_distance(prose):
    def periodic(row: np.ndarray) -> bool:
        return any(np.array_equal(row[1 + p :], row[1:-p]) for p in range(4, 13))

    pure = TrainingStage("p", 1, 30, 64, repeats=1.0, periods=(4, 12), jumbled=0.0, phrases=0.0, tokens=60, doubled=0.0)
    mixed = TrainingStage("p", 1, 30, 64, repeats=1.0, periods=(12, 12), jumbled=1.0, phrases=0.0, tokens=60, doubled=0.0)
    assert all(periodic(row) for row in BatchSampler(prose, 320, 0).draw(pure, 0))
    jumbled = BatchSampler(prose, 320, 0).draw(mixed, 0)
    assert sum(periodic(row) for row in jumbled) < 5
    assert all(len(set(row.tolist())) <= 13 for row in jumbled)


def test_in_a_doubled_sequence_exactly_the_tokens_seen_before_are_said_twice(prose):
    phase = TrainingStage("p", 1, 30, 64, repeats=1.0, periods=(8, 12), jumbled=0.0, phrases=0.0, tokens=60, doubled=1.0)
    for row in BatchSampler(prose, 320, 0).draw(phase, 0)[:, 1:].tolist():
        seen, position = set(), 0
        while position < len(row) - 1:
            if row[position] in seen:
                assert row[position + 1] == row[position]
                position += 1
            seen.add(row[position])
            position += 1
        assert len(seen) <= 12


def test_the_held_out_text_is_the_end_of_every_book_and_not_learnt(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("\n\n".join(f"{name}\nline {n}" for n in range(100)))
    sources = [{"file": f"{name}.txt", "title": f"Book {name} (tr. Somebody)"} for name in "ab"]
    (tmp_path / "SOURCES.json").write_text(json.dumps(sources))
    books = read_books(tmp_path)
    assert list(books) == ["Book a", "Book b"]
    train, held_out = split_books(books)
    assert len(train) == 194
    assert held_out == [f"{name} line {n}" for name in "ab" for n in range(97, 100)]


def test_training_stopped_and_started_again_ends_where_it_would_have(prose, tmp_path, monkeypatch):
    phase = TrainingStage("p", 6, 4, 24, repeats=0.5, periods=(4, 12), jumbled=0.3, phrases=0.3, tokens=60, doubled=0.2)
    monkeypatch.setattr(train_tiny, "PHASES", (phase,))
    monkeypatch.setattr(train_tiny, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(train_tiny, "fast_dtype", lambda device: torch.float32)
    batches, cpu = BatchSampler(prose, 320, 0), torch.device("cpu")

    def run(name: str, steps: int) -> dict[str, torch.Tensor]:
        monkeypatch.setattr(train_tiny, "STEPS", steps)
        return train_tiny.train(batches, tmp_path / name, 0, cpu)[0].state_dict()

    monkeypatch.setattr(train_tiny, "learning_rate", lambda step: 1e-3)
    straight = run("one", 6)
    run("two", 4)
    resumed = run("two", 6)
    for name in straight:
        torch.testing.assert_close(straight[name], resumed[name])


def test_the_learning_rate_warms_up_and_falls():
    rates = [train_tiny.learning_rate(step) for step in range(train_tiny.STEPS)]
    peak = rates.index(max(rates))
    assert rates[peak] == pytest.approx(train_tiny.PEAK_RATE)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak + 1 :] == sorted(rates[peak + 1 :], reverse=True)
    assert sum(phase.steps for phase in train_tiny.PHASES) == train_tiny.STEPS


@pytest.mark.parametrize(
    ("role", "least"), [("previous_token", 0.9), ("induction", 0.75), ("duplicate_token", 0.5), ("diffuse", 0.8)]
)
def test_the_shipped_models_best_head_of_each_role_is_strong(record, role, least):
    assert max(max(row) for row in record.all_scores[role]) >= least


def test_the_shipped_model_predicts_what_repeats_far_better_than_what_does_not(tiny):
    losses = token_losses(tiny, repeated_sequences(tiny, ProbeSizes(repeated_sequences=10, seed=123)))
    first, second = losses[:, :50].mean(), losses[:, 50:].mean()
    assert second < first / 3


def test_the_shipped_model_continues_the_sentence_as_its_card_says(tiny):
    with torch.no_grad():
        logits = tiny.model(input_ids=torch.tensor([tiny.encode(CONTINUE)])).logits[0, -1]
    token, share = tiny.tokenizer.decode([int(logits.argmax())]), float(logits.softmax(-1).max())
    assert f"“{CONTINUE}” goes on with “{token}” at {share:.0%}." in (EMBEDDED_FOLDER / "README.md").read_text("utf-8")


def test_the_model_card_states_scores_losses_books_steps_and_seconds(record):
    card = (EMBEDDED_FOLDER / "README.md").read_text("utf-8")
    for role in pattern_roles():
        assert f"| {role.name} | L" in card
        assert f"{max(max(row) for row in record.all_scores[role.name]):.3f}" in card
    assert record.revision in card
    losses = [float(value) for value in re.findall(r"^\| .* \| (\d+\.\d\d) \|$", card, re.M)]
    first, second, prose, unigram, bigram = losses
    assert second < first / 3
    assert prose < bigram < unigram
    assert re.search(r"\d,\d{3} steps in \d,\d{3} seconds", card)
    assert card.count("\n- ") == 28
    assert "Alice's Adventures in Wonderland" in card


def test_a_history_has_a_record_and_losses_from_step_0_to_the_end_and_points_behind_a_stop_are_made_again(
    prose, tiny, record, tmp_path, monkeypatch
):
    monkeypatch.setattr(tiny_history, "DENSE", 2)
    monkeypatch.setattr(
        tiny_history, "score_with_lens", lambda loaded, *_, **__: record.model_copy(update={"revision": loaded.revision})
    )
    monkeypatch.setattr(tiny_history, "repeat_losses", lambda loaded: (2.0, 1.0))
    history = tiny_history.TrainingHistory(tmp_path / "points.jsonl", 5, tiny.tokenizer.backend_tokenizer, prose)
    before = {name: tensor.clone() for name, tensor in tiny.model.state_dict().items()}
    for done in (*range(4), *range(2, 6)):  # stopped after 3, gone on from 2
        history.on_step(tiny.model, done)
    points = [json.loads(line) for line in history.path.read_text("utf-8").splitlines()]
    assert [point["step"] for point in points] == [0, 2, 4, 5]
    assert [HeadCategories.model_validate(point["record"]).revision for point in points] == ["step0", "step2", "step4", "step5"]
    assert all(set(point["losses"]) == {"first_pass", "second_pass", "prose"} for point in points)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny.model.state_dict().items())
