"""The whole way from a prompt to an Analysis: the claims a visitor relies on."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import headroles
from headroles import Explorer, Head, get_active_head_summary, load_head_categories
from headroles.capture import PatternReader
from headroles.errors import (
    InvalidInputError,
    InvalidRecordError,
    NoHeadCategoriesError,
    PromptError,
    UnknownModelError,
)
from headroles.models import EMBEDDED_MODEL
from headroles.roles import ROLES
from headroles.store import check_belongs
from tests.conftest import PLAIN, REPEATING


def test_the_public_names_are_importable_from_the_package():
    for name in ("Explorer", "load_head_categories", "verify_head_activation", "get_active_head_summary"):
        assert callable(getattr(headroles, name))


def test_induction_is_active_on_a_repeat_and_not_applicable_without_one(explorer):
    assert explorer.analyze(EMBEDDED_MODEL, REPEATING).role("induction").is_active
    plain = explorer.analyze(EMBEDDED_MODEL, "She opened a door and saw my small garden.").role("induction")
    assert not plain.applicable
    assert not plain.is_active


@pytest.mark.parametrize("role", [role for role in ROLES.values() if role.suggested_prompt], ids=lambda role: role.name)
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


def test_the_pattern_cache_stays_within_its_bytes():
    explorer = Explorer(cache_bytes=300_000)
    for number in range(12):
        explorer.analyze(EMBEDDED_MODEL, PLAIN + " And" * number)
    assert 0 < explorer._patterns.currsize <= 300_000
    assert Explorer(cache_bytes=10).analyze(EMBEDDED_MODEL, PLAIN) == explorer.analyze(EMBEDDED_MODEL, PLAIN)


def test_eight_threads_with_different_prompts_get_the_single_threaded_answers():
    words = ["cat", "dog", "queen", "man", "boy", "tree", "house", "door", "garden", "night"]
    prompts = [f"{REPEATING} {word}" for word in words] * 4
    alone = [Explorer(cache_bytes=0).analyze(EMBEDDED_MODEL, prompt) for prompt in prompts[:10]]
    explorer = Explorer(cache_bytes=100_000)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda prompt: explorer.analyze(EMBEDDED_MODEL, prompt), prompts))
    assert together == alone * 4


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


def test_a_model_without_a_record_says_which_have_one_and_how_to_make_one():
    with pytest.raises(
        NoHeadCategoriesError, match=r"no roles for 'gpt2'; there are some for headroles-tiny.*python -m analysis"
    ):
        load_head_categories("gpt2")


def test_a_record_of_other_tokens_is_refused(record, tiny):
    check_belongs(record, tiny)
    other_bos = record.model_copy(update={"recipe": record.recipe.model_copy(update={"prepend_bos": False})})
    with pytest.raises(InvalidRecordError, match="measured without a BOS token, but its tokenizer works with one"):
        check_belongs(other_bos, tiny)
    other_words = record.model_copy(update={"recipe": record.recipe.model_copy(update={"tokenizer_sha256": "0"})})
    with pytest.raises(InvalidRecordError, match="another tokenizer"):
        check_belongs(other_words, tiny)


def test_the_summary_holds_every_category_in_plain_types_and_agrees_with_analyze(explorer, tiny):
    ids = tiny.encode(REPEATING)
    attention = explorer._attention(explorer._get(EMBEDDED_MODEL), REPEATING)
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
            }
            assert [type(value) for value in entry.values()] == [int, int, float, float, bool]
    mapping = {"token_ids": list(ids), "patterns": attention.patterns.tolist()}
    assert get_active_head_summary(mapping, EMBEDDED_MODEL)["induction"][0]["layer"] == summary["induction"][0]["layer"]


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
