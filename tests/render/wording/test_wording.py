"""The sentences about a head, for each thing it can do."""

import time
from dataclasses import replace

import pytest
import torch

from headroles.core.heads import Attention, Head
from headroles.core.readings.analysis import HeadView, RecordSource
from headroles.core.readings.verdicts import read_head, read_heads
from headroles.core.records.record_builder import build_record
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.roles import ROLES, get_measured_role, measured_roles
from headroles.jobs import Progress
from headroles.render.wording.head_sentences import describe_head_view, measure_clause
from headroles.render.wording.phrases import percent
from headroles.render.wording.sources import describe_progress, describe_source
from tests.conftest import PLAIN

TOKENS = [1, 2, 3, 4, 1, 2, 3, 4]


def sentence(record, pattern: torch.Tensor, tokens: list[int] = TOKENS, **scores: float) -> str:
    """What is said of a model's only head with these offline scores and this pattern."""
    tables = {role.name: torch.tensor([[scores.get(role.name, 0.0)]]) for role in measured_roles()}
    made = build_record(tables, model_name="m", revision="r", date="2026-01-01", recipe=record.recipe)
    attention = Attention("m", tuple(tokens), tuple(map(str, tokens)), pattern[None, None])
    primary = made.primary_role(Head(0, 0))
    view = HeadView(
        "m",
        "p",
        attention.tokens,
        1,
        1,
        Head(0, 0),
        primary,
        primary,
        pattern,
        pattern > 2,
        read_head(table := read_heads(attention, made), Head(0, 0)),
        table.tokens,
    )
    return describe_head_view(view)


def one_hot(keys: list[int]) -> torch.Tensor:
    return torch.eye(len(keys))[keys]


def test_a_head_at_work(record):
    said = sentence(record, one_hot([0, 0, 0, 0, 1, 2, 3, 4]), induction=0.9)
    assert said == (
        "L0H0 is mainly an induction head (0.90). On this text it is seen doing induction, at 4 of 4 tokens that call for it, "
        "first 1 → 2, 100% (0% otherwise)."
    )


def test_a_head_at_rest_on_the_first_token(record):
    said = sentence(record, one_hot([0] * 8), [1, 2, 3, 4, 5, 6, 7, 8], induction=0.9, positional=0.9)
    assert said == (
        "L0H0 is mainly an induction head (0.90); rests on the first token when nothing repeats (0.90). "
        f"Nothing on this text calls for induction: {get_measured_role('induction').why_inactive} "
        "On this text it rests: 100% of its attention lies on the first token."
    )


def test_a_head_that_does_something_else_here(record):
    said = sentence(record, one_hot([0, 0, 0, 0, 0, 1, 2, 3]), induction=0.9)
    assert (
        "On this text its strong cells coincide with those of duplicate token, at 3 of 4 tokens that call for it, "
        "first 2 → 2, 100% (0% otherwise); offline it scores 0.00 there. On this text it is not seen doing induction"
    ) in said


def test_a_head_that_does_not_do_its_job(record):
    said = sentence(record, torch.eye(8), induction=0.9)
    assert said.endswith(
        "On this text it is not seen doing induction: the most it shows is 1 → 2, 0% (0% otherwise); "
        "at 1 it looks most at that token itself, 100%."
    )


def test_everything_that_a_head_does_and_where_it_rests_is_told_from_its_scores(record):
    said = sentence(record, torch.eye(8), induction=0.9, positional=0.98, duplicate_token=0.31, previous_token=0.25, diffuse=0.9)
    assert said.startswith(
        "L0H0 is mainly an induction head (0.90); rests on the first token when nothing repeats (0.98); "
        "also a little previous token (0.25); also a duplicate token (0.31). "
    )


def test_a_head_without_a_role(record):
    assert sentence(record, torch.eye(8)) == (
        "L0H0 reaches no role's threshold in this model. On this text it is seen in none of the roles that a text calls for."
    )


def test_a_head_without_a_role_that_is_looked_at_for_one(explorer):
    head = next(head for head in explorer.categories(EMBEDDED_MODEL).heads_without_role() if head.layer == 3)
    view = explorer.view_head(EMBEDDED_MODEL, "one two three one two three", head)
    quiet = {name: replace(reading, activation=0.0, is_active=False) for name, reading in view.readings.items()}
    said = describe_head_view(replace(view, role=ROLES["induction"], readings=quiet))
    assert "On this text it is not seen doing induction: the most it shows is" in said


@pytest.mark.parametrize(
    ("share", "said"), [(0, "0%"), (0.001, "<1%"), (0.005, "<1%"), (0.123, "12%"), (0.996, ">99%"), (1.0, "100%")]
)
def test_a_percentage_never_rounds_to_all_or_nothing(share, said):
    assert percent(share) == said


def test_every_role_can_be_said():
    for role in measured_roles():
        assert ("0.50 logits" if role.measure.needs == "outputs" else "50%") in measure_clause(role.measure, 0.5, 0.5, 0.25)
        assert role.measure.definition


@pytest.mark.parametrize(
    ("fraction", "seconds", "words"),
    [
        (0.0, 0.0, "Reading m: 0%."),
        (0.5, 1.0, "Reading m: 50%."),
        (0.5, 4.0, "Reading m: 50%, a few seconds left."),
        (0.5, 40.0, "Reading m: 50%, about 40 seconds left."),
        (0.1, 60.0, "Reading m: 10%, about 9 minutes left."),
    ],
)
def test_progress_in_words_guesses_the_rest_once_there_is_something_to_go_by(fraction, seconds, words):
    assert describe_progress(Progress(fraction, "reading m"), seconds) == words


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            RecordSource("embedded", "2026-01-01", "r"),
            "record that ships with headroles, measured 2026-01-01 with TransformerLens",
        ),
        (
            RecordSource("analysed here", "2026-01-01", "r", reader="PyVene"),
            "analysed here, not published, measured 2026-01-01 with PyVene",
        ),
        (
            RecordSource("published", "2026-01-01", "r", "org/roles", "0123456789abc"),
            "published in org/roles, commit 0123456789,",
        ),
        (
            RecordSource(
                "cached", "2026-01-01", "r", "org/roles", "abc", time.time() - 3 * 86_400 - 60, note="The Hub does not answer."
            ),
            "cached 3 days ago from org/roles, commit abc, measured",
        ),
    ],
)
def test_where_roles_come_from_is_said_with_their_age_and_what_keeps_newer_ones_away(explorer, source, words):
    analysis = explorer.analyze(EMBEDDED_MODEL, PLAIN)
    said = describe_source(replace(analysis, source=source))
    assert words in said
    assert said.endswith(source.note)
