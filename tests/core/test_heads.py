"""Head and Attention: checked when built, with messages that name what is wrong."""

import pytest
import torch

from headroles.core.heads import Attention, Head, check_patterns
from headroles.errors import InvalidInputError
from tests.conftest import random_attention, uniform_attention


def test_a_head_is_labelled_and_ordered_as_the_field_does():
    assert Head(5, 1).label == "L5H1"
    assert sorted([Head(1, 0), Head(0, 7), Head(0, 2)]) == [Head(0, 2), Head(0, 7), Head(1, 0)]


@pytest.mark.parametrize("layer", [-1, 1.0, "1", None, True])
def test_a_head_takes_whole_numbers_from_zero_on(layer):
    with pytest.raises(InvalidInputError, match="layer must be a whole number from 0 on"):
        Head(layer, 0)


def test_a_head_outside_the_model_is_refused_with_the_range():
    with pytest.raises(InvalidInputError, match="L4H0 is outside the model: layer must be 0 to 3 and head 0 to 7"):
        Head(4, 0).check_inside(4, 8)


def test_attention_gives_one_heads_pattern():
    patterns = random_attention(2, 3, length=4)
    attention = Attention("m", (1, 2, 3, 4), tuple("abcd"), patterns)
    assert (attention.num_layers, attention.num_heads) == (2, 3)
    assert torch.equal(attention.pattern(Head(1, 2)), patterns[1, 2])
    with pytest.raises(InvalidInputError, match="L2H0 is outside"):
        attention.pattern(Head(2, 0))


def with_value(query: int, key: int, value: float) -> torch.Tensor:
    """Attention of one head over four tokens with one weight replaced."""
    patterns = random_attention(1, 1, length=4)
    patterns[0, 0, query, key] = value
    return patterns


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("patterns", "tokens", "message"),
    [
        (random_attention(2, length=4), "abcd", r"must be \[layer, head, query, key\], but are \(2, 4, 4\)"),
        (random_attention(1, 1, length=4), "abc", r"4 token ids|3 tokens do not match 4"),
        (random_attention(1, 1, length=5), "abcd", r"shape \(1, 1, 5, 5\), but 4 tokens need"),
        (torch.zeros(0, 3, 4, 4), "abcd", "patterns is empty"),
        (random_attention(1, 1, length=4).flip(-1), "abcd", "looks ahead"),
        (random_attention(1, 1, length=4) * 0.9, "abcd", "rows sum to 1"),
        (random_attention(1, 1, length=4) * float("nan"), "abcd", "NaN"),
        (with_value(3, 1, float("inf")), "abcd", "NaN or infinity"),
        (with_value(3, 1, -0.01), "abcd", r"values from -0\.01 to"),
        (with_value(3, 1, 1.5), "abcd", r"to 1\.5; attention lies between 0 and 1"),
        (with_value(0, 3, 1e-5), "abcd", "looks ahead"),
    ],
)
def test_what_is_not_attention_is_refused(patterns, tokens, message):
    with pytest.raises(InvalidInputError, match=message):
        Attention("m", (1, 2, 3, 4), tuple(tokens), patterns)


@pytest.mark.parametrize(("query", "key", "value"), [(0, 3, 9e-7), (0, 3, -9e-7), (3, 1, 0.254), (3, 1, 0.246)])
def test_what_rounding_may_leave_is_attention_still(query, key, value):
    patterns = uniform_attention(4)[None, None].clone()
    patterns[0, 0, query, key] = value
    check_patterns(patterns, 4, "patterns")


def test_a_pattern_is_held_against_its_window_and_what_is_in_the_window_is_not():
    patterns = random_attention(2, length=6).tril() * torch.ones(6, 6).triu(-2)
    patterns /= patterns.sum(-1, keepdim=True)
    check_patterns(patterns, 6, "patterns", window=3)
    with pytest.raises(InvalidInputError, match="patterns looks beyond its window of 2 tokens"):
        check_patterns(patterns, 6, "patterns", window=2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_patterns_that_are_views_and_of_either_precision_are_checked_where_they_lie(dtype):
    patterns = random_attention(3, 2, length=5).to(dtype)
    check_patterns(patterns.transpose(0, 1), 5, "patterns")
    with pytest.raises(InvalidInputError, match="looks ahead"):
        check_patterns(patterns.transpose(-1, -2), 5, "patterns")
