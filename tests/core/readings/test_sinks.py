"""A learned sink: one more place beside the tokens, against the same heads with the sink as a key that one can see."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headroles.core.heads import Attention, check_patterns, sink_mass
from headroles.core.readings.analysis import RecordSource
from headroles.core.readings.analyze import analyze_attention
from headroles.core.roles.measurement import Capture
from headroles.core.roles.roles import get_measured_role, measured_roles
from headroles.core.roles.scoring import measure_heads, pattern_roles, verify_head_activation
from headroles.errors import InvalidInputError
from tests.core.readings.test_other_layers import mixed_record, recipe

SINGLE = 16 * torch.finfo(torch.float32).eps  # counts are divided and put into a logarithm in single precision, 12 at most


def with_sink(*shape: int, length: int, seed: int, window: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Patterns [*shape, length, length] in double, and what each head's sink takes [*shape, length]: one softmax over both."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(*shape, length, length, generator=generator, dtype=torch.float64) * 3
    sinks = torch.randn(*shape, 1, 1, generator=generator, dtype=torch.float64) * 3
    q, k = torch.arange(length)[:, None], torch.arange(length)[None, :]
    seen = (k <= q) & (k > q - (window or length))
    whole = torch.cat([scores.masked_fill(~seen, -math.inf), sinks.expand(*shape, length, 1)], dim=-1).softmax(-1)
    return whole[..., :-1], whole[..., -1]


def by_hand(name: str, pattern: list[list[float]], sink: list[float], ids: list[int], window: int | None) -> tuple[float, float]:
    """A role's value and chance, key by key, as the table of definitions says it, with the sink as a place of its own."""
    values, chances = [], []
    for q, row in enumerate(pattern):
        keys = [k for k in range(q + 1) if window is None or k > q - window]
        places = len(keys) + 1
        if name == "diffuse":
            shares = [share for share in (*(row[k] for k in keys), sink[q]) if share > 0]
            if q >= 3:
                values.append(-sum(share * math.log(share) for share in shares) / math.log(places))
                chances.append(1.0)
            continue
        expected = {
            "previous_token": [k for k in keys if k == q - 1 and q >= 2],
            "positional": [k for k in keys if k == 0 and q >= 2],
            "duplicate_token": [k for k in keys if k < q and ids[k] == ids[q]],
            "induction": [k for k in keys if 1 <= k < q and ids[k - 1] == ids[q]],
            "current_token": [q] if q >= 2 else [],
            "delimiter": [k for k in keys if 1 <= k < q and ids[k] == 0],
        }[name]
        on_sink = name == "positional" and q >= 2
        if expected or on_sink:
            values.append(sum(row[k] for k in expected) + (sink[q] if on_sink else 0))
            chances.append((len(expected) + on_sink) / places)
    count = max(len(values), 1)
    return sum(values) / count, sum(chances) / count


@given(
    ids=st.lists(st.integers(0, 4), min_size=1, max_size=12),
    seed=st.integers(0, 10**6),
    window=st.sampled_from([None, 1, 2, 4]),
)
def test_every_role_is_measured_with_the_sink_as_one_more_place(ids, seed, window):
    patterns, sink = with_sink(1, 2, length=len(ids), seed=seed, window=window)
    tokens = torch.tensor([ids])
    measured = measure_heads(patterns, tokens, window=window, has_sink=True, delimiters=tokens == 0)
    for name, found in measured.items():
        for head in range(2):
            value, chance = by_hand(name, patterns[0, head].tolist(), sink[0, head].tolist(), ids, window)
            assert float(found.values[0, head]) == pytest.approx(value, abs=SINGLE), name
            assert float(found.chance[0]) == pytest.approx(chance, abs=SINGLE), name
            assert 0 <= float(found.values[0, head]) <= 1


@given(seed=st.integers(0, 10**6), lengths=st.lists(st.integers(2, 9), min_size=2, max_size=3))
def test_padding_changes_nothing_beside_a_sink(seed, lengths):
    longest = max(lengths)
    patterns, _ = with_sink(len(lengths), 2, length=longest, seed=seed)
    ids = torch.randint(0, 4, (len(lengths), longest), generator=torch.Generator().manual_seed(seed))
    together = measure_heads(patterns, ids, torch.tensor(lengths), has_sink=True)
    for row, length in enumerate(lengths):
        alone = measure_heads(patterns[row : row + 1, :, :length, :length], ids[row : row + 1, :length], has_sink=True)
        for name, measured in alone.items():
            torch.testing.assert_close(together[name].values[row], measured.values[0], atol=1e-12, rtol=0)


def test_a_head_that_leaves_everything_to_its_sink_rests_and_does_nothing_else():
    ids = torch.tensor([[1, 2, 1, 2, 1, 2]])
    measured = measure_heads(torch.zeros(1, 1, 6, 6), ids, has_sink=True, delimiters=ids == 2)
    assert {name: float(found.values) for name, found in measured.items()} == {
        role.name: float(role.name == "positional") for role in pattern_roles()
    }
    active = {role.name for role in pattern_roles() if role.measure_in(True).verdict(measured[role.name]).any()}
    assert active == {"positional"}


def test_a_head_that_gives_its_sink_as_much_as_each_token_is_as_diffuse_as_can_be_and_at_chance():
    even = torch.tril(torch.ones(6, 6, dtype=torch.float64)) / torch.arange(2, 8)[:, None]
    measured = measure_heads(even[None, None], torch.tensor([[1, 2, 1, 2, 1, 2]]), has_sink=True)
    for name, found in measured.items():
        assert float(found.values) == pytest.approx(float(found.chance)), name
    assert float(measured["diffuse"].chance) == 1.0


@pytest.mark.parametrize("role", measured_roles(), ids=lambda role: role.name)
def test_without_a_sink_the_measure_is_what_it_was(role):
    assert role.measure_in(False) is role.measure


def test_chance_on_the_probes_counts_the_sink():
    measure = get_measured_role("induction").measure
    string = torch.arange(1, 9)
    ids = torch.cat([torch.zeros(1, dtype=torch.long), string, string])
    even = torch.tril(torch.ones(17, 17, dtype=torch.float64)) / torch.arange(2, 19)[:, None]
    beside = measure.with_sink()
    assert beside.chance_on_probes(True, 8) == pytest.approx(float(beside(Capture(even[None], ids[None])).values))
    assert beside.chance_on_probes(True, 8) < measure.chance_on_probes(True, 8)  # type: ignore[operator]


def test_only_a_model_with_a_sink_may_have_rows_below_1():
    patterns, sink = with_sink(2, 2, length=5, seed=0)
    check_patterns(patterns, 5, "patterns", has_sink=True)
    torch.testing.assert_close(sink_mass(patterns), sink)
    with pytest.raises(InvalidInputError, match="attention rows sum to 1"):
        check_patterns(patterns, 5, "patterns")
    with pytest.raises(InvalidInputError, match=r"sum is 0\.1 above 1; beside a learned sink, rows sum to 1 at most"):
        check_patterns(torch.tensor([[1.0, 0.0], [0.6, 0.5]]), 2, "patterns", has_sink=True)
    tokens = [1, 2, 3, 4, 5]
    value = verify_head_activation(patterns[0, 0], tokens, "L0H0", "positional", has_sink=True)
    assert value == pytest.approx(float((patterns[0, 0, 2:, 0] + sink[0, 0, 2:]).mean()))


def test_the_record_says_that_there_is_a_sink_and_so_does_the_analysis():
    record = mixed_record()
    record = record.model_copy(update={"recipe": recipe(learned_sink=True)})
    patterns, _ = with_sink(3, 2, length=7, seed=1)
    attention = Attention("mixed", (5, 6, 7, 5, 6, 7, 5), tuple("abcabca"), patterns.float(), (), {0: "a", 2: "a", 3: "a"}, True)
    analysis = analyze_attention("abcabca", attention, record, RecordSource("embedded", "2026-01-01", "r"))
    assert analysis.has_sink
    assert '"learned_sink": true' in record.to_json()
