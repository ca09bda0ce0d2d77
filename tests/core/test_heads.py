"""Head and Attention: checked when built, with messages that name what is wrong."""

import pytest
import torch

from headroles.core.heads import Attention, Head
from headroles.errors import InvalidInputError
from tests.conftest import random_attention


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
    ],
)
def test_what_is_not_attention_is_refused(patterns, tokens, message):
    with pytest.raises(InvalidInputError, match=message):
        Attention("m", (1, 2, 3, 4), tuple(tokens), patterns)
