"""Intervals of means over texts: against numpy, closed forms and the normal law, and what must hold of any numbers."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headroles.core.records.bootstrap import RESAMPLES, draws, mean_interval
from headroles.errors import InvalidInputError

scores = st.floats(0, 1, width=32)
tables = st.integers(1, 3).flatmap(
    lambda heads: st.lists(st.lists(scores, min_size=heads, max_size=heads), min_size=2, max_size=8)
)


def test_it_is_numpys_percentiles_of_the_means_of_texts_that_are_drawn():
    """Texts repeated as often as they were drawn, averaged one resample at a time."""
    values = torch.rand(7, 3, generator=torch.Generator().manual_seed(1))
    means = [np.repeat(values.double().numpy(), counts, axis=0).mean(0) for counts in draws(7, seed=5).numpy()]
    expected = np.percentile(means, [2.5, 97.5], axis=0).T
    np.testing.assert_allclose(mean_interval(values, seed=5), expected, atol=1e-12)


def test_of_three_texts_it_is_what_all_27_resamples_say():
    """The least and the largest mean come up once in 27, which is more than 2.5 %."""
    values = torch.tensor([[0.0], [0.1], [1.0]])
    means = sorted(float(values[list(drawn)].mean()) for drawn in itertools.product(range(3), repeat=3))
    assert mean_interval(values, seed=0)[0].tolist() == pytest.approx([means[0], means[-1]], abs=1e-7)


def test_of_many_texts_it_is_about_as_wide_as_the_normal_law_says():
    values = torch.randn(400, 5, generator=torch.Generator().manual_seed(0)) / 10
    low, high = mean_interval(values, seed=0).unbind(-1)
    expected = 2 * 1.96 * values.double().std(0) / 400**0.5
    torch.testing.assert_close(high - low, expected, rtol=0.1, atol=0)


def test_every_resample_holds_as_many_texts_as_there_are_and_each_text_as_often_as_others():
    counts = draws(20, seed=3)
    assert counts.shape == (RESAMPLES, 20)
    assert counts.sum(1).unique().tolist() == [20]
    # of 20,000 draws each text gets 1,000, give or take 31
    assert (counts.sum(0) - RESAMPLES).abs().max() < 4 * 31
    assert torch.equal(counts, draws(20, seed=3))
    assert not torch.equal(counts, draws(20, seed=4))


@given(values=tables, seed=st.integers(0, 2**63 - 1))
def test_it_holds_the_mean_is_ordered_and_stays_within_what_texts_say(values, seed):
    table = torch.tensor(values, dtype=torch.float64)
    low, high = mean_interval(table, seed).unbind(-1)
    mean = table.mean(0)
    assert (low <= mean).all()
    assert (mean <= high).all()
    assert (low >= table.amin(0) - 1e-12).all()
    assert (high <= table.amax(0) + 1e-12).all()


@given(values=tables, seed=st.integers(0, 100), closer=st.floats(0, 1))
def test_texts_that_are_more_alike_give_a_narrower_one(values, seed, closer):
    table = torch.tensor(values, dtype=torch.float64)
    alike = table.mean(0) + closer * (table - table.mean(0))
    wide, narrow = (mean_interval(given, seed).diff(dim=-1) for given in (table, alike))
    torch.testing.assert_close(narrow, closer * wide, atol=1e-9, rtol=0)


@given(row=st.lists(scores, min_size=1, max_size=4), texts=st.integers(2, 60))
def test_texts_that_are_the_same_give_no_width(row, texts):
    intervals = mean_interval(torch.tensor([row] * texts), seed=0)
    torch.testing.assert_close(intervals, torch.tensor(row, dtype=torch.float64)[:, None].expand(-1, 2), atol=1e-12, rtol=0)


def test_a_head_has_the_same_interval_whatever_heads_are_asked_for_beside_it():
    values = torch.rand(9, 4, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(mean_interval(values, seed=1)[2:3], mean_interval(values[:, 2:3], seed=1), atol=1e-12, rtol=0)


def test_one_text_is_refused_since_it_says_nothing_of_how_texts_differ():
    with pytest.raises(InvalidInputError, match=r"values must be of 2 texts or more, but has shape \(1, 3\)"):
        mean_interval(torch.zeros(1, 3), seed=0)
