"""The excess over the controls, against a loop that does it cell by cell, and what it must and must not see."""

import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Bool, Float
from torch import Tensor

from headroles.core.patterns.excess import MAX_CONTROLS, MIN_CONTROLS, SHIFTS, compute_excess, control_cells
from headroles.core.patterns.expected_keys import duplicate_keys, induction_keys, reach

KINDS = {"duplicate_token": duplicate_keys, "induction": induction_keys}
texts = st.lists(st.integers(0, 5), min_size=1, max_size=24)
windows = st.one_of(st.none(), st.integers(1, 12))


def random_patterns(heads: int, length: int, seed: int, window: int | None = None) -> Float[Tensor, "head query key"]:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(heads, length, length, generator=generator, dtype=torch.float64) ** 4
    weights = weights * reach(torch.zeros(length, dtype=torch.long), window) + 1e-9 * torch.eye(length)
    return weights / weights.sum(-1, keepdim=True)


def cell_by_cell(
    pattern: Float[Tensor, "query key"], expected: Bool[Tensor, "query key"], window: int | None
) -> dict[int, tuple[float, float, float]]:
    """Mass, what other queries give, and what the same distance gives, of each query that counts."""
    length = len(pattern)
    keys = {q: [k for k in range(length) if expected[q, k]] for q in range(length)}
    found = {}
    for q, wanted in keys.items():
        if not wanted or q - 1 in wanted:
            continue
        others = [
            other
            for other in range(length)
            if other != q
            and other > max(wanted)
            and not set(wanted) & set(keys[other])
            and (window is None or other - min(wanted) < window)
        ]
        others.sort(key=lambda other: (abs(other - q), other < q))
        if len(others) < MIN_CONTROLS:
            continue
        moves = [
            d
            for d in range(-SHIFTS, SHIFTS + 1)
            if d and q + d < length and all(k + d >= 1 for k in wanted) and not any(expected[q + d, k + d] for k in wanted)
        ]
        moves.sort(key=lambda d: (abs(d), d < 0))
        elsewhere = statistics.fmean(sum(float(pattern[other, k]) for k in wanted) for other in others[:MAX_CONTROLS])
        shifted = sorted(sum(float(pattern[q + d, k + d]) for k in wanted) for d in moves[:MAX_CONTROLS])
        # torch's median of an even number is the lower of the middle two
        found[q] = (sum(float(pattern[q, k]) for k in wanted), elsewhere, shifted[(len(shifted) - 1) // 2] if shifted else 0.0)
    return found


@given(ids=texts, kind=st.sampled_from(list(KINDS)), window=windows, seed=st.integers(0, 99))
def test_the_excess_is_what_a_loop_over_cells_gives(ids, kind, window, seed):
    tokens = torch.tensor(ids)
    expected = KINDS[kind](tokens[None])[0] & reach(tokens, window)
    patterns = random_patterns(2, len(ids), seed, window)
    excess = compute_excess(patterns, expected, window)
    for head in (0, 1):
        told = cell_by_cell(patterns[head], expected, window)
        assert excess.queries.tolist() == list(told)
        for place, query in enumerate(told):
            numbers = [float(table[head, place]) for table in (excess.mass, excess.elsewhere, excess.shifted)]
            assert numbers == pytest.approx(told[query], abs=1e-12)
            assert float(excess.values[head, place]) == pytest.approx(told[query][0] - max(told[query][1:]), abs=1e-12)


def test_any_axes_of_heads_are_kept_and_many_cells_are_summed_in_parts(monkeypatch):
    tokens = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5])
    expected = induction_keys(tokens[None])[0]
    patterns = random_patterns(6, len(tokens), 0)
    whole = compute_excess(patterns, expected)
    monkeypatch.setattr("headroles.core.patterns.pattern_ops.CELLS_AT_ONCE", 1)
    parts = compute_excess(patterns.view(2, 3, *patterns.shape[1:]), expected)
    assert parts.values.shape == (2, 3, len(parts.queries))
    torch.testing.assert_close(parts.values.flatten(0, 1), whole.values, atol=0, rtol=0)
    torch.testing.assert_close(compute_excess(patterns[0], expected).values, whole.values[0], atol=0, rtol=0)


# what a head does for other reasons than a role: no excess

REPEAT = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 8, 9, 10])


def pattern_of(key_of) -> Float[Tensor, "query key"]:
    return torch.eye(len(REPEAT))[[key_of(query) for query in range(len(REPEAT))]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "key_of",
    [lambda q: 0, lambda q: min(q, 2), lambda q: max(q - 7, 0), lambda q: max(q - 6, 0), lambda q: max(q - 1, 0), lambda q: q],
    ids=["a sink", "a second sink", "seven back", "six back", "the token before", "itself"],
)
def test_a_sink_and_a_distance_that_a_head_always_looks_at_are_no_excess(kind, key_of):
    excess = compute_excess(pattern_of(key_of), KINDS[kind](REPEAT[None])[0])
    assert len(excess.queries) == 4
    assert excess.values.max() <= 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_that_looks_there_only_when_it_is_called_for_has_all_of_it_as_excess(kind):
    expected = KINDS[kind](REPEAT[None])[0]
    called = {query: int(expected[query].nonzero()[0]) for query in expected.any(-1).nonzero()[:, 0].tolist()}
    excess = compute_excess(pattern_of(lambda query: called.get(query, 0)), expected)
    assert excess.queries.tolist() == list(called)
    assert (excess.values == 1).all()


@pytest.mark.parametrize("ids", [[0], [0, 0], [3] * 12, [0, 1, 0], [0, 1, 2, 3], [0, 1, 0, 1, 0, 1]])
def test_nothing_is_said_where_there_is_nothing_to_compare_with(ids):
    tokens = torch.tensor(ids, dtype=torch.long)
    for keys in KINDS.values():
        excess = compute_excess(torch.zeros(2, 3, len(ids), len(ids)), keys(tokens[None])[0])
        if len(set(ids)) != 2 or len(ids) < 4:
            assert excess.values.shape == (2, 3, 0)


@given(tokens=texts, window=windows)
def test_the_cells_that_are_shown_as_controls_are_those_that_the_control_is_made_of(tokens, window):
    """Attention in them alone gives the control all there is, and attention in all other cells gives it none."""
    ids = torch.tensor(tokens)
    expected = induction_keys(ids[None])[0] & reach(ids, window)
    for place, query in enumerate(compute_excess(torch.zeros(1, len(ids), len(ids)), expected, window).queries.tolist()):
        cells = control_cells(expected, query, window)
        assert not (cells & expected)[query].any()
        assert float(compute_excess((~cells).double()[None], expected, window).control[0, place]) == 0
        inside = compute_excess(cells.double()[None], expected, window)
        assert float(inside.elsewhere[0, place]) == pytest.approx(int(expected[query].sum()))


def test_a_query_that_expects_nothing_has_no_control_cells():
    assert not control_cells(induction_keys(torch.tensor([[1, 2, 3, 4]]))[0], 2).any()
