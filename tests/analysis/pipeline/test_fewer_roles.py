"""The analysis on records that hold fewer roles than this version knows."""

import torch

from analysis.checks import validate
from analysis.pipeline import pipeline
from analysis.pipeline.up_to_date import is_up_to_date
from analysis.publish import dataset_card
from analysis.publish import dataset_files as dataset
from analysis.publish import record_push as push
from headroles.core.registry import EMBEDDED_FOLDER, EMBEDDED_MODEL
from headroles.hub.repository import inspect
from headroles.models.probes.probe_texts import ProbeSizes
from tests.analysis.checks.test_validate import record_of, scores_as_published
from tests.analysis.publish.test_dataset_files import make
from tests.core.records.test_head_categories import without


def test_a_push_tells_of_a_role_that_is_new_in_the_record_or_gone_from_it():
    whole = make("gpt2", seed=1)
    fewer = without(whole, "diffuse")
    assert next(line for line in push.difference(fewer, whole) if "diffuse" in line).startswith("  diffuse: not scored -> ")
    assert next(line for line in push.difference(whole, fewer) if "diffuse" in line).endswith(" -> not scored")
    assert not any("scores change" in line for line in push.difference(fewer, whole))


def test_the_dataset_says_what_is_not_scored_and_has_no_rows_of_it():
    fewer = without(make("gpt2", seed=1), "diffuse")
    assert "| Diffuse | not scored in this record |" in dataset_card.card([fewer], "org/roles")
    assert "diffuse" not in dataset.rows(fewer)["role"].to_pylist()


def test_what_is_published_of_a_role_that_the_record_does_not_score_is_left_open():
    fewer = without(record_of(scores_as_published()), "induction", "positional")
    verdicts = validate.validate(fewer)
    open_roles = {verdict.claim.role for verdict in verdicts if verdict.agrees is None}
    assert {"induction", "positional"} & open_roles
    assert all(verdict.ours is None for verdict in verdicts if verdict.claim.role in ("induction", "positional"))
    report = validate.report(fewer, verdicts)
    assert "  ours: not scored in this record" in report
    assert "that this record does not score." in report


def test_a_record_that_lacks_a_role_is_not_finished(fresh_tiny):
    sizes = ProbeSizes(repeated_sequences=2, repeat_length=10, sentences=2, calibration=0)
    record = pipeline.score_with_lens(fresh_tiny, sizes, 5, "cpu")
    asked = EMBEDDED_MODEL, inspect(EMBEDDED_FOLDER), sizes, torch.float32
    assert is_up_to_date(record, *asked)
    assert is_up_to_date(without(record, "diffuse"), *asked) is False
