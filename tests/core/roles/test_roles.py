"""Closed forms of every role's measure: what a perfect head, a uniform head and the odd cases must score."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headroles.core.roles.measurement import Capture
from headroles.core.roles.measures import MassOnExpectedKeys
from headroles.core.roles.roles import ROLES, get_measured_role, get_role, measured_roles
from headroles.core.roles.scoring import pattern_roles
from headroles.errors import InvalidInputError
from tests.conftest import random_attention, uniform_attention

MASKS = [role for role in measured_roles() if isinstance(role.measure, MassOnExpectedKeys)]
token_lists = st.integers(1, 64).flatmap(
    lambda length: st.lists(st.integers(0, max(1, length // 2)), min_size=length, max_size=length)
)


def marked(ids: torch.Tensor) -> torch.Tensor:
    """Which tokens are delimiters, say."""
    return ids % 3 == 0


def evidence(patterns: torch.Tensor, ids: torch.Tensor, lengths: torch.Tensor | None = None) -> Capture:
    return Capture(patterns, ids, lengths, delimiters=marked(ids))


def perfect_attention(expected: torch.Tensor) -> torch.Tensor:
    """All attention on the expected keys, alike; on the query itself where none is expected."""
    rows = expected.float()
    rows[expected.sum(-1) == 0] = torch.eye(len(rows))[expected.sum(-1) == 0]
    return rows / rows.sum(-1, keepdim=True)


def test_the_registry_is_ordered_and_complete():
    assert list(ROLES) == [
        *("previous_token", "induction", "duplicate_token", "current_token"),
        *("name_mover", "copy_suppression", "successor"),
        *("positional", "delimiter", "diffuse", "other"),
    ]
    assert all(role.name == name for name, role in ROLES.items())
    assert [role.name for role in ROLES.values() if role not in measured_roles()] == ["other"]


@pytest.mark.parametrize("role", ROLES.values(), ids=lambda role: role.name)
def test_what_students_are_told_of_a_role_takes_at_most_three_sentences(role):
    for text in (role.explanation, role.try_this, role.look_for):
        assert text.endswith((".", "”."))
        assert 1 <= len(re.findall(r"[.?](?= |$)", text)) <= 3
        assert "  " not in text
        assert "- " not in text


def test_an_unknown_role_is_refused_with_the_names_there_are():
    with pytest.raises(InvalidInputError, match="no role 'copying'; the roles are previous_token, induction"):
        get_role("copying")


@pytest.mark.parametrize("role", MASKS, ids=lambda role: role.name)
@given(tokens=token_lists)
def test_a_perfect_head_scores_one_and_a_uniform_head_scores_chance(role, tokens):
    ids = torch.tensor([tokens])
    expected = role.expected_keys(ids[0], delimiters=marked(ids[0]))
    perfect = role.measure(evidence(perfect_attention(expected)[None], ids))
    uniform = role.measure(evidence(uniform_attention(len(tokens))[None], ids))
    if expected.any():
        torch.testing.assert_close(perfect.values, torch.ones(1))
        torch.testing.assert_close(uniform.values, uniform.chance)
        assert 0 < uniform.chance <= 1
    else:
        assert perfect.values == uniform.values == perfect.chance == perfect.count == 0


@pytest.mark.parametrize("role", pattern_roles(), ids=lambda role: role.name)
@given(tokens=token_lists, seed=st.integers(0, 99), sharpness=st.sampled_from([0.0, 1.0, 30.0]))
def test_values_and_chance_lie_between_zero_and_one_for_all_lengths_and_repeats(role, tokens, seed, sharpness):
    patterns = random_attention(1, 2, 3, length=len(tokens), seed=seed, sharpness=sharpness)
    measured = role.measure(evidence(patterns, torch.tensor([tokens])))
    assert measured.values.shape == (1, 2, 3)
    assert torch.isfinite(measured.values).all()
    assert ((measured.values >= 0) & (measured.values <= 1)).all()
    assert ((measured.chance >= 0) & (measured.chance <= 1)).all()


@pytest.mark.parametrize("role", MASKS, ids=lambda role: role.name)
@given(tokens=token_lists, seed=st.integers(0, 99))
def test_the_measure_equals_the_definition_written_as_loops(role, tokens, seed):
    pattern = random_attention(length=len(tokens), seed=seed).double()
    keys = {
        "previous_token": lambda q: [q - 1] if q >= 2 else [],
        "positional": lambda q: [0] if q >= 2 else [],
        "current_token": lambda q: [q] if q >= 2 else [],
        "delimiter": lambda q: [k for k in range(1, q) if tokens[k] % 3 == 0],
        "duplicate_token": lambda q: [k for k in range(q) if tokens[k] == tokens[q]],
        "induction": lambda q: [k + 1 for k in range(q) if tokens[k] == tokens[q] and k + 1 < q],
    }[role.name]
    rows = {q: keys(q) for q in range(len(tokens)) if keys(q)}
    mass = sum(pattern[q, k].item() for q, ks in rows.items() for k in ks) / max(1, len(rows))
    chance = sum(len(ks) / (q + 1) for q, ks in rows.items()) / max(1, len(rows))
    measured = role.measure(evidence(pattern[None], torch.tensor([tokens])))
    assert measured.count == len(rows)
    expected = [sum(pattern[q, k].item() for k in rows.get(q, ())) for q in range(len(tokens))]
    assert measured.per_token[0].tolist() == pytest.approx(expected)
    assert measured.values.item() == pytest.approx(mass, abs=1e-9)
    assert measured.chance.item() == pytest.approx(chance, abs=1e-6)


def test_a_role_that_goes_by_delimiters_asks_for_them():
    delimiter, ids = get_measured_role("delimiter"), torch.tensor([[1, 2, 3]])
    for ask in (
        lambda: delimiter.expected_keys(ids[0]),
        lambda: delimiter.measure(Capture(uniform_attention(3)[None], ids)),
    ):
        with pytest.raises(InvalidInputError, match="measured on delimiters; the texts of the tokens must be given"):
            ask()


def test_a_delimiter_as_the_first_token_is_not_expected():
    delimiter, marks = get_measured_role("delimiter"), torch.tensor([True, False, True, False, True])
    assert delimiter.expected_keys(torch.arange(5), delimiters=marks).nonzero().tolist() == [[3, 2], [4, 2]]


def test_induction_never_expects_the_query_itself_when_a_token_repeats_at_once():
    assert not ROLES["induction"].expected_keys(torch.tensor([5, 5])).any()
    expected = ROLES["induction"].expected_keys(torch.tensor([5, 5, 5]))
    assert expected.nonzero().tolist() == [[2, 1]]


def test_a_token_alone_in_its_row_makes_no_query_eligible():
    ids = torch.tensor([[1, 2, 3, 4]])
    for name in ("induction", "duplicate_token"):
        assert get_measured_role(name).measure(evidence(uniform_attention(4)[None], ids)).count == 0


def test_every_earlier_copy_counts():
    ids = torch.tensor([7, 1, 7, 2, 7])
    assert ROLES["duplicate_token"].expected_keys(ids).nonzero().tolist() == [[2, 0], [4, 0], [4, 2]]
    assert ROLES["induction"].expected_keys(ids).nonzero().tolist() == [[2, 1], [4, 1], [4, 3]]


def test_diffuse_is_one_for_uniform_and_zero_for_one_hot_attention():
    diffuse = get_measured_role("diffuse").measure
    ids = torch.arange(20)[None]
    uniform, one_hot = diffuse(evidence(uniform_attention(20)[None], ids)), diffuse(evidence(torch.eye(20)[None], ids))
    torch.testing.assert_close(uniform.values, torch.ones(1))
    torch.testing.assert_close(uniform.details["peaks"], (1 / torch.arange(4.0, 21)).mean()[None])
    assert one_hot.values == 0
    assert one_hot.details["peaks"] == 1


def test_diffuse_needs_four_tokens():
    for length, eligible in ((1, 0), (3, 0), (4, 1)):
        measured = get_measured_role("diffuse").measure(evidence(uniform_attention(length)[None], torch.arange(length)[None]))
        assert measured.count == eligible
        assert measured.values == eligible
        assert measured.per_token.shape == (1, length)


@pytest.mark.parametrize("role", pattern_roles(), ids=lambda role: role.name)
def test_a_padded_batch_measures_what_each_text_measures_alone(role):
    lengths = [3, 9, 16]
    ids = torch.randint(0, 6, (3, 16), generator=torch.Generator().manual_seed(1))
    patterns = random_attention(3, 2, length=16)
    together = role.measure(evidence(patterns, ids, torch.tensor(lengths)))
    for row, length in enumerate(lengths):
        alone = role.measure(evidence(patterns[row : row + 1, :, :length, :length], ids[row : row + 1, :length]))
        torch.testing.assert_close(together.values[row], alone.values[0])
        torch.testing.assert_close(together.chance[row], alone.chance[0])
        assert together.count[row] == alone.count[0]
        torch.testing.assert_close(together.per_token[row, ..., :length], alone.per_token[0])
        assert not together.per_token[row, ..., length:].any()


def test_half_precision_patterns_are_measured_in_float32():
    patterns = random_attention(1, 4, length=12).half()
    values = get_measured_role("positional").measure(evidence(patterns, torch.arange(12)[None])).values
    assert values.dtype == torch.float32
    full = get_measured_role("positional").measure(evidence(patterns.float(), torch.arange(12)[None]))
    torch.testing.assert_close(values, full.values)
