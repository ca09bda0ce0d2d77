"""From excess to a verdict: tails, the two steps, and what a record's calibration must be to be believed."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headroles.core.patterns.excess import Excess
from headroles.core.readings.detection import detect, detect_heads
from headroles.core.records.calibration import (
    DEFAULT,
    LEAST_EXCESS,
    TAIL,
    USUAL,
    AlwaysOn,
    Triggered,
    compute_percentile,
    distance_from_usual,
    null_probability,
    parse_calibration,
    shares_above,
)
from headroles.core.records.record_builder import with_calibration
from headroles.core.records.record_files import parse_record, read_record
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.roles import get_measured_role
from headroles.errors import InvalidRecordError
from headroles.hub.record_store import EMBEDDED_RECORDS
from headroles.render.wording.sources import NOT_CALIBRATED, describe_source
from tests.conftest import PLAIN
from tests.fixtures.known import known
from tests.fixtures.real import REAL_MODEL

RISING = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
TAILS = torch.tensor(RISING)
numbers = st.floats(-1, 1, allow_nan=False)


def made(heads: int = 2, **changes) -> Triggered:
    usual = {
        "null_texts": 10,
        "null_tokens": 100,
        "tails": [[RISING] * heads],
        "role_tail": RISING,
        "any_tail": RISING,
        "role_level": 0.04,
        "any_level": 0.04,
        "other_level": 0.0005,
        "positive_texts": 10,
        "recall": 1.0,
        "head_recall": 1.0,
    }
    return Triggered(**{**usual, **changes})


@given(st.lists(numbers, min_size=1, max_size=8))
def test_the_share_is_the_recorded_one_at_each_number_falls_between_and_is_1_below(excess):
    shares = shares_above(torch.tensor(sorted(excess), dtype=torch.float64), TAILS.double())
    assert (shares.diff() <= 0).all()
    assert ((shares > 0) & (shares <= 1)).all()
    at = shares_above(torch.tensor(RISING, dtype=torch.float64) + 1e-12, torch.tensor(RISING, dtype=torch.float64))
    assert at.tolist() == pytest.approx(TAIL, rel=1e-6)
    assert shares_above(torch.tensor([0.05]), TAILS).tolist() == [1.0]


def test_a_head_that_never_moves_makes_no_evidence_of_a_hair():
    still = torch.zeros(len(TAIL))
    assert shares_above(torch.tensor([LEAST_EXCESS * 0.99]), still).tolist() == [1.0]
    assert float(shares_above(torch.tensor([LEAST_EXCESS]), still)) < TAIL[-1]


@given(st.lists(numbers, min_size=1, max_size=12))
def test_the_chance_is_simes_and_never_more_than_bonferroni(excess):
    values = torch.tensor(excess, dtype=torch.float64)
    shares = sorted(shares_above(values, TAILS.double()).tolist())
    simes = min(len(shares) * share / rank for rank, share in enumerate(shares, start=1))
    assert float(null_probability(values, TAILS.double())) == pytest.approx(min(simes, 1))
    assert float(null_probability(values, TAILS.double())) <= min(len(shares) * shares[0], 1) + 1e-12


def test_one_token_among_many_must_be_rarer_and_many_together_need_less():
    rare = torch.tensor([0.75])
    quiet = torch.zeros(99)
    assert float(null_probability(torch.cat([rare, quiet]), TAILS)) == pytest.approx(
        100 * float(null_probability(rare, TAILS)), rel=1e-4
    )
    assert float(null_probability(rare.repeat(100), TAILS)) == pytest.approx(float(null_probability(rare, TAILS)), rel=1e-4)


def test_heads_have_part_only_where_there_is_anything_at_all_and_unknown_ones_must_show_more():
    known = torch.tensor([[True, False]])
    excess = torch.tensor([[[0.75], [0.75]]])
    heads, is_role = detect_heads(excess, known, made(), 16)
    assert (heads.tolist(), is_role) == ([[True, False]], True)  # .0007 is rare enough for the one, not for the other
    heads, is_role = detect_heads(excess, known, made(other_level=0.002), 16)
    assert heads.tolist() == [[True, True]]
    heads, is_role = detect_heads(torch.tensor([[[0.45], [0.95]]]), known, made(role_level=0.004), 16)
    assert (heads.tolist(), is_role) == ([[False, True]], False)  # known, but not seen: another head is
    heads, is_role = detect_heads(excess, known, made(role_level=1e-9, any_level=1e-9), 16)
    assert (heads.tolist(), is_role) == ([[False, False]], False)
    heads, is_role = detect_heads(excess, ~known & known, made(role_tail=None, role_level=0.0, other_level=0.01), 16)
    assert (heads.tolist(), is_role) == ([[True, True]], False)


def test_a_head_of_a_seen_role_has_part_where_one_text_in_fifty_without_the_role_shows_as_much():
    """By these tails an excess of .3 comes once in 50 tokens; .35 is rarer, .25 is not."""
    heads, is_role = detect_heads(torch.tensor([[[0.75], [0.35], [0.25]]]), torch.tensor([[True, True, True]]), made(heads=3), 16)
    assert (heads.tolist(), is_role) == ([[True, True, False]], True)


@pytest.mark.parametrize(("second", "seen_at"), [(0.1, 1), (0.3, 2)])
def test_a_head_is_seen_at_the_tokens_that_one_text_in_fifty_would_show(explorer, record, monkeypatch, second, seen_at):
    """By L2H5's tail in the embedded record an excess of .21 comes once in 50 tokens."""
    mass = torch.zeros(4, 8, 2)
    mass[2, 5] = torch.tensor([0.95, second])
    excess = Excess(torch.tensor([5, 6]), mass, torch.zeros_like(mass), torch.zeros_like(mass))
    monkeypatch.setattr("headroles.core.readings.detection._excess", lambda role, attention: excess)
    attention = explorer._use(EMBEDDED_MODEL, lambda reader: reader.read(reader.loaded.encode(PLAIN)))
    seen = detect(get_measured_role("induction"), attention, record)
    assert seen.heads.nonzero().tolist() == [[2, 5]]
    assert int(seen.detections[2, 5]) == seen_at


@given(st.lists(st.floats(0, 1), min_size=len(USUAL), max_size=len(USUAL)).map(sorted), st.floats(0, 1))
def test_a_percentile_rises_with_the_activation_and_far_is_far_outside(usual, activation):
    table = torch.tensor(usual, dtype=torch.float64)
    here = torch.tensor(activation, dtype=torch.float64)
    percentile, far = float(compute_percentile(here, table)), float(distance_from_usual(here, table))
    assert 0 <= percentile <= 1
    assert percentile <= float(compute_percentile((here + 0.01).clamp(max=1), table)) + 1e-9
    if usual[1] <= activation <= usual[-2]:
        assert far == 0
    else:
        assert math.copysign(1, far) == (1 if activation > usual[-2] else -1)


@pytest.mark.parametrize(
    "broken",
    [
        {"tails": [[RISING[::-1]]]},
        {"tails": [[RISING[:-1]]]},
        {"tails": [[[*RISING[:-1], float("nan")]]]},
        {"tails": [[[*RISING[:-1], 1.5]]]},
        {"role_tail": RISING[::-1]},
        {"role_level": 2.0},
        {"null_texts": 0},
        {"recall": "all"},
    ],
)
def test_a_calibration_that_cannot_be_is_refused(broken):
    with pytest.raises(ValueError, match="Triggered"):
        parse_calibration({**made().model_dump(), **broken})


def test_another_kind_or_none_at_all_is_none():
    assert parse_calibration(None) is None
    assert parse_calibration({"active_threshold": 0.3}) is None
    assert parse_calibration({"kind": "of a later version", "tails": "?"}) is None


def test_a_record_keeps_its_calibration_and_is_refused_with_one_of_another_shape(record):
    found = record.calibrations
    assert {name: type(one) for name, one in found.items()} == {
        "previous_token": AlwaysOn,
        "current_token": AlwaysOn,
        "delimiter": AlwaysOn,
        "induction": Triggered,
        "duplicate_token": Triggered,
        "positional": AlwaysOn,
        "diffuse": AlwaysOn,
    }
    assert parse_record(record.to_json(), "it") == record
    with pytest.raises(ValueError, match="the calibration of induction is not of 4 layers x 8 heads"):
        with_calibration(record, {"induction": made()})
    with pytest.raises(InvalidRecordError, match="is not valid"):
        parse_record(record.to_json().replace('"kind": "triggered"', '"kind": "always on"', 1), "it")


def test_the_shipped_calibrations_see_what_they_should(record):
    for one in record.calibrations.values():
        if isinstance(one, Triggered):
            assert one.null_texts >= 300
            assert one.recall > 0.9
            assert one.head_recall > 0.9


def test_the_stated_default_is_the_strictest_that_the_published_models_record_says():
    """Which ships; so that whoever makes it again makes this again too."""
    there = [one for one in read_record(EMBEDDED_RECORDS[REAL_MODEL]).calibrations.values() if isinstance(one, Triggered)]
    for share in range(len(TAIL)):
        assert DEFAULT.tails[0][0][share] == max(tail[share] for one in there for row in one.tails for tail in row)
        assert known(DEFAULT.role_tail)[share] == max(known(one.role_tail)[share] for one in there)
        assert DEFAULT.any_tail[share] == max(one.any_tail[share] for one in there)
    for level in ("role_level", "any_level", "other_level"):
        assert getattr(DEFAULT, level) == pytest.approx(min(getattr(one, level) for one in there), rel=0.05)


def test_the_page_says_where_a_record_has_no_calibration(explorer):
    analysis = explorer.analyze(EMBEDDED_MODEL, PLAIN)
    assert NOT_CALIBRATED not in describe_source(analysis)
    assert NOT_CALIBRATED in describe_source(replace(analysis, source=replace(analysis.source, is_calibrated=False)))
