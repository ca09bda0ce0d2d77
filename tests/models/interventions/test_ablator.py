"""Ablations are what hand-written hooks do, on every architecture; many at once are as one at a time; nothing stays behind."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch

from headroles.core.heads import Head
from headroles.core.patterns.excess import remove_excess
from headroles.core.registry import ARCHITECTURES
from headroles.core.roles.roles import ROLES, get_measured_role
from headroles.errors import InvalidInputError, JobCancelledError, UnsupportedModelError
from headroles.models.interventions.ablation_runs import AblationRequest, control_ids, run_ablation
from headroles.models.interventions.ablator import Ablator, open_ablator, open_outputs
from headroles.models.loading.loader import LoadedModel
from headroles.models.reading.pattern_reader import PatternReader
from tests.conftest import REPEATING
from tests.fixtures.architectures import VOCABULARY, build, mark_thorough
from tests.fixtures.double import ROUNDING, to_double
from tests.models.reading.test_output_reader import REFUSED

HALF = torch.randint(1, VOCABULARY, (12,), generator=torch.Generator().manual_seed(5)).tolist()
IDS = tuple(HALF + HALF)
WORDS = (5, 700)
INDUCTION = get_measured_role("induction")


def opened(architecture: str, tiny: LoadedModel) -> Ablator:
    return open_ablator(PatternReader(LoadedModel("r", to_double(build(architecture)), tiny.tokenizer, "r")))


def by_hand(architecture: str, change: Callable[[int, torch.Tensor], torch.Tensor], ablator: Ablator) -> list[float]:
    """The log-probabilities of WORDS at the end, with a plain torch hook on each output projection of a model of one's own."""
    model = to_double(build(architecture))
    for writing in ablator._outputs.residual_map.output_layers:
        model.get_submodule(writing.projection).register_forward_pre_hook(partial(_changed, change, writing.layer))
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([IDS])).logits[0, -1]
    return logits.log_softmax(-1)[list(WORDS)].tolist()


def _changed(change: Callable, layer: int, _: object, args: tuple) -> tuple:
    return (change(layer, args[0]), *args[1:])


@pytest.mark.slow
@pytest.mark.parametrize("architecture", mark_thorough(name for name in ARCHITECTURES if name not in REFUSED))
def test_every_method_is_what_a_hand_written_hook_does(architecture, in_double, tiny):
    ablator = opened(architecture, tiny)
    layer, heads = ablator.loaded.layers[-1], ablator.loaded.identity.num_heads
    gone = Head(layer, heads - 1)
    for method in ("zero", "mean", "resample"):
        made = ablator.replacement(method, IDS, seed=1)

        def change(at: int, mixed: torch.Tensor, made=made) -> torch.Tensor:
            if at != layer:
                return mixed
            outputs = mixed.unflatten(-1, (heads, -1)).clone()
            outputs[:, :, gone.index] = made.outputs[layer][:, gone.index] if made.outputs else 0
            return outputs.flatten(-2)

        (after,) = ablator.run(IDS, [[gone]], made, WORDS)
        expected = by_hand(architecture, change, ablator)
        assert after.log_probs == pytest.approx(expected, abs=1e-6), method
        if method == "zero":
            (plain,) = ablator.run(IDS, [[]], made, WORDS)
            assert plain.log_probs != pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", mark_thorough(["llama", "qwen2", "gpt2", "bloom", "gpt_neo", "qwen3_next", "gpt_oss"]))
def test_a_pattern_without_its_role_gives_what_its_values_mixed_anew_give(architecture, in_double, tiny):
    """In the last layer, where the values are those of the plain forward."""
    ablator = opened(architecture, tiny)
    outputs, layer = ablator._outputs, ablator.loaded.layers[-1]
    pattern = outputs.patterns.read(IDS).pattern(Head(layer, 1))
    without = remove_excess(pattern, INDUCTION.expected_keys(torch.tensor(IDS)), ablator.loaded.windows[layer])
    (after,) = ablator.run(IDS, [[Head(layer, 1)]], ablator.replacement("null", IDS, INDUCTION), WORDS)
    row, heads = ablator.loaded.layers.index(layer), ablator.loaded.identity.num_heads

    def change(at: int, mixed: torch.Tensor) -> torch.Tensor:
        if at != layer:
            return mixed
        changed = mixed.unflatten(-1, (heads, -1)).clone()
        for query in range(len(IDS)):
            stream = outputs.read(IDS, query)
            new = without[query, : query + 1].to(mixed) @ stream.values[row][1][: query + 1]
            changed[0, query, 1] = new if stream.gates is None else new * stream.gates[row][1]
        return changed.flatten(-2)

    assert after.log_probs == pytest.approx(by_hand(architecture, change, ablator), abs=1e-6)


def test_what_a_role_adds_is_all_that_is_taken_out_of_a_pattern():
    pattern = torch.tensor([[1.0, 0, 0, 0, 0, 0], [0.5, 0.5, 0, 0, 0, 0], [0.8, 0.1, 0.1, 0, 0, 0], [0.6, 0.2, 0.1, 0.1, 0, 0],
                            [0.1, 0.7, 0.1, 0.05, 0.05, 0], [0.6, 0.1, 0.1, 0.1, 0.05, 0.05]])  # fmt: skip
    expected = torch.zeros(6, 6, dtype=torch.bool)
    expected[4, 1] = True
    changed = remove_excess(pattern, expected)
    others = torch.arange(6) != 4
    assert torch.equal(changed[others], pattern[others])
    assert changed[4, 1] < 0.25
    assert changed.sum(-1) == pytest.approx(torch.ones(6), abs=1e-6)
    kept = torch.tensor([0, 2, 3, 4])
    assert torch.allclose(changed[4, kept] / changed[4, 0], pattern[4, kept] / pattern[4, 0])


@pytest.mark.slow
def test_many_sets_in_one_forward_are_as_one_at_a_time(in_double, tiny):
    ablator = opened("llama", tiny)
    sets = [(), (Head(0, 0),), (Head(0, 1), Head(2, 3)), (Head(1, 2), Head(1, 3), Head(2, 0))]
    for method in ("zero", "mean", "resample", "null"):
        made = ablator.replacement(method, IDS, INDUCTION)
        together = list(ablator.run(IDS, sets, made, WORDS))
        for heads, after in zip(sets, together, strict=True):
            (alone,) = ablator.run(IDS, [heads], made, WORDS)
            assert after.log_probs == pytest.approx(alone.log_probs, abs=1e4 * ROUNDING)
            assert after.losses == pytest.approx(alone.losses, abs=1e4 * ROUNDING)
            assert [token for token, _ in after.top] == [token for token, _ in alone.top]


def test_losses_and_guesses_are_those_of_the_model_itself(explorer, tiny):
    predictions = explorer.next_tokens("headroles-tiny", REPEATING, 3)
    ids = torch.tensor([tiny.encode(REPEATING)])
    with torch.no_grad():
        logits = tiny.model(input_ids=ids).logits[0]
    losses = torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:], reduction="none").tolist()
    assert predictions.losses[0] is None
    assert list(predictions.losses[1:]) == pytest.approx(losses, abs=1e-4)
    for guesses, row in zip(predictions.guesses, logits.softmax(-1), strict=True):
        assert [guess.probability for guess in guesses] == pytest.approx(row.topk(3).values.tolist(), abs=1e-5)


def test_the_next_plain_analysis_is_the_same_bit_for_bit_after_any_ablation(fresh_tiny):
    reader = PatternReader(fresh_tiny)
    ids = fresh_tiny.encode(REPEATING)
    before = reader.read(ids).patterns
    outputs, ablator = open_outputs(reader), open_ablator(reader)
    question = AblationRequest(ids, (Head(2, 2), Head(3, 1)), INDUCTION)

    def failing(_: float) -> None:
        raise JobCancelledError("stopped")

    for method in ("zero", "mean", "resample", "null"):
        list(ablator.run(ids, [[Head(2, 2)]], ablator.replacement(method, ids, INDUCTION)))
        assert torch.equal(reader.read(ids).patterns, before)
    with pytest.raises(JobCancelledError):
        run_ablation(outputs, ablator, REPEATING, question, failing)
    assert torch.equal(reader.read(ids).patterns, before)
    broken = ablator.replacement("mean", ids)
    broken.outputs[2] = torch.zeros(1, 3, 5)  # type: ignore[index]
    with pytest.raises(RuntimeError):
        list(ablator.run(ids, [[Head(2, 2)]], broken))
    assert torch.equal(reader.read(ids).patterns, before)
    after = next(ablator.run(ids, [[]], ablator.replacement("zero", ids), WORDS))
    assert after.log_probs == pytest.approx(next(ablator.run(ids, [[]], broken, WORDS)).log_probs)


def test_threads_that_mix_captures_and_ablations_get_what_each_alone_gets(explorer):
    texts = [REPEATING, "red green blue red green blue red", "My uncle hid a small green window. My uncle hid"]

    def ask(number: int) -> object:
        text = texts[number % 3]
        if number % 2:
            return explorer.ablate("headroles-tiny", text, ["L2H2"], seed=number % 3)
        return explorer._use("headroles-tiny", lambda reader: reader.read(reader.loaded.encode(text)).patterns.tolist())

    expected = [ask(number) for number in range(8)]
    found: list[object] = [None] * 8

    def work(number: int) -> None:
        found[number] = ask(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def test_a_control_text_keeps_the_end_and_repeats_nothing(tiny):
    ids = tiny.encode("The king and the queen lived in a castle. The king and the")
    changed = control_ids(tiny, ids)
    assert len(changed) == len(ids)
    assert len(set(changed)) == len(changed)
    assert changed[-4:] == ids[-4:]
    assert changed[: len(tiny.bos)] == tiny.bos
    assert all(new == old for at, (new, old) in enumerate(zip(changed, ids)) if old not in ids[at + 1 :])
    assert control_ids(tiny, ids) == changed != control_ids(tiny, ids, seed=1)


def test_a_null_pattern_needs_a_role_that_a_text_triggers(explorer):
    with pytest.raises(InvalidInputError, match="Only what a role that a text triggers"):
        explorer.ablate("headroles-tiny", REPEATING, ["L2H2"], method="null")
    with pytest.raises(InvalidInputError, match="Only what a role that a text triggers"):
        explorer.ablate("headroles-tiny", REPEATING, role="previous_token", method="null")
    assert not ROLES["previous_token"].requires_repetition


def test_effects_and_ablations_of_a_model_with_norms_behind_its_heads_do_not_meet(tiny):
    """Reading effects calls projections and norms, on which the ablations of other threads have taps."""
    reader = PatternReader(LoadedModel("r", build("gemma2"), tiny.tokenizer, "r"))
    outputs, ablator = open_outputs(reader), open_ablator(reader)
    nothing = ablator.replacement("zero", IDS)

    def ask(number: int) -> list:
        if number % 2:
            return list(ablator.run(IDS, [[Head(number % 3, 1)]], nothing, WORDS))
        return outputs.read(IDS, number % 24).by_key(outputs.tokens_to_residual_directions(list(WORDS))).tolist()

    expected = [ask(number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert list(pool.map(ask, range(8))) == expected


def test_a_text_on_which_a_model_puts_out_no_numbers_is_refused(tiny):
    model = build("llama")
    reader = PatternReader(LoadedModel("r", model, tiny.tokenizer, "r"))
    outputs, ablator = open_outputs(reader), open_ablator(reader)
    model.model.layers[2].mlp.down_proj.weight.data.fill_(float("nan"))
    for ask in (lambda: outputs.read(IDS), lambda: list(ablator.run(IDS, [[]], ablator.replacement("zero", IDS)))):
        with pytest.raises(UnsupportedModelError, match="what they put out on this text is no number"):
            ask()
