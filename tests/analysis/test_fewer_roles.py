"""The analysis on records that hold fewer roles than this version knows."""

import torch

from analysis import dataset, making, push, validate
from analysis.finished import is_finished
from headroles.core.registry import EMBEDDED_FOLDER, EMBEDDED_MODEL
from headroles.hub.repository import inspect
from headroles.models.probes.probe_texts import ProbeSizes
from tests.analysis.test_dataset import make
from tests.analysis.test_validate import record_of, scores_as_published
from tests.core.records.test_head_categories import without


def test_a_push_tells_of_a_role_that_is_new_in_the_record_or_gone_from_it():
    whole = make("gpt2", seed=1)
    fewer = without(whole, "diffuse")
    assert next(line for line in push.difference(fewer, whole) if "diffuse" in line).startswith("  diffuse: not scored -> ")
    assert next(line for line in push.difference(whole, fewer) if "diffuse" in line).endswith(" -> not scored")
    assert not any("scores change" in line for line in push.difference(fewer, whole))


def test_the_dataset_says_what_is_not_scored_and_has_no_rows_of_it():
    fewer = without(make("gpt2", seed=1), "diffuse")
    assert "| Diffuse | not scored in this record |" in dataset.card([fewer], "org/roles")
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
    record = making.analyze(fresh_tiny, sizes, 5, "cpu")
    asked = EMBEDDED_MODEL, inspect(EMBEDDED_FOLDER), sizes, torch.float32
    assert is_finished(record, *asked)
    assert is_finished(without(record, "diffuse"), *asked) is False
