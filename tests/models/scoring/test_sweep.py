"""The analysis here and now: its record is the offline one, its progress, its limits."""

from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from analysis.pipeline.bridge import open_bridge, score_model
from headroles.core.records.head_categories import HeadCategories
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.scoring import measure_heads, pattern_roles
from headroles.core.text.tokens import is_delimiter
from headroles.errors import InvalidInputError, JobCancelledError
from headroles.models.loading.loader import LoadedModel, load_model
from headroles.models.probes.probe_texts import Probe, ProbeSizes, make_probes
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.scoring import sweep
from headroles.models.scoring.sweep import Sweep, analyze_model, make_recipe, make_record
from tests.conftest import random_attention, uniform_attention
from tests.fixtures.architectures import SHAPES, WITHOUT_LENS, build, mark_thorough
from tests.fixtures.double import to_double
from tests.fixtures.known import known

# the repeat distance of 20 and all sentences exceed the windows of 12 that some of the architectures have
SMALL = ProbeSizes(repeated_sequences=5, repeat_length=20, sentences=4, calibration=0)
ROUNDED = 1.001e-6  # a record holds six decimals: two that are rounded from nearly the same differ by one at most
WINDOWED = ("gemma2", "gemma3_text", "mistral", "phi3", "gpt_neo", "gemma4_text", "olmo3", "cohere2", "exaone4")
WINDOWED += ("recurrent_gemma", "gpt_oss")
pytestmark = pytest.mark.usefixtures("one_thread")


def here(loaded: LoadedModel, **options) -> HeadCategories:
    return analyze_model(PatternReader(loaded), SMALL, **options)


def through_transformer_lens(loaded: LoadedModel) -> HeadCategories:
    scores = score_model(open_bridge(loaded), loaded, make_probes(loaded, SMALL, batch=3))
    return make_record(loaded, scores, SMALL, version("transformer-lens"))


def assert_same_scores(ours: HeadCategories, theirs: HeadCategories, tolerance: float = ROUNDED) -> None:
    assert set(ours.all_scores) == {role.name for role in pattern_roles()}
    assert ours.layers == theirs.layers
    for name, table in ours.all_scores.items():
        rows = zip(table, theirs.all_scores[name], strict=True)
        assert all(abs(one - other) <= tolerance for row in rows for one, other in zip(*row, strict=True)), name


def assert_same_intervals(ours: HeadCategories, theirs: HeadCategories) -> None:
    for role in ours.scored_roles:
        assert ours.top_heads(role) == theirs.top_heads(role)
        for head in ours.top_heads(role):
            # no percentile of means moves by more than the values that they are of
            assert known(ours.interval(role, head)) == pytest.approx(known(theirs.interval(role, head)), abs=ROUNDED)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", mark_thorough(name for name in SHAPES if name not in WITHOUT_LENS))
def test_the_record_made_here_is_that_of_transformer_lens(architecture, in_double, random_model):
    one, other = random_model(architecture), random_model(architecture)
    for loaded in (one, other):
        to_double(loaded.model)
    ours, theirs = here(one), through_transformer_lens(other)
    assert_same_scores(ours, theirs)
    assert ours.recipe == theirs.recipe.model_copy(update={"transformer_lens": None})
    assert (ours.model_name, ours.revision) == (theirs.model_name, theirs.revision)


def test_the_record_of_the_embedded_model_made_here_is_that_of_transformer_lens(in_double):
    one, other = load_model(EMBEDDED_MODEL), load_model(EMBEDDED_MODEL)
    for loaded in (one, other):
        to_double(loaded.model)
    ours, theirs = here(one), through_transformer_lens(other)
    assert_same_scores(ours, theirs)
    assert_same_intervals(ours, theirs)
    assert max(max(row) for row in ours.all_scores["induction"]) > 0.5  # and not two ways to nothing


@pytest.mark.slow
@pytest.mark.parametrize("architecture", mark_thorough(WINDOWED))
def test_what_lies_outside_a_window_scores_nothing_and_is_never_expected(architecture, random_model):
    loaded = random_model(architecture)
    record = here(loaded)
    assert 12 in loaded.windows
    for layer in loaded.layers:
        window = loaded.windows[layer]
        for name in ("induction", "duplicate_token"):
            assert (max(record.all_scores[name][layer]) == 0) == (window == 12), (layer, name)
        for name in ("previous_token", "current_token", "positional", "diffuse"):
            assert min(record.all_scores[name][layer]) > 0, (layer, name)


@pytest.mark.parametrize("architecture", ["gpt2", "gemma3_text", "qwen3_5_text", "recurrent_gemma", "gpt_oss"])
def test_a_record_is_the_mean_over_texts_read_one_at_a_time_without_padding(architecture, in_double, random_model):
    """An independent way to the same numbers."""
    loaded = random_model(architecture)
    to_double(loaded.model)
    reader = PatternReader(loaded)
    values = {role.name: [] for role in pattern_roles()}
    for probe in make_probes(loaded, SMALL):
        for ids, length in zip(probe.token_ids, probe.lengths):
            text = ids[None, :length]
            marks = torch.tensor([[is_delimiter(token) for token in loaded.token_texts(tuple(text[0].tolist()))]])
            layers = [
                measure_heads(patterns, text, window=loaded.windows[layer], has_sink=architecture == "gpt_oss", delimiters=marks)
                for patterns, layer in zip(reader.read_layers(text), loaded.layers)
            ]
            for role in probe.roles:
                if any(layer[role.name].count > 0 for layer in layers):
                    values[role.name].append(torch.stack([layer[role.name].values[0] for layer in layers]))
    record = analyze_model(reader, SMALL)
    for name, each in values.items():
        if not each:  # none of these few texts has a comma before its end
            assert not any(map(any, record.all_scores[name]))
            continue
        mean = torch.stack(each).mean(0)
        rows = [record.all_scores[name][layer] for layer in loaded.layers]
        torch.testing.assert_close(torch.tensor(rows, dtype=mean.dtype), mean, atol=ROUNDED, rtol=0)


def test_progress_goes_from_nought_to_one_and_never_back(random_model):
    shares = []
    here(random_model("gpt2"), on_progress=shares.append)
    assert shares == sorted(set(shares))
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert len(shares) == 3  # before the repeated sequences, before the sentences, at the end


def test_what_on_progress_raises_ends_the_analysis(random_model):
    loaded = random_model("gpt2")
    reader = PatternReader(loaded)
    read = []

    def cancel(share: float) -> None:
        if share > 0:
            raise JobCancelledError("stop")

    counting: Any = SimpleNamespace(loaded=loaded, read_layers=lambda ids: read.append(ids) or reader.read_layers(ids))
    with pytest.raises(JobCancelledError):
        analyze_model(counting, SMALL, cancel)
    assert len(read) == 1
    assert not loaded.lock.locked()


def batches(loaded: LoadedModel, recipe: ProbeSizes = SMALL) -> list[tuple[int, ...]]:
    """The shapes of the token ids of each forward."""
    reader = PatternReader(loaded)
    shapes = []
    spying: Any = SimpleNamespace(
        loaded=loaded, read_layers=lambda ids: shapes.append(tuple(ids.shape)) or reader.read_layers(ids)
    )
    analyze_model(spying, recipe)
    return shapes


def test_patterns_of_one_forward_stay_below_the_bound_and_scores_stay_the_same(random_model, monkeypatch):
    heads, whole = 3 * 4, here(random_model("gpt2"))
    for bound in (heads * 41 * 41 * 4 * 2, heads * 41 * 41 * 4 * 3 - 1, 1):
        monkeypatch.setattr(sweep, "MAX_PATTERN_BYTES", bound)
        shapes = batches(random_model("gpt2"))
        assert sum(texts for texts, _ in shapes) == 9
        assert max(texts for texts, _ in shapes) == (2 if bound > 1 else 1)
        assert all(texts * heads * length**2 * 4 <= bound for texts, length in shapes) == (bound > 1)
        assert_same_scores(here(random_model("gpt2")), whole, 2e-6)


def test_long_sentences_count_for_the_bound_too(random_model, monkeypatch):
    """With short repeats, the sentences are the longest texts."""
    heads, recipe = 3 * 4, ProbeSizes(repeated_sequences=2, repeat_length=8, sentences=20, calibration=0)
    longest = max(length for _, length in batches(random_model("gpt2"), recipe))
    assert longest > 17
    bound = heads * longest**2 * 4 * 2
    monkeypatch.setattr(sweep, "MAX_PATTERN_BYTES", bound)
    assert all(texts * heads * length**2 * 4 <= bound for texts, length in batches(random_model("gpt2"), recipe))


def test_a_longer_repeat_than_the_context_takes_does_not_make_batches_smaller(random_model):
    assert batches(random_model("gpt2"), ProbeSizes(6, 10_000, 2, calibration=0))[0] == (6, 127)


def test_never_more_than_ten_texts_in_a_forward(random_model):
    assert [texts for texts, _ in batches(random_model("gpt2"), ProbeSizes(23, 10, 2, calibration=0))] == [10, 10, 3, 2]


def test_bfloat16_patterns_are_summed_in_float32(random_model):
    loaded = random_model("gpt2")
    loaded.model.to(torch.bfloat16)
    reader = PatternReader(loaded)
    exact = {role.name: [] for role in pattern_roles()}
    for probe in make_probes(loaded, SMALL):
        layers = reader.read_batch(probe.token_ids).double()
        for name, measured in measure_heads(
            layers, probe.token_ids, probe.lengths, probe.roles, delimiters=probe.delimiters
        ).items():
            exact[name] += measured.values[measured.count > 0].unbind(0)
    record = analyze_model(reader, SMALL)
    assert record.recipe.dtype == "bfloat16"
    for name, values in exact.items():
        if not values:
            continue
        mean = torch.stack(values).mean(0)
        torch.testing.assert_close(torch.tensor(record.all_scores[name]).double(), mean, atol=2e-6, rtol=0)


def add_all_layers(summed: Sweep, probe: Probe, patterns: torch.Tensor) -> None:
    for layer in range(patterns.shape[1]):
        summed.add(probe, layer, patterns[:, layer])


def fake_model(*windows: int | None) -> Any:
    return SimpleNamespace(windows=windows, layers=range(len(windows)), has_sink=False)


def test_every_text_weighs_the_same_whatever_the_batches_and_stands_at_its_place():
    patterns, ids = random_attention(5, 2, 3, length=9), torch.arange(5).repeat(9).view(5, 9)
    scores, by_text = [], []
    for sizes in ([5], [1, 4], [2, 2, 1]):
        summed = Sweep(fake_model(None, 4))
        for part, tokens in zip(patterns.split(sizes), ids.split(sizes)):
            lengths = torch.full((len(tokens),), 9)
            add_all_layers(summed, Probe(tokens, lengths, pattern_roles(), delimiters=tokens == 1), part)
        scores.append(summed.scores())
        by_text.append(summed.by_text())
    for name, table in scores[0].items():
        assert table.shape == (2, 3)
        assert by_text[0][name].shape == (5, 2, 3)
        torch.testing.assert_close(by_text[0][name].mean(0), table, atol=1e-6, rtol=0)
        torch.testing.assert_close(by_text[1][name], by_text[0][name], atol=1e-6, rtol=0)
        torch.testing.assert_close(by_text[2][name], by_text[0][name], atol=1e-6, rtol=0)
        torch.testing.assert_close(scores[1][name], table, atol=1e-6, rtol=0)
        torch.testing.assert_close(scores[2][name], table, atol=1e-6, rtol=0)


def test_uniform_bfloat16_heads_stay_within_0_to_1():
    """Their rows sum to a little more than 1, and a record takes no score above 1."""
    length = 37
    patterns = uniform_attention(length).to(torch.bfloat16).expand(2, 1, 4, length, length)
    summed = Sweep(fake_model(None))
    ids = torch.cat([torch.arange(18), torch.arange(19)]).expand(2, length)
    add_all_layers(summed, Probe(ids, torch.tensor([length, length]), pattern_roles(), delimiters=ids == 3), patterns)
    scores = summed.scores()
    assert all(table.dtype == torch.float32 for table in scores.values())
    assert all(float(table.min()) >= 0 and float(table.max()) <= 1 for table in scores.values())
    assert float(scores["diffuse"].min()) > 0.99


def test_the_recipe_says_what_was_done(tiny):
    recipe = make_recipe(tiny, ProbeSizes(3, 10_000, 2, seed=4, calibration=0))
    assert (recipe.transformer_lens, recipe.transformers) == (None, version("transformers"))
    assert (recipe.repeated_sequences, recipe.sentences, recipe.seed) == (3, 2, 4)
    assert recipe.repeat_length == (tiny.context_length - 2) // 2  # what fitted
    assert recipe.dtype == "float32"
    assert "+" not in recipe.torch  # a build for CUDA makes no other record


def test_a_model_that_reads_too_little_is_refused(random_model):
    loaded = random_model("gpt2")
    reader = PatternReader(loaded)
    loaded.model.config.n_positions = 12
    with pytest.raises(InvalidInputError, match="random-gpt2 reads 12 tokens"):
        analyze_model(reader, SMALL)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_model_on_cuda_is_scored_as_on_the_cpu(fresh_tiny):
    cpu = here(fresh_tiny)
    on_cuda = load_model(EMBEDDED_MODEL)
    torch.nn.Module.to(on_cuda.model, "cuda")
    assert_same_scores(here(on_cuda), cpu, 1e-3)


def test_the_architectures_with_windows_are_those_tested_for_them(tiny):
    assert {name for name in SHAPES if any(LoadedModel(name, build(name), tiny.tokenizer, "r").windows)} == set(WINDOWED)
