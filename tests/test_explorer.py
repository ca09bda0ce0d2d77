"""The whole way from a prompt to an Analysis: the claims a visitor relies on."""

import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import headroles
from headroles import Explorer, Head, get_active_head_summary, load_head_categories
from headroles.core.readings.analyze import analyze_attention
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.roles import ROLES
from headroles.core.roles.scoring import pattern_roles
from headroles.errors import (
    InvalidInputError,
    JobCancelledError,
    ModelLoadError,
    ModelTooLargeError,
    NoHeadCategoriesError,
    PromptError,
    UnknownModelError,
)
from headroles.models.model_pool import ModelPool
from headroles.models.reading.analysis_cache import ANALYSES_SHARE
from headroles.models.reading.pattern_reader import PatternReader
from headroles.render.wording.role_states import describe_role
from headroles.settings import Settings
from tests.conftest import PLAIN, REPEATING
from tests.fixtures.architectures import build
from tests.fixtures.double import ROUNDING, to_double
from tests.fixtures.patience import PATIENCE


def test_the_public_names_are_importable_from_the_package():
    for name in ("Explorer", "load_head_categories", "verify_head_activation", "get_active_head_summary"):
        assert callable(getattr(headroles, name))


def test_induction_is_active_on_a_repeat_and_not_applicable_without_one(explorer):
    assert explorer.analyze(EMBEDDED_MODEL, REPEATING).role("induction").is_active
    plain = explorer.analyze(EMBEDDED_MODEL, "She opened a door and saw my small garden.").role("induction")
    assert not plain.applicable
    assert not plain.is_active


@pytest.mark.parametrize("role", pattern_roles(), ids=lambda role: role.name)
def test_the_suggested_prompt_of_a_role_lights_it_when_the_model_has_such_heads(explorer, role):
    reading = explorer.analyze(EMBEDDED_MODEL, role.suggested_prompt).role(role.name)
    assert reading.applicable
    assert reading.is_active == bool(reading.heads)


def test_looking_at_a_head_takes_no_second_forward(monkeypatch):
    explorer, reads = Explorer(), []
    original = PatternReader.read
    monkeypatch.setattr(PatternReader, "read", lambda self, ids: (reads.append(ids), original(self, ids))[1])
    explorer.analyze(EMBEDDED_MODEL, PLAIN)
    for index in range(8):
        explorer.view_head(EMBEDDED_MODEL, PLAIN, Head(1, index))
    assert len(reads) == 1


def test_a_text_is_measured_once_however_often_it_is_asked_for(measured):
    explorer = Explorer()
    first = explorer.analyze(EMBEDDED_MODEL, PLAIN)
    assert explorer.analyze(EMBEDDED_MODEL, PLAIN) == first
    assert explorer.analyze(EMBEDDED_MODEL, REPEATING).prompt == REPEATING
    assert explorer.analyze(EMBEDDED_MODEL, PLAIN) == first
    assert len(measured) == len(set(measured)) == 2


def test_two_texts_of_the_same_tokens_share_what_was_measured(measured):
    explorer = Explorer()
    one, other = explorer.analyze(EMBEDDED_MODEL, "a ? b"), explorer.analyze(EMBEDDED_MODEL, "a \ud800 b")
    assert (one.tokens, len(measured)) == (other.tokens, 1)
    assert (one.prompt, other.prompt) == ("a ? b", "a ? b")


def test_another_revision_of_a_model_never_gets_what_was_read_of_the_first(tiny, fresh_tiny, record, monkeypatch):
    with torch.no_grad():
        for weight in fresh_tiny.model.parameters():
            weight.mul_(0.5)
    readers = [PatternReader(loaded) for loaded in (tiny, replace(fresh_tiny, revision="another"))]
    explorer = Explorer()
    source = explorer.analyze(EMBEDDED_MODEL, PLAIN).source
    monkeypatch.setattr(explorer._store, "find", lambda _: (record, source))
    monkeypatch.setattr(explorer._pool, "use", lambda name, source, work: work(readers[0]))
    first = explorer.analyze(EMBEDDED_MODEL, PLAIN)
    readers.pop(0)
    again = explorer.analyze(EMBEDDED_MODEL, PLAIN)
    own = readers[0].read(tiny.encode(PLAIN))
    assert again == analyze_attention(PLAIN, own, record, source) != first
    head = Head(1, 6)
    assert torch.equal(explorer.view_head(EMBEDDED_MODEL, PLAIN, head).pattern, own.pattern(head))


def test_what_was_read_of_a_batch_is_not_measured_again(measured):
    explorer = Explorer()
    batch = explorer.analyze_batch(EMBEDDED_MODEL, [PLAIN, REPEATING])
    assert [explorer.analyze(EMBEDDED_MODEL, prompt) for prompt in (PLAIN, REPEATING)] == batch
    assert len(measured) == 2


def test_a_new_record_never_serves_what_was_read_with_the_old_one(measured, record, monkeypatch):
    explorer = Explorer()
    before = explorer.analyze(EMBEDDED_MODEL, REPEATING)
    lower = {**record.all_scores, "induction": [[0.0] * 8 for _ in range(4)]}
    newer = record.model_copy(update={"all_scores": lower, "analysis_date": "2031-01-01"})
    source = replace(before.source, analysis_date="2031-01-01")
    monkeypatch.setattr(explorer._store, "find", lambda _: (newer, source))
    after = explorer.analyze(EMBEDDED_MODEL, REPEATING)
    assert after.source.analysis_date == "2031-01-01"
    assert before.heads.scores["induction"] != after.heads.scores["induction"] == tuple(map(tuple, lower["induction"]))
    assert len(measured) == 2


def test_a_source_that_changed_alone_is_told_without_measuring_again(measured, monkeypatch):
    explorer = Explorer()
    before = explorer.analyze(EMBEDDED_MODEL, PLAIN)
    same = explorer.categories(EMBEDDED_MODEL)
    monkeypatch.setattr(explorer._store, "find", lambda _: (same, replace(before.source, note="The Hub does not answer.")))
    assert explorer.analyze(EMBEDDED_MODEL, PLAIN).source.note == "The Hub does not answer."
    assert len(measured) == 1


def test_an_analysis_can_be_made_of_attention_from_elsewhere(record):
    explorer = Explorer()  # its own: a batch that another test asked for keeps what padded forwards gave, which differs in bits
    whole = explorer.analyze(EMBEDDED_MODEL, PLAIN)
    attention = explorer._use(EMBEDDED_MODEL, lambda reader: reader.read(reader.loaded.encode(PLAIN)))
    assert analyze_attention(PLAIN, attention, record, whole.source) == whole


def test_an_explorer_without_settings_does_as_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("HEADROLES_ANY_MODEL", "1")
    monkeypatch.setenv("HEADROLES_HOME", str(tmp_path))
    assert Explorer().settings == Settings.from_environment()
    assert Explorer().settings.any_model
    assert Explorer(Settings()).settings == Settings()
    monkeypatch.setenv("HEADROLES_ANY_MODEL", "maybe")
    with pytest.raises(InvalidInputError, match="HEADROLES_ANY_MODEL must be 0 or 1"):
        Explorer()


def test_what_readings_take_is_not_underestimated(explorer, record):
    whole = explorer.analyze(EMBEDDED_MODEL, PLAIN)
    attention = explorer._use(EMBEDDED_MODEL, lambda reader: reader.read(reader.loaded.encode(PLAIN)))
    tracemalloc.start()
    try:
        kept = [analyze_attention(PLAIN, attention, record, whole.source) for _ in range(20)]
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    explorer = Explorer()
    explorer.analyze(EMBEDDED_MODEL, PLAIN)
    assert taken / len(kept) <= explorer._cache.analyses.used_bytes


def test_the_caches_stay_within_their_bytes():
    explorer = Explorer(cache_bytes=900_000)
    for number in range(12):
        explorer.analyze(EMBEDDED_MODEL, PLAIN + " And" * number)
    assert 0 < explorer._cache.patterns.used_bytes <= 900_000
    assert 0 < explorer._cache.analyses.used_bytes <= 900_000 // ANALYSES_SHARE
    assert Explorer(cache_bytes=10).analyze(EMBEDDED_MODEL, PLAIN) == explorer.analyze(EMBEDDED_MODEL, PLAIN)


def test_eight_threads_with_different_prompts_get_the_single_threaded_answers():
    words = ["cat", "dog", "queen", "man", "boy", "tree", "house", "door", "garden", "night"]
    prompts = [f"{REPEATING} {word}" for word in words] * 4
    alone = [Explorer(cache_bytes=0).analyze(EMBEDDED_MODEL, prompt) for prompt in prompts[:10]]
    explorer = Explorer(cache_bytes=100_000)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda prompt: explorer.analyze(EMBEDDED_MODEL, prompt), prompts))
    assert together == alone * 4


@pytest.fixture
def forwards(monkeypatch) -> list[tuple[int, ...]]:
    """The shape of every forward's token ids, as they come."""
    shapes, read = [], PatternReader.read_layers
    monkeypatch.setattr(PatternReader, "read_layers", lambda self, ids: (shapes.append(tuple(ids.shape)), read(self, ids))[1])
    return shapes


def batch_prompts(count: int) -> list[str]:
    words = REPEATING.split() + PLAIN.split()
    return [" ".join(words[number % 7 : number % 7 + 1 + number // 3]) + f" {number}" for number in range(count)]


def test_64_prompts_take_one_forward(forwards):
    explorer = Explorer()
    explorer.categories(EMBEDDED_MODEL)
    forwards.clear()
    assert len(explorer.analyze_batch(EMBEDDED_MODEL, batch_prompts(64))) == 64
    assert [rows for rows, _ in forwards] == [64]


def test_equal_prompts_are_read_once_and_all_answered(forwards):
    explorer = Explorer()
    explorer.categories(EMBEDDED_MODEL)
    forwards.clear()
    analyses = explorer.analyze_batch(EMBEDDED_MODEL, [PLAIN, REPEATING, PLAIN, REPEATING, PLAIN])
    assert [rows for rows, _ in forwards] == [2]
    assert [analysis.prompt for analysis in analyses] == [PLAIN, REPEATING, PLAIN, REPEATING, PLAIN]
    assert analyses[0] == analyses[2] == analyses[4]


@pytest.fixture
def precise(in_double) -> Explorer:
    """It reads the embedded model in double precision."""
    explorer = Explorer()
    explorer._use(EMBEDDED_MODEL, lambda reader: to_double(reader.loaded.model))
    return explorer


def test_a_batch_too_large_for_one_forward_takes_as_few_as_the_bytes_allow(precise, forwards, monkeypatch):
    explorer, prompts = precise, batch_prompts(40)
    whole = explorer.analyze_batch(EMBEDDED_MODEL, prompts)
    limit = 2_000_000
    monkeypatch.setattr("headroles.models.reading.batches.MAX_BATCH_BYTES", limit)
    forwards.clear()
    parts = Explorer(pool=explorer._pool).analyze_batch(EMBEDDED_MODEL, prompts)
    assert 1 < len(forwards) < 40
    assert sum(rows for rows, _ in forwards) == 40
    assert all(rows * length**2 * 4 * 8 * 4 <= limit for rows, length in forwards)
    lengths = [length for _, length in forwards]
    assert lengths == sorted(lengths), "texts of like length go together"
    for one, other in zip(whole, parts):
        assert_same(one, other)


def test_one_prompt_alone_may_be_larger_than_the_bytes(forwards, monkeypatch):
    monkeypatch.setattr("headroles.models.reading.batches.MAX_BATCH_BYTES", 10)
    assert len(Explorer().analyze_batch(EMBEDDED_MODEL, [PLAIN, REPEATING])) == 2


def test_a_batch_gives_what_one_prompt_at_a_time_gives(precise):
    prompts = [*batch_prompts(30), " ".join([REPEATING] * 8), "A"]
    single = Explorer(pool=precise._pool)
    for one, prompt in zip(precise.analyze_batch(EMBEDDED_MODEL, prompts), prompts):
        assert_same(one, single.analyze(EMBEDDED_MODEL, prompt))


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gpt_neo", "bloom", "gemma3_text"])
def test_padding_changes_no_pattern_of_any_architecture(in_double, random_model, architecture):
    loaded = random_model(architecture)
    to_double(loaded.model)
    reader = PatternReader(loaded)
    texts = [reader.loaded.encode(prompt) for prompt in (PLAIN, REPEATING, "A", " ".join([REPEATING] * 3))]
    for attention, text in zip(reader.read_texts(texts), texts):
        alone = reader.read(text)
        assert (attention.token_ids, attention.tokens, attention.windows) == (alone.token_ids, alone.tokens, alone.windows)
        assert attention.patterns.dtype == torch.float64
        torch.testing.assert_close(attention.patterns, alone.patterns, atol=ROUNDING, rtol=0)


def assert_same(one: headroles.Analysis, other: headroles.Analysis) -> None:
    assert (one.prompt, one.tokens, one.source) == (other.prompt, other.tokens, other.source)
    assert one.heads.applicable == other.heads.applicable
    for name, cells in one.heads.activations.items():
        torch.testing.assert_close(torch.tensor(cells), torch.tensor(other.heads.activations[name]), atol=ROUNDING, rtol=0)
    assert [describe_role(role, one) for role in one.roles] == [describe_role(role, other) for role in other.roles]


def test_a_head_of_a_prompt_of_a_batch_takes_no_second_forward(forwards):
    explorer = Explorer()
    explorer.analyze_batch(EMBEDDED_MODEL, [PLAIN, REPEATING])
    forwards.clear()
    explorer.view_head(EMBEDDED_MODEL, REPEATING, Head(1, 2))
    assert not forwards


@pytest.mark.parametrize(
    ("prompts", "error", "message"),
    [
        ([], InvalidInputError, "prompts must be a list of 1 to 64 texts; these are 0."),
        (["a"] * 65, InvalidInputError, "prompts must be a list of 1 to 64 texts; these are 65."),
        ("text", InvalidInputError, "prompts must be a list of 1 to 64 texts."),
        (None, InvalidInputError, "prompts must be a list of 1 to 64 texts."),
        (["a", "b", " ", "c", ""], PromptError, "Prompt 3 of 5: there is no text to look at; type a sentence first."),
        (["a", 7], PromptError, "Prompt 2 of 2: a text was expected, but int came"),
        (["a " * 300], PromptError, "Prompt 1 of 1: your text has"),
    ],
)
def test_a_wrong_batch_is_refused_by_the_number_of_the_prompt(explorer, prompts, error, message):
    with pytest.raises(error) as caught:
        explorer.analyze_batch(EMBEDDED_MODEL, prompts)
    assert str(caught.value).startswith(message)


def test_a_lone_surrogate_is_replaced_in_what_is_given_back(explorer):
    for analysis in (explorer.analyze(EMBEDDED_MODEL, "a \ud800 b"), *explorer.analyze_batch(EMBEDDED_MODEL, ["a \ud800 b"])):
        assert analysis.prompt == "a ? b"
    assert explorer.view_head(EMBEDDED_MODEL, "a \ud800 b", Head(0, 0)).prompt == "a ? b"


@pytest.mark.parametrize("name", ["a\x00b", "\ud800", "a\nb", "x" * 301, " "])
def test_where_any_model_may_be_named_one_that_cannot_exist_is_refused(any_model, name):
    with pytest.raises(UnknownModelError, match="Type a model's name"):
        any_model.analyze(name, REPEATING)


def test_a_head_view_shows_the_cells_of_the_asked_or_primary_role(explorer):
    head = explorer.analyze(EMBEDDED_MODEL, REPEATING).role("induction").heads[0].head
    view = explorer.view_head(EMBEDDED_MODEL, REPEATING, head)
    assert view.role == view.primary
    asked = explorer.view_head(EMBEDDED_MODEL, REPEATING, head, ROLES["previous_token"])
    assert asked.expected.nonzero().tolist() == [[q, q - 1] for q in range(2, len(asked.tokens))]
    assert view.pattern.shape == view.expected.shape == (len(view.tokens),) * 2
    assert set(view.readings) == set(ROLES) - {"other"}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda e: e.analyze("gpt5", "x"), UnknownModelError, "no model 'gpt5'"),
        (lambda e: e.analyze(EMBEDDED_MODEL, " "), PromptError, "no text"),
        (lambda e: e.view_head(EMBEDDED_MODEL, "x y z", Head(4, 0)), InvalidInputError, "L4H0 is outside the model"),
    ],
)
def test_wrong_input_is_refused_in_one_sentence(explorer, call, error, message):
    with pytest.raises(error, match=message) as caught:
        call(explorer)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory) -> str:
    """A local model that nobody has published roles for, with a sliding window of 12 tokens in two of its three layers."""
    path = tmp_path_factory.mktemp("models") / "windowed"
    build("gemma3_text").save_pretrained(path)
    tiny.tokenizer.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def pool() -> ModelPool:
    """What is loaded once: a model of no registry is tried out in a process of its own, which takes seconds to start."""
    return ModelPool(Settings().memory_bytes, pinned=[EMBEDDED_MODEL])


@pytest.fixture
def any_model(tmp_path, pool) -> Explorer:
    """With a home that holds nothing yet."""
    return Explorer(Settings(any_model=True, home=tmp_path), pool=pool)


@pytest.mark.processes  # a model of no registry is tried out in others
def test_a_model_without_roles_is_analysed_here_and_then_explored(any_model, folder):
    with pytest.raises(NoHeadCategoriesError, match="There are no roles for .*windowed' yet"):
        any_model.analyze(folder, REPEATING)
    job = any_model.analyze_here(folder)
    record = job.result(PATIENCE)
    assert job.progress.fraction == 1.0
    analysis = any_model.analyze(folder, REPEATING)
    assert analysis.source.kind == "analysed here"
    assert analysis.source.revision == record.revision
    assert (analysis.num_layers, analysis.num_heads) == (3, 4)
    assert any_model.categories(folder) == record


@pytest.mark.processes  # a model of no registry is tried out in others
def test_what_was_analysed_here_is_there_after_a_restart_and_for_its_revision_alone(any_model, folder, tmp_path, tiny):
    record = any_model.analyze_here(folder).result(PATIENCE)
    again = Explorer(any_model.settings)
    assert again.categories(folder) == record
    assert load_head_categories(folder, any_model.settings) == record
    changed = tmp_path / "windowed"
    build("gemma3_text", seed=1).save_pretrained(changed)
    tiny.tokenizer.save_pretrained(changed)
    with pytest.raises(NoHeadCategoriesError):
        again.categories(str(changed))


def hold_up_scoring(monkeypatch) -> SimpleNamespace:
    """Every batch waits until it may go on."""
    events, read = SimpleNamespace(begun=threading.Event(), may_go_on=threading.Event()), PatternReader.read_layers

    def held_up(self: PatternReader, ids: torch.Tensor) -> torch.Tensor:
        if len(ids) > 1:
            events.begun.set()
            assert events.may_go_on.wait(PATIENCE)
        return read(self, ids)

    monkeypatch.setattr(PatternReader, "read_layers", held_up)
    return events


@pytest.mark.processes  # a model of no registry is tried out in others
def test_a_stopped_analysis_keeps_nothing(any_model, folder, tmp_path, monkeypatch):
    scoring = hold_up_scoring(monkeypatch)
    job = any_model.analyze_here(folder)
    assert scoring.begun.wait(PATIENCE)
    job.leave()
    scoring.may_go_on.set()
    with pytest.raises(JobCancelledError, match="stopped on request"):
        job.result(PATIENCE)
    assert not list(tmp_path.rglob("*.json"))
    monkeypatch.undo()
    assert any_model.analyze_here(folder).result(PATIENCE).num_layers == 3


@pytest.mark.processes  # a model of no registry is tried out in others
def test_a_second_visitor_joins_an_analysis_and_the_first_to_stop_does_not_end_it(any_model, folder, monkeypatch):
    scoring = hold_up_scoring(monkeypatch)
    first, second = any_model.analyze_here(folder), any_model.analyze_here(folder)
    assert first is second
    first.leave()
    scoring.may_go_on.set()
    assert second.result(PATIENCE).num_heads == 4


@pytest.mark.processes  # a model of no registry is tried out in others
def test_a_disk_that_does_not_take_the_record_is_said_in_one_sentence(any_model, folder, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(any_model._store, "save", full)
    with pytest.raises(ModelLoadError, match="could not be kept: No space left on device"):
        any_model.analyze_here(folder).result(PATIENCE)


@pytest.mark.processes  # a model of no registry is tried out in others
def test_the_expected_cells_end_where_the_layers_window_does(any_model, folder):
    any_model.analyze_here(folder).result(PATIENCE)
    prompt = " ".join(["The king and the queen lived in a castle."] * 3)
    windowed = any_model.view_head(folder, prompt, Head(0, 0), ROLES["induction"]).expected
    full = any_model.view_head(folder, prompt, Head(1, 0), ROLES["induction"]).expected
    q, k = torch.arange(len(full))[:, None], torch.arange(len(full))[None, :]
    assert torch.equal(windowed, full & (k > q - 12))
    assert full.sum() > windowed.sum() > 0


@pytest.mark.parametrize("name", ["gpt5", "/etc", "nobody/nothing"])
def test_only_registered_models_can_be_named_unless_the_operator_allows_it(explorer, name):
    with pytest.raises(UnknownModelError, match="There is no model"):
        explorer.analyze(name, REPEATING)


def test_a_model_larger_than_the_budget_is_refused_with_both_sizes(folder):
    with pytest.raises(ModelTooLargeError, match="at most 0.0 GB are allowed here"):
        Explorer(Settings(any_model=True, memory_bytes=200_000, home=Path("unused"))).analyze(folder, REPEATING)


def test_the_summary_holds_every_category_in_plain_types_and_agrees_with_analyze(explorer, tiny):
    ids = tiny.encode(REPEATING)
    attention = explorer._use(EMBEDDED_MODEL, lambda reader: explorer._cache.attention(reader, ids))
    summary = get_active_head_summary(attention, EMBEDDED_MODEL)
    assert list(summary) == list(ROLES)
    analysis = explorer.analyze(EMBEDDED_MODEL, REPEATING)
    for name, heads in summary.items():
        for entry, reading in zip(heads, analysis.role(name).heads):
            assert entry == {
                "layer": reading.head.layer,
                "head": reading.head.index,
                "score": reading.score,
                "activation_score": reading.activation,
                "is_active": reading.is_active,
                "excess": reading.excess if reading.is_triggered else None,
                "unusual": reading.is_unusual,
            }
            assert [type(value) for value in entry.values()][:5] == [int, int, float, float, bool]
            assert type(entry["excess"]) is (float if reading.is_triggered else type(None))
    mapping = {"token_ids": list(ids), "patterns": attention.patterns.tolist()}
    assert get_active_head_summary(mapping, EMBEDDED_MODEL)["induction"][0]["layer"] == summary["induction"][0]["layer"]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"patterns": []}, "a mapping with 'token_ids' and 'patterns'"),
        ({"token_ids": [1, 2], "patterns": torch.zeros(2, 2)}, r"patterns must be \[layer, head, query, key\]"),
        ({"token_ids": [1, 2], "patterns": torch.full((4, 8, 2, 2), float("nan"))}, "patterns holds NaN"),
        (None, "activation_data must be an Attention"),
    ],
)
def test_the_summary_refuses_wrong_data_by_name(data, message):
    with pytest.raises(InvalidInputError, match=message):
        get_active_head_summary(data, EMBEDDED_MODEL)
