"""What the bench stands on: texts of exactly so many tokens, and a comparison that can fail."""

import pytest

from bench.answers import is_equal, read_answer
from bench.load import LENGTHS
from bench.measuring import make_prompts
from headroles.models.loading.loader import LoadedModel


def test_prompts_have_exactly_the_tokens_asked_for_and_no_two_are_the_same(tiny: LoadedModel):
    lengths = [*LENGTHS, *range(16, 65)]
    prompts = make_prompts(tiny, lengths) + make_prompts(tiny, lengths, seed=1)
    assert [len(tiny.encode(prompt)) for prompt in prompts] == lengths * 2
    assert len(set(prompts)) == len(prompts)
    assert make_prompts(tiny, lengths) == prompts[: len(lengths)]


@pytest.mark.parametrize(
    ("answer", "equal"),
    [
        ({"a": [0.5, True, "x"]}, True),
        ({"a": [0.5 + 9e-7, True, "x"]}, True),
        ({"a": [0.5 + 2e-6, True, "x"]}, False),
        ({"a": [None, True, "x"]}, False),
        ({"a": [float("nan"), True, "x"]}, False),
        ({"a": [0.5, 1, "x"]}, False),
        ({"a": [0.5, False, "x"]}, False),
        ({"a": [0.5, True, "y"]}, False),
        ({"a": [0.5, True]}, False),
        ({"b": [0.5, True, "x"]}, False),
    ],
)
def test_answers_are_equal_but_for_the_last_digits_of_a_number(answer, equal):
    assert is_equal(answer, {"a": [0.5, True, "x"]}) is equal


def test_an_answer_is_the_last_event_of_its_stream_and_an_error_is_none():
    assert read_answer('event: heartbeat\ndata: null\n\nevent: complete\ndata: [{"a": 1}]\n\n') == {"a": 1}
    with pytest.raises(RuntimeError, match="the API answered event: error"):
        read_answer('event: error\ndata: {"error": "no"}\n\n')
    with pytest.raises(RuntimeError, match="the API answered"):
        read_answer("")
