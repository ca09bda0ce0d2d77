"""The texts that verdicts are calibrated on, and the calibration made of them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analysis.__main__ import main
from analysis.checks.calibrate import report, try_verdicts, untrained
from headroles.core.readings.detection import detect, detect_heads, known_heads
from headroles.core.records.calibration import ROLE_LEVEL, USUAL, AlwaysOn, Triggered
from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_builder import with_calibration
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.roles import get_measured_role
from headroles.models.loading.loader import load_model
from headroles.models.probes.calibration_texts import PHRASE_LENGTHS, TEXT_LENGTHS, make_pairs, ordinary_texts
from headroles.models.probes.probe_texts import ProbeSizes
from headroles.models.probes.sentences import CALIBRATION_SENTENCES, FOR_TRIALS, SENTENCES
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.scoring.calibration import PairExcess, calibrate, fit_triggered, level_below, read_pairs
from headroles.models.scoring.sweep import analyze_model
from tests.fixtures.known import known

TRIGGERED = [get_measured_role(name) for name in ("induction", "duplicate_token")]


@pytest.fixture(scope="module")
def reader() -> PatternReader:
    return PatternReader(load_model(EMBEDDED_MODEL))


@pytest.fixture(scope="module")
def pairs(reader):
    return list(make_pairs(reader.loaded, 1, CALIBRATION_SENTENCES, seed=3))


def test_no_sentence_stands_in_two_lists():
    lists = (SENTENCES, CALIBRATION_SENTENCES, FOR_TRIALS)
    assert len({sentence for sentences in lists for sentence in sentences}) == sum(map(len, lists))
    assert all(len(sentence.split()) <= 24 for sentences in lists for sentence in sentences)


def test_a_pair_says_a_passage_twice_and_its_twin_has_fresh_tokens_in_place_of_the_second(reader, pairs):
    for pair in pairs:
        passage = pair.positive[pair.second_start :]
        assert pair.positive[: pair.second_start] == pair.null[: pair.second_start]
        assert len(pair.positive) == len(pair.null) <= max(TEXT_LENGTHS)
        assert any(pair.positive[at : at + len(passage)] == passage for at in range(pair.second_start - len(passage)))
        fresh = pair.null[pair.second_start :]
        assert len({*fresh}) == len(fresh) == len(passage)
        assert not {*fresh} & {*pair.positive}
        assert pair.positive[: len(reader.loaded.bos)] == reader.loaded.bos
    kinds = {(pair.kind, len(pair.positive)) for pair in pairs}
    assert {("prose", 250), ("random", 16), ("random", 250)} <= kinds


def test_the_same_seed_gives_the_same_texts_and_another_other_ones(reader, pairs):
    assert list(make_pairs(reader.loaded, 1, CALIBRATION_SENTENCES, seed=3)) == pairs
    assert list(make_pairs(reader.loaded, 1, CALIBRATION_SENTENCES, seed=4)) != pairs


def test_ordinary_texts_are_of_8_to_250_tokens(reader):
    lengths = [len(text) for text in ordinary_texts(reader.loaded, 4, CALIBRATION_SENTENCES, seed=0)]
    assert min(lengths) >= PHRASE_LENGTHS[1] - 2
    assert max(lengths) == 250
    assert len(lengths) > 2 * len(CALIBRATION_SENTENCES)


def test_only_the_second_passage_is_looked_at_and_in_the_same_cells_of_both(reader, pairs):
    for pair, by_role in read_pairs(reader, pairs[-2:], TRIGGERED):
        for shown in by_role.values():
            assert shown.positive.shape == shown.null.shape
            assert 0 < shown.tokens <= len(pair.positive) - pair.second_start
            assert not torch.equal(shown.positive, shown.null)


def test_a_calibration_has_every_role_and_its_own_texts_reach_what_it_promises(reader, record):
    shares: list[float] = []
    found = calibrate(reader, record, texts=1, on_progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert {name: type(one) for name, one in found.items()} == {name: type(one) for name, one in record.calibrations.items()}
    assert with_calibration(record, found).calibrations == found
    for one in found.values():
        if isinstance(one, AlwaysOn):
            assert one.table.shape == (4, 8, len(USUAL))
            assert (one.table.diff(dim=-1) >= 0).all()


def test_levels_let_as_few_null_texts_through_as_they_promise():
    generator = torch.Generator().manual_seed(0)
    shown = [
        PairExcess("prose", 16, torch.full((2, 3, 4), 0.9), null**3 / 2, torch.full((2, 3), 0.9))
        for null in torch.rand(200, 2, 3, 4, generator=generator)
    ]
    those = torch.zeros(2, 3, dtype=torch.bool)
    those[0, :2] = True
    made = fit_triggered(shown, those)
    seen = [detect_heads(one.null, those, made, one.length) for one in shown]
    assert sum(is_role for _, is_role in seen) <= ROLE_LEVEL * len(shown)
    assert sum(int(heads[~those].sum()) for heads, _ in seen) <= 0.25 * len(shown) + 1
    assert (made.recall, made.head_recall) == (1, 1)
    none = fit_triggered(shown, those & ~those)
    assert (none.role_tail, none.role_level, none.recall, none.head_recall) == (None, 0.0, 0.0, 0.0)


@given(st.integers(1, 300), st.floats(0.001, 0.2))
def test_a_level_is_the_share_itself_where_chances_are_what_they_say(texts, share):
    chances = [rank / (texts + 1) for rank in range(1, texts + 1)]  # the expected order statistics of uniform ones
    assert level_below(chances, share) == pytest.approx(min(share, texts / (texts + 1)))
    assert level_below([chance / 5 for chance in chances], share) == pytest.approx(min(share, texts / (texts + 1)) / 5)


def test_pairs_that_are_read_together_show_what_each_shows_alone(reader, pairs, monkeypatch):
    batches: list[int] = []

    def read(token_ids: torch.Tensor) -> torch.Tensor:
        """Patterns that each row's own tokens draw."""
        batches.append(len(token_ids))
        rows = [torch.Generator().manual_seed(hash(tuple(row))) for row in token_ids.tolist()]
        tokens, heads = token_ids.shape[1], reader.loaded.identity.num_heads
        return torch.stack([torch.rand(len(reader.loaded.layers), heads, tokens, tokens, generator=row) for row in rows], dim=1)

    monkeypatch.setattr(reader, "read_layers", read)
    alone = [found for pair in pairs for found in read_pairs(reader, [pair], TRIGGERED)]
    assert set(batches) == {2}
    for (pair, one), (same, other) in zip(alone, read_pairs(reader, pairs, TRIGGERED), strict=True):
        assert pair is same
        for name, shown in one.items():
            assert (shown.kind, shown.length) == (other[name].kind, other[name].length)
            assert torch.equal(shown.positive, other[name].positive)
            assert torch.equal(shown.null, other[name].null)
            assert torch.equal(shown.attention, other[name].attention)
    assert 2 < max(batches) <= 2 * (max(TEXT_LENGTHS) // min(TEXT_LENGTHS))


def test_a_context_too_short_for_a_passage_said_twice_calibrates_what_it_can(reader, record, monkeypatch):
    monkeypatch.setattr(type(reader.loaded), "context_length", 14)
    assert not list(make_pairs(reader.loaded, 1, CALIBRATION_SENTENCES, 0))
    assert set(calibrate(reader, record, texts=1)) == {"previous_token", "current_token", "positional", "delimiter", "diffuse"}


@pytest.mark.slow
def test_an_untrained_network_is_seen_in_no_role(random_model, reader):
    blank = PatternReader(untrained(reader.loaded))
    record: HeadCategories = analyze_model(blank, ProbeSizes(5, 20, 5, calibration=1))
    assert not any(known_heads(record, role).any() for role in TRIGGERED)
    trials = try_verdicts(blank, record, texts=1)
    assert [trial.recall for trial in trials] == [0, 0]
    assert all(rate == 0 for trial in trials for rate in trial.false.values())
    text, exit_code = report(trials, is_untrained=True)
    assert exit_code == 0, text


@pytest.mark.slow
def test_the_command_tries_the_verdicts_and_says_which_aims_are_missed(capsys, tmp_path):
    assert main(["calibrate", EMBEDDED_MODEL, "--texts", "1"]) in (0, 1)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in printed[:3]] == ["role", "Induction", "Duplicate Token"]
    assert all(line.startswith("missed: ") for line in printed[3:])
    assert main(["calibrate", EMBEDDED_MODEL, "--out", str(tmp_path)]) == 2
    assert "There is no record of headroles-tiny here" in capsys.readouterr().err


def test_a_record_without_calibration_falls_back_on_the_stated_default(reader, record):
    plain = record.model_copy(update={"calibration": None})
    assert plain.calibrations == {}
    role = TRIGGERED[0]
    attention = reader.read(reader.loaded.encode(known(role.suggested_prompt)))
    assert detect(role, attention, plain).role
    assert isinstance(record.calibrations[role.name], Triggered)
