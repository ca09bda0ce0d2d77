"""What the bench stands on: texts of exactly so many tokens, a comparison that can fail, a count that sees every forward."""

import pytest

from bench.load import LENGTHS, counted_forwards, is_equal, make_prompts, percentile, read_answer
from headroles.core.registry import EMBEDDED_MODEL
from headroles.explorer import Explorer
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


def test_every_forward_is_counted_and_a_click_takes_none(explorer: Explorer, tiny: LoadedModel):
    explorer.prepare(EMBEDDED_MODEL).result()
    prompt = make_prompts(tiny, [20], seed=2)[0]
    with counted_forwards() as forwards:
        table = explorer.analyze(EMBEDDED_MODEL, prompt).heads
    assert len(forwards) == 1
    with counted_forwards() as forwards:
        explorer.view_head(EMBEDDED_MODEL, prompt, table.heads()[3])
    assert not forwards


def test_percentiles_are_values_that_were_seen():
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, percent) for percent in (50, 95, 100)] == [50, 95, 100]
    assert percentile([7.0], 95) == 7


def test_an_answer_is_the_last_event_of_its_stream_and_an_error_is_none():
    assert read_answer(b'event: heartbeat\ndata: null\n\nevent: complete\ndata: [{"a": 1}]\n\n') == {"a": 1}
    with pytest.raises(RuntimeError, match="the API answered event: error"):
        read_answer(b'event: error\ndata: {"error": "no"}\n\n')
