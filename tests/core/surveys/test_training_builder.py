"""A training run out of records of many revisions: which make one, in what order, and how a new one adds its point."""

import pytest

from headroles.core.records.head_categories import HeadCategories
from headroles.core.registry import EMBEDDED_FOLDER
from headroles.core.surveys import training_builder as training_making
from headroles.core.surveys.training_builder import (
    build_run_from_records,
    make_point,
    merge_points,
    points_to_lines,
    run_file_name,
    split_step,
)
from headroles.core.surveys.training_run import Onset, parse_points, parse_training
from headroles.errors import InvalidRecordError


def of_step(record, step: int, model: str = "org/m", **changes) -> HeadCategories:
    return record.model_copy(update={"model_name": f"{model}@step{step}", "revision": f"commit{step}", **changes})


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("EleutherAI/pythia-160m@step1000", ("EleutherAI/pythia-160m", 1000)),
        ("m@step0", ("m", 0)),
        ("HuggingFaceTB/SmolLM3@step-40000", ("HuggingFaceTB/SmolLM3", 40000)),
        ("allenai/OLMo-1B@step1000-tokens4B", ("allenai/OLMo-1B", 1000)),
        ("org/m", None),
        ("org/m@main", None),
        ("@step1", None),
        ("org/m@step", None),
        ("org/m@step1000x", None),
        ("org/m@step1000000000000000", None),
        ("org/m@step٣", None),
    ],
)
def test_a_name_tells_its_step_or_none(name, found):
    assert split_step(name) == found


def test_records_of_revisions_in_any_order_make_the_run_that_their_scores_say_without_losses(record):
    lower = {name: [[0.0] * record.num_heads] * record.num_layers for name in record.all_scores}
    bare = {name: category.model_copy(update={"top_heads": []}) for name, category in record.categories.items()}
    first = of_step(record, 0, all_scores=lower, categories=bare, second_scores=None)
    run = build_run_from_records([of_step(record, 1000), first, of_step(record, 64)])
    assert (run.model, run.steps, run.losses, run.phases) == ("org/m", (0, 64, 1000), {}, ())
    assert (run.num_layers, run.num_heads, run.roles) == (record.num_layers, record.num_heads, record.scored_roles)
    role = run.roles[0]
    assert run.scores[role.name][1] == record.score_table[role.name]
    assert run.primary[2] == record.primary_roles
    assert run.onset(role) == Onset(0, 64, 64)


def test_a_point_leaves_out_what_a_run_does_not_show_and_its_file_reads_back(record):
    points = merge_points((), [make_point(of_step(record, step)) for step in (1, 0)])
    content = points_to_lines(points)
    assert len(content) < len(record.to_json())
    assert all(word not in content for word in (b"calibration", b'"effects"'))
    assert parse_points(content, "a run", "org/m") == points
    assert parse_training(content, "a run").steps == (0, 1)
    assert points[1].record.revision == "commit1"


def test_a_new_revision_adds_its_point_and_takes_the_place_of_the_one_of_its_step(record):
    shipped = parse_points((EMBEDDED_FOLDER / "training.jsonl").read_bytes(), "a run")
    old = [make_point(of_step(record, step)) for step in (0, 10)]
    newer = make_point(of_step(record, 10, analysis_date="2027-01-01"))
    points = merge_points(old, [newer, make_point(of_step(record, 5))])
    assert [(point.step, point.record.analysis_date) for point in points] == [
        (0, record.analysis_date),
        (5, record.analysis_date),
        (10, "2027-01-01"),
    ]
    with pytest.raises(InvalidRecordError, match=r"its losses have other names than those before; analyse all its steps"):
        merge_points(shipped, [make_point(of_step(record, 10**6, "headroles-tiny"))])


def test_what_makes_no_run_is_refused_in_a_sentence(record, monkeypatch):
    other = {"recipe": record.recipe.model_copy(update={"seed": 7})}
    for records, said in (
        ([], "A training run takes the records of two steps or more."),
        ([of_step(record, 0)], "takes the records of two steps or more"),
        ([of_step(record, 0), record], "is of no step of a training; its name must end in a revision, as @step1000"),
        ([of_step(record, 0), of_step(record, 0)], "Two of the records are of the same step"),
        ([of_step(record, 0), of_step(record, 1, "org/other")], "its record has another model_name than the one before"),
        (
            [of_step(record, 0), of_step(record, 1, **other)],
            "Step 1 and step 0 of org/m make no training run: its record",
        ),
    ):
        with pytest.raises(InvalidRecordError, match=said):
            build_run_from_records(records)
    points = merge_points((), [make_point(of_step(record, step)) for step in range(3)])
    monkeypatch.setattr(training_making, "MAX_TRAINING_BYTES", 1000)
    monkeypatch.setattr(training_making, "MAX_POINTS", 2)
    with pytest.raises(InvalidRecordError, match="at most 1,000 are read, so leave some steps out"):
        points_to_lines(points)
    with pytest.raises(InvalidRecordError, match="There are 3 points; a training run may have 2"):
        merge_points((), points)


def test_the_file_of_a_run_is_called_as_that_of_a_record_is():
    assert run_file_name("EleutherAI/pythia-160m") == "EleutherAI__pythia-160m.jsonl"
    assert "/" not in run_file_name("../../evil\n")
    assert len(run_file_name("a" * 500)) < 200
