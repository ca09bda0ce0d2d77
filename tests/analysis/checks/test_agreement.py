"""Two records of the same heads held against each other: a model and its quantised file, other models, and other shapes."""

import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import dequantize, quantize
from hypothesis import given
from hypothesis import strategies as st

from analysis.__main__ import main
from analysis.checks.agreement import BEST, agreements
from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_files import read_record, write_record
from headroles.core.registry import EMBEDDED_MODEL
from headroles.errors import InvalidRecordError
from headroles.hub.record_store import EMBEDDED_RECORDS
from headroles.models.loading.loader import load_model
from headroles.models.probes.probe_texts import ProbeSizes
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.scoring.sweep import analyze_model
from tests.analysis.publish.test_dataset_files import make
from tests.fixtures.real import REAL_MODEL

SOME = ProbeSizes(repeated_sequences=10, repeat_length=25, sentences=10, calibration=0)


def with_scores(record: HeadCategories, scores: list[float]) -> HeadCategories:
    """The record, its induction scores those, by layer and head."""
    rows = [scores[i : i + record.num_heads] for i in range(0, len(scores), record.num_heads)]
    return record.model_copy(update={"all_scores": {**record.all_scores, "induction": rows}})


@pytest.fixture(scope="module")
def analysed() -> HeadCategories:
    return analyze_model(PatternReader(load_model(EMBEDDED_MODEL)), SOME)


def test_a_record_agrees_wholly_with_itself(record):
    for found in agreements(record, record):
        assert found.rank_correlation == pytest.approx(1)
        assert (found.common, found.of, found.largest_difference) == (BEST, BEST, 0)
    assert [found.role.name for found in agreements(record, record)] == [role.name for role in record.scored_roles]


@given(order=st.permutations(range(18)), stretch=st.floats(0.1, 1))
def test_only_the_order_counts_for_the_rank_correlation(order, stretch):
    record = make("org/m", layers=3, heads=6)
    ranks = with_scores(record, [place / 18 for place in order])
    bent = with_scores(record, [(place / 18) ** 2 * stretch for place in order])
    turned = with_scores(record, [1 - place / 18 for place in order])
    by_role = {found.role.name: found for found in agreements(ranks, bent)}
    assert by_role["induction"].rank_correlation == pytest.approx(1)
    assert by_role["induction"].common == BEST
    against = {found.role.name: found for found in agreements(ranks, turned)}["induction"]
    assert against.rank_correlation == pytest.approx(-1)
    assert against.common == 0


@pytest.mark.parametrize("kind", [Kind.Q8_0, Kind.Q4_1], ids=lambda kind: kind.name)
def test_quantised_weights_keep_the_order_of_the_heads_and_the_best_of_them(kind, analysed):
    loaded = load_model(EMBEDDED_MODEL)
    for matrix in (tensor for tensor in loaded.model.parameters() if tensor.ndim == 2):
        matrix.data = torch.from_numpy(dequantize(quantize(matrix.detach().numpy(), kind), kind))
    for found in agreements(analysed, analyze_model(PatternReader(loaded), SOME)):
        assert found.largest_difference > 0
        assert found.rank_correlation > 0.9
        assert found.common >= found.of - 1


def test_records_of_different_shapes_and_of_no_common_role_are_refused(record):
    with pytest.raises(InvalidRecordError, match=r"of 4 layers x 8 heads and of 3 x 6; .* give two of one shape"):
        agreements(record, make("org/m", layers=3, heads=6))
    some = [record.model_copy(update={"all_scores": {name: record.all_scores[name]}}) for name in ("induction", "diffuse")]
    with pytest.raises(InvalidRecordError, match="no role in common"):
        agreements(*some)


def test_the_command_compares_files_and_models_whose_records_are_here(record, tmp_path, capsys):
    path = write_record(record.model_copy(update={"model_name": "org/other"}), tmp_path / "other.json")
    assert main(["compare", EMBEDDED_MODEL, str(path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith(f"{EMBEDDED_MODEL}, revision ")
    assert printed[1].startswith("org/other, revision ")
    assert all(" 1.000 " in line and " 5 of 5 " in line for line in printed[4:])
    assert len(printed) == 4 + len(record.scored_roles)


def test_the_command_says_how_weights_were_kept_and_what_cannot_be_compared(capsys):
    assert main(["compare", REAL_MODEL, REAL_MODEL]) == 0
    assert capsys.readouterr().out.startswith(f"{REAL_MODEL}, Q4_1 weights, revision sha256:")
    assert main(["compare", EMBEDDED_MODEL, REAL_MODEL]) == 1
    assert capsys.readouterr().err.startswith("error: The records are of 4 layers x 8 heads and of 30 x 9;")
    assert main(["compare", EMBEDDED_MODEL, "nowhere.json"]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_another_model_of_the_same_shape_has_other_heads():
    record = read_record(EMBEDDED_RECORDS[REAL_MODEL])
    backwards = {name: [row[::-1] for row in rows[::-1]] for name, rows in record.all_scores.items()}
    for found in agreements(record, record.model_copy(update={"all_scores": backwards})):
        assert found.common <= 1
        assert found.rank_correlation < 0.5
