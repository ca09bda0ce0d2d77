"""Scores against TransformerLens' detect_head, activity at its threshold, and the public verify function."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformer_lens import head_detector

from headroles.core.heads import Attention, Head
from headroles.core.readings.verdicts import read_head, read_heads, read_roles
from headroles.core.roles.measurement import Capture
from headroles.core.roles.roles import ROLES, get_measured_role, measured_roles
from headroles.core.roles.scoring import measure_heads, pattern_roles, verify_head_activation
from headroles.errors import InvalidInputError, InvalidRecordError
from headroles.models.probes.probe_texts import ProbeSizes, repeated_sequences
from headroles.models.reading.pattern_reader import PatternReader
from tests.conftest import REPEATING, ExactTokens, random_attention, uniform_attention

detect_head: Callable = head_detector.detect_head  # as it is documented; its annotations know of no stand-in for a model
BUILT_IN = {"previous_token": "previous_token_head", "induction": "induction_head", "duplicate_token": "duplicate_token_head"}


def lens_score(patterns: torch.Tensor, token_ids: torch.Tensor, role: str) -> torch.Tensor:
    """TransformerLens' score [layer, head] on our scale: `mul` divides by the rows of the whole text, we by the eligible ones."""
    count = len(token_ids)
    rows = (ROLES[role].expected_keys(token_ids).sum(-1) > 0).sum()
    if role == "positional":
        first_column = torch.zeros(count, count)
        first_column[2:, 0] = 1
        return detect_head(ExactTokens(patterns, token_ids), "", first_column) * count / rows
    total = detect_head(ExactTokens(patterns, token_ids), "", BUILT_IN[role]) * count
    if role == "previous_token":
        total -= patterns[:, :, 1, 0]  # its pattern holds row 1, where the previous token is the first one
    if role == "induction":
        at_once = [q for q in range(1, count) if token_ids[q] == token_ids[q - 1]]
        total -= patterns[:, :, at_once, at_once].sum(-1)  # and the diagonal of a token repeated at once
    return total / rows


@pytest.mark.parametrize("role", [*BUILT_IN, "positional"])
@given(seed=st.integers(0, 10_000), length=st.integers(3, 64), vocabulary=st.integers(1, 40))
def test_detect_head_agrees_on_any_tokens(role, seed, length, vocabulary):
    ids = torch.randint(0, vocabulary, (length,), generator=torch.Generator().manual_seed(seed))
    if not ROLES[role].expected_keys(ids).any():
        return
    patterns = random_attention(2, 3, length=length, seed=seed)
    ours = measure_heads(patterns[None], ids[None])[role].values[0]
    torch.testing.assert_close(ours, lens_score(patterns, ids, role), atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", ["tiny", "gpt2", "llama"])
def test_detect_head_agrees_on_models_and_random_repeats(architecture, tiny, random_model, fresh_tiny):
    loaded = fresh_tiny if architecture == "tiny" else random_model(architecture)
    for ids in repeated_sequences(loaded, ProbeSizes(repeated_sequences=3)):
        patterns = PatternReader(loaded).read(tuple(ids.tolist())).patterns
        measured = measure_heads(patterns[None], ids[None])
        for role in (*BUILT_IN, "positional"):
            torch.testing.assert_close(measured[role].values[0], lens_score(patterns, ids, role), atol=1e-5, rtol=0)


def test_a_perfect_induction_head_gets_half_from_detect_head_and_one_from_us():
    ids = torch.cat([torch.arange(10), torch.arange(10)])
    pattern = torch.eye(20)
    pattern[10:] = 0
    pattern[torch.arange(10, 20), torch.arange(1, 11)] = 1
    lens = detect_head(ExactTokens(pattern[None, None], ids), "", "induction_head")
    ours = measure_heads(pattern[None, None, None], ids[None])["induction"].values
    assert lens.item() == pytest.approx(0.5, abs=0.01)
    assert ours.item() == pytest.approx(1.0)


def test_heads_and_batches_are_scored_together_as_alone():
    ids = torch.randint(0, 8, (3, 20), generator=torch.Generator().manual_seed(0))
    patterns = random_attention(3, 2, 4, length=20)
    marks = ids % 3 == 0
    together = measure_heads(patterns, ids, delimiters=marks)
    for b, layer, head in np.ndindex(3, 2, 4):
        alone = measure_heads(patterns[b : b + 1, layer, head], ids[b : b + 1], delimiters=marks[b : b + 1])
        for role in pattern_roles():
            torch.testing.assert_close(together[role.name].values[b, layer, head], alone[role.name].values[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_scores_are_the_same_on_a_gpu():
    ids, patterns = torch.randint(0, 8, (2, 30)), random_attention(2, 3, length=30)
    here, there = measure_heads(patterns, ids), measure_heads(patterns.cuda(), ids.cuda())
    for name in here:
        torch.testing.assert_close(here[name].values, there[name].values.cpu(), atol=1e-6, rtol=0)


@pytest.mark.usefixtures("unchecked")
def test_shapes_that_do_not_belong_together_are_refused_with_both():
    with pytest.raises(InvalidInputError, match=r"patterns \(1, 2, 5, 5\) do not match token_ids \(1, 6\)"):
        measure_heads(random_attention(1, 2, length=5), torch.zeros(1, 6, dtype=torch.long))


def test_a_uniform_head_is_active_in_no_role_but_diffuse():
    ids = torch.tensor([[1, 2, 3, 4, 1, 2, 3, 4, 1, 2]])
    measured = measure_heads(uniform_attention(10)[None, None], ids)
    assert {name for name in measured if get_measured_role(name).measure.verdict(measured[name]).any()} == {"diffuse"}


def test_a_head_becomes_active_when_its_activation_corrected_for_chance_reaches_the_threshold():
    role, ids = get_measured_role("previous_token"), torch.arange(40)[None]
    previous, uniform = torch.eye(40).roll(1, 0), uniform_attention(40)
    previous[0] = torch.eye(40)[0]
    for share, active in ((0.19, False), (0.21, True)):
        pattern = share * previous + (1 - share) * uniform  # kappa is the share
        measured = role.measure(Capture(pattern[None, None], ids))
        assert bool(role.measure.verdict(measured)) is active


def test_a_head_with_one_strong_peak_is_not_diffuse():
    ids = torch.arange(64)[None]
    peaked = 0.5 * uniform_attention(64) + 0.5 * torch.eye(64)
    role = get_measured_role("diffuse")
    measured = role.measure(Capture(peaked[None, None], ids))
    assert not role.measure.verdict(measured)


def test_a_role_that_the_text_gives_no_occasion_for_is_not_applicable_and_says_why(record):
    shape = (record.num_layers, record.num_heads)
    attention = Attention("m", tuple(range(9)), tuple("abcdefghi"), random_attention(*shape, length=9))
    readings = {reading.role.name: reading for reading in read_roles(read_heads(attention, record), record)}
    induction = readings["induction"]
    assert not induction.applicable
    assert not induction.is_active
    assert (induction.state, induction.missing) == ("not applicable", "no query")
    assert all(head.activation == 0.0 for head in induction.heads)
    assert readings["other"].heads == ()


def test_one_head_reads_as_it_does_among_all(record):
    attention = Attention(
        "m", (1, 2, 3, 1, 2, 3), tuple("abcabc"), random_attention(record.num_layers, record.num_heads, length=6)
    )
    table = read_heads(attention, record)
    for head in record.heads():
        assert read_head(table, head) == {role.name: table.reading(role, head) for role in measured_roles()}


def test_a_record_of_another_shape_is_refused(record):
    attention = Attention("gpt9", (1, 2, 3), tuple("abc"), random_attention(2, 2, length=3))
    with pytest.raises(InvalidRecordError, match="4 layers x 8 heads, but gpt9 has 2 x 2"):
        read_heads(attention, record)


@pytest.mark.parametrize("form", [torch.Tensor.numpy, torch.Tensor.tolist, torch.clone], ids=["array", "lists", "tensor"])
def test_verify_takes_tensors_arrays_and_lists(form):
    pattern, tokens = uniform_attention(6), torch.tensor([1, 2, 3, 1, 2, 3])
    value = verify_head_activation(form(pattern), form(tokens), {"layer": 5, "head": 1}, "induction")
    assert isinstance(value, float)
    assert value == pytest.approx((1 / 4 + 1 / 5 + 1 / 6) / 3)
    assert value == verify_head_activation(pattern, tokens, Head(5, 1), "induction")


@given(seed=st.integers(0, 999), length=st.integers(1, 64), category=st.sampled_from(list(ROLES)))
def test_verify_always_answers_between_zero_and_one(seed, length, category):
    tokens = torch.randint(0, 5, (length,), generator=torch.Generator().manual_seed(seed))
    texts = [", .ab"[token] for token in tokens]
    value = verify_head_activation(
        random_attention(length=length, seed=seed), tokens, {"layer": 0, "head": 0}, category, texts=texts
    )
    assert 0.0 <= value <= 1.0


def test_verify_goes_by_the_texts_where_a_role_goes_by_punctuation():
    even, tokens = uniform_attention(4), [1, 2, 3, 4]
    value = verify_head_activation(even, tokens, "L0H0", "delimiter", texts=["a", ",", " b", " c"])
    assert value == pytest.approx((1 / 3 + 1 / 4) / 2)
    assert verify_head_activation(even, tokens, "L0H0", "delimiter", texts=["a", "b", "c", "."]) == 0.0
    with pytest.raises(InvalidInputError, match="measured on delimiters; the texts of the tokens must be given"):
        verify_head_activation(even, tokens, "L0H0", "delimiter")
    with pytest.raises(InvalidInputError, match="texts must be one for each of the 4 tokens, but are 1"):
        verify_head_activation(even, tokens, "L0H0", "delimiter", texts=["a"])


@pytest.mark.parametrize(
    ("weights", "tokens", "head", "category", "message"),
    [
        (uniform_attention(4), [1, 2, 3], Head(0, 0), "induction", r"attention_weights has shape \(4, 4\), but 3 tokens need"),
        (torch.ones(2, 4, 4), [1, 2, 3, 4], Head(0, 0), "induction", r"must be \[seq, seq\], but has shape \(2, 4, 4\)"),
        (torch.full((2, 2), float("nan")), [1, 2], Head(0, 0), "diffuse", "attention_weights holds NaN"),
        (torch.tensor([[1.0, 0.0], [3.0, -2.0]]), [1, 2], Head(0, 0), "diffuse", "values from -2 to 3; attention lies between"),
        (torch.full((2, 2), 0.5), [1, 2], Head(0, 0), "diffuse", "looks ahead"),
        (torch.eye(2) / 2, [1, 2], Head(0, 0), "diffuse", "sum is 0.5 away from 1"),
        (torch.eye(2), [1.5, 2], Head(0, 0), "diffuse", "whole numbers"),
        (torch.eye(2), ["a", "b"], Head(0, 0), "diffuse", "tokens must be a tensor, an array or nested lists"),
        ([[1], [1, 2]], [1, 2], Head(0, 0), "diffuse", "attention_weights must be a tensor"),
        (torch.eye(2), [], Head(0, 0), "diffuse", "one at least"),
        (torch.eye(2), [1, 2], {"layer": -1, "head": 0}, "diffuse", "layer must be a whole number from 0 on, but is -1"),
        (torch.eye(2), [1, 2], {"layer": 1}, "diffuse", "a mapping with 'layer' and 'head'"),
        (torch.eye(2), [1, 2], Head(0, 0), "copying", "There is no role 'copying'"),
    ],
)
def test_verify_refuses_by_naming_the_argument_and_what_is_allowed(weights, tokens, head, category, message):
    with pytest.raises(InvalidInputError, match=message):
        verify_head_activation(weights, tokens, head, category)


def test_verify_equals_what_the_explorer_reads(explorer):
    analysis = explorer.analyze("headroles-tiny", REPEATING)
    induction = analysis.role("induction").heads[0]
    view = explorer.view_head("headroles-tiny", REPEATING, induction.head)
    ids = {token: number for number, token in enumerate(dict.fromkeys(view.tokens))}
    tokens = [ids[token] for token in view.tokens]
    assert verify_head_activation(view.pattern, tokens, induction.head, "induction") == pytest.approx(induction.activation)
