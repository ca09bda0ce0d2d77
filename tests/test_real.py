"""The whole way on a published model: a GGUF file of 4-bit weights, 30 layers of 9 heads, unlike the embedded one in most things.

What is dear is shared: the weights are opened once, and one real_reader of them serves all.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from analysis.pipeline import sources
from analysis.pipeline.bridge import open_bridge
from headroles.core.readings.analysis import Analysis
from headroles.core.readings.detection import is_detected
from headroles.core.records.calibration import AlwaysOn
from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_files import read_record
from headroles.core.registry import EMBEDDED_MODEL, MODELS
from headroles.core.roles.roles import RESTING_ROLE, measured_roles
from headroles.core.roles.scoring import pattern_roles
from headroles.errors import ModelLoadError, ModelTooLargeError
from headroles.explorer import Explorer
from headroles.hub.packages import is_available, model_source
from headroles.hub.record_store import EMBEDDED_RECORDS
from headroles.hub.repository import inspect
from headroles.models.loading.loader import load_model
from headroles.models.probes.probe_texts import ProbeSizes
from headroles.models.probes.sentences import CALIBRATION_SENTENCES
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.scoring.calibration import calibrate
from headroles.models.scoring.output_scores import score_outputs
from headroles.models.scoring.sweep import analyze_model, find_prompts
from headroles.render.files import exports
from headroles.render.wording.phrases import precise_percent
from headroles.settings import GIGABYTE, Settings
from tests.conftest import PLAIN, REPEATING
from tests.fixtures.double import ROUNDING, InDouble, to_double
from tests.fixtures.known import known
from tests.fixtures.real import REAL_MODEL, real_file

INFO = MODELS[REAL_MODEL]
MADE_UP = "Zorbat melkin frayd ustole. Zorbat melkin frayd"
TEXTS = (REPEATING, MADE_UP)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def file() -> Path:
    return real_file()


@pytest.fixture(scope="module")
def shipped() -> HeadCategories:
    return read_record(EMBEDDED_RECORDS[REAL_MODEL])


def test_the_registry_says_what_the_file_says(file):
    facts = inspect(file)
    assert facts.is_registered
    assert (facts.model_type, facts.parameters) == (INFO.model_type, INFO.parameters)
    assert facts.weight_bytes == file.stat().st_size == INFO.source.bytes  # type: ignore[union-attr]


def test_it_is_in_the_list_once_it_was_fetched_and_before_that_the_page_says_how(real_home, real_explorer, tmp_path):
    empty = Explorer(Settings(home=tmp_path))
    assert REAL_MODEL not in [info.name for info in empty.models()]
    assert [info.name for info in real_explorer.models()][:2] == [EMBEDDED_MODEL, REAL_MODEL]
    assert is_available(INFO, real_home)
    assert not is_available(INFO, tmp_path)
    with pytest.raises(ModelLoadError, match=r"not on this machine yet; `headroles get smollm2` .*`make real`.* 93 MB"):
        model_source(INFO, tmp_path)
    with pytest.raises(ModelLoadError, match="not on this machine yet"):
        empty.analyze(REAL_MODEL, PLAIN)


def test_the_shipped_record_says_which_file_and_how_its_weights_were_kept(real_reader, shipped):
    weights = shipped.recipe.weights
    assert weights is not None
    assert (weights.quantization, weights.dequantized) == ("Q4_1", True)
    assert weights.sha256 == INFO.source.sha256  # type: ignore[union-attr]
    assert weights.sha256.startswith(shipped.revision.removeprefix("sha256:"))
    assert real_reader.loaded.weights == weights
    assert real_reader.loaded.identity.revision == shipped.revision


def test_the_shipped_record_is_what_the_analysis_gives(real_reader, shipped):
    made = analyze_model(real_reader, ProbeSizes(calibration=0))
    assert (made.revision, made.recipe.tokenizer_sha256) == (shipped.revision, shipped.recipe.tokenizer_sha256)
    assert set(made.all_scores) == {role.name for role in pattern_roles()}
    for name, table in made.all_scores.items():
        torch.testing.assert_close(torch.tensor(table), torch.tensor(shipped.all_scores[name]), atol=1e-4, rtol=0)
        for head, interval in shipped.intervals[name].items():
            assert made.intervals[name][head] == pytest.approx(interval, abs=1e-4)


def test_its_shipped_calibration_is_what_a_shorter_one_gives(real_reader, shipped):
    """To within what so few texts can tell: most of its numbers are the tails of thousands of tokens."""
    made = calibrate(real_reader, shipped, texts=1, sentences=CALIBRATION_SENTENCES[::3], seed=5)
    assert set(made) == set(shipped.calibrations)
    for name, found in made.items():
        there = shipped.calibrations[name]
        assert type(found) is type(there)
        if isinstance(found, AlwaysOn):
            middle, usual = found.table[..., 3], known(there).table
            assert ((usual[..., 0] <= middle) & (middle <= usual[..., -1])).float().mean() > 0.98
        else:
            assert (found.table[..., 0] - known(there).table[..., 0]).abs().max() < 0.2
            assert there.recall == 1.0


def test_of_what_its_heads_write_a_few_texts_give_what_the_record_says_within_its_intervals(real_reader, shipped):
    made = score_outputs(real_reader, 10, seed=9)
    for name, by_text in made.scores.items():
        best = shipped.top_heads(name)[0]
        mean, spread = (float(found[shipped.layers.index(best.layer), best.index]) for found in (by_text.mean(0), by_text.std(0)))
        assert mean == pytest.approx(shipped.score(name, best), abs=4 * spread / len(by_text) ** 0.5)


def test_the_king_needs_no_induction_heads_and_made_up_words_do(real_explorer, shipped):
    """The two sentences of docs/method.md, without all eight heads."""
    heads = shipped.top_heads("induction")
    known_by_heart = real_explorer.ablate(
        REAL_MODEL, "The king and the queen lived in a castle. The king and the", heads, "induction"
    )
    assert (precise_percent(known_by_heart.top_token.before), precise_percent(known_by_heart.top_token.after)) == (
        "97.8%",
        "97.6%",
    )
    assert known_by_heart.importance_at_query == "hardly anything"
    made_up = real_explorer.ablate(REAL_MODEL, "Zorbat melkin frayd ustole. Zorbat melkin frayd", heads, "induction")
    assert (precise_percent(made_up.top_token.before), precise_percent(made_up.top_token.after)) == ("50.6%", "0.4%")
    assert made_up.importance_at_query == made_up.importance_in_text == "matters"
    assert len(made_up.controls) == 20
    for text in (known_by_heart.prompt, made_up.prompt):
        assert real_explorer.analyze(REAL_MODEL, text).role("induction").state == "seen"
    writes = real_explorer.effects(REAL_MODEL, made_up.prompt, heads, "induction")
    assert writes.total_effect(writes.top_token) > max(writes.control_effects(writes.top_token))


def test_its_best_heads_are_those_that_were_published(shipped):
    best = {role.name: shipped.top_heads(role)[0].label for role in measured_roles()}
    assert best == {
        "previous_token": "L16H0",
        "induction": "L18H6",
        "duplicate_token": "L14H3",
        "current_token": "L11H6",
        "delimiter": "L1H1",
        "name_mover": "L23H0",
        "copy_suppression": "L24H4",
        "successor": "L29H1",
        "positional": "L18H8",
        "diffuse": "L0H1",
    }
    resting = [head for head in shipped.heads() if shipped.primary_role(head) == RESTING_ROLE]
    assert len(resting) == 149


@pytest.fixture(scope="module")
def in_double(file) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Two texts, one padded on the right, and every library's patterns [layer, head, query, key] of them in double precision."""
    with InDouble():
        loaded = load_model("real in double", file)
        to_double(loaded.model)
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(loaded.encode(text)) for text in TEXTS], batch_first=True)
        loaded.model.set_attn_implementation("eager")
        with torch.no_grad():
            own = torch.stack(loaded.model.base_model(input_ids=ids, output_attentions=True).attentions)
        ours = PatternReader(loaded).read_layers(ids)
        ours = ours.clone()
        loaded.model.set_attn_implementation("eager")
        bridge = open_bridge(loaded)
        with torch.no_grad():
            _, cache = bridge.run_with_cache(ids, names_filter=lambda name: name.endswith("attn.hook_pattern"))
        lens = torch.stack([cache[f"blocks.{layer}.attn.hook_pattern"] for layer in range(bridge.cfg.n_layers)])
    return ids, {"PyVene": ours, "output_attentions": own, "TransformerLens": lens}


@pytest.mark.parametrize("other", ["output_attentions", "TransformerLens"])
def test_three_readers_agree_on_it(in_double, other):
    _, patterns = in_double
    assert patterns["PyVene"].shape == patterns[other].shape == (30, 2, 9, *patterns[other].shape[-2:])
    assert float((patterns["PyVene"] - patterns[other]).abs().max()) <= ROUNDING


def test_what_the_page_reads_is_what_the_double_says(in_double, real_reader):
    ids, patterns = in_double
    ours = real_reader.read_batch(ids).transpose(0, 1)
    assert float((ours - patterns["output_attentions"]).abs().max()) < 1e-3  # float32, through 30 layers


def test_every_head_is_read_on_a_text_and_all_exports_hold_it(real_explorer):
    analysis = real_explorer.analyze(REAL_MODEL, REPEATING)
    assert (analysis.num_layers, analysis.num_heads, analysis.source.quantization) == (30, 9, "Q4_1")
    assert len(analysis.to_frame()) >= sum(len(role.heads) for role in analysis.roles)
    view = real_explorer.view_head(REAL_MODEL, REPEATING, "L18H6", "induction")
    assert view.pattern.shape == (len(analysis.tokens),) * 2
    assert exports.analysis_json(analysis)


def test_readings_on_many_threads_are_the_serial_ones(real_explorer):
    prompts = [f"{REPEATING} {word}" for word in ("queen", "king", "castle", "dog")] * 4

    def read(prompt: str) -> Analysis:
        return real_explorer.analyze(REAL_MODEL, prompt)

    serial = [read(prompt) for prompt in prompts[:4]] * 4
    fresh = Explorer(real_explorer.settings, cache_bytes=0, pool=real_explorer._pool)
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda prompt: fresh.analyze(REAL_MODEL, prompt), prompts)) == serial


def test_two_real_models_take_turns_in_a_budget_that_holds_one(file, real_home, tmp_path, real_reader):
    other = tmp_path / "another.gguf"
    other.symlink_to(file)
    small = Explorer(Settings(home=real_home, any_model=True, memory_bytes=GIGABYTE))
    expected = real_reader.read(real_reader.loaded.encode(PLAIN)).patterns
    for name in (REAL_MODEL, str(other), REAL_MODEL):
        patterns = small._use(name, lambda read: read.read(read.loaded.encode(PLAIN)).patterns)
        assert torch.equal(patterns, expected)
        assert small._pool.used_bytes <= GIGABYTE
        assert small._pool.loaded[-1] == name


def test_a_model_that_exceeds_the_budget_is_refused_by_its_header_alone(file, real_home, monkeypatch):
    monkeypatch.setattr("headroles.models.loading.gguf_weights.open_gguf", lambda path: pytest.fail("its weights were read"))
    with pytest.raises(ModelTooLargeError, match=r"135 million parameters, which take 0.5 GB"):
        Explorer(Settings(home=real_home, memory_bytes=GIGABYTE // 4)).prepare(REAL_MODEL).result()


def test_all_takes_the_model_that_a_package_brings(monkeypatch, file):
    monkeypatch.setattr(sources, "model_source", lambda info, home: file)
    assert sources.locate_model(REAL_MODEL) == file
    assert sources.default_name(REAL_MODEL) == REAL_MODEL
    assert sources.default_name(str(file)) == "SmolLM2-135M-Instruct.Q4_1"


def test_the_texts_that_are_made_to_show_its_roles_do(real_reader, shipped):
    own = {role.name: role.suggested_prompt for role in measured_roles() if role.measure.is_triggered}
    assert find_prompts(real_reader, shipped) == own
    for role in measured_roles():
        for prompt in role.other_prompts:
            assert is_detected(role, real_reader.read(real_reader.loaded.encode(prompt)), shipped), prompt


def test_a_text_of_one_word_is_offered_made_up_ones_and_they_do_it(real_explorer):
    offered = real_explorer.find_edits(REAL_MODEL, "hi")
    assert {role.name for role in offered} == {"induction", "duplicate_token"}
    for role, found in offered.items():
        edit, after = known(found)
        assert edit.kind == "made up"
        assert after.role(role).state == "seen"
