"""A recorded training run: what it says is what its file says, and a file that is none is refused in one sentence."""

import json
import os
from dataclasses import replace

import pytest

from headroles.core.heads import Head
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.roles import get_measured_role, measured_roles
from headroles.core.surveys import training_run as training
from headroles.core.surveys.training_run import MAX_POINTS, Onset, StepBest, TrainingRun, parse_training, read_training
from headroles.errors import InvalidRecordError
from headroles.hub.training_store import RUNS

FILE = RUNS[EMBEDDED_MODEL].path
ROLE = get_measured_role("induction")  # threshold 0.4


@pytest.fixture(scope="module")
def raw() -> list[dict]:
    return [json.loads(line) for line in FILE.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def run() -> TrainingRun:
    return read_training(FILE, EMBEDDED_MODEL)


def content(points: list[dict]) -> bytes:
    return "\n".join(json.dumps(point) for point in points).encode()


def of_scores(run: TrainingRun, *best: float) -> TrainingRun:
    """A run of one role, whose best head has these scores at steps 0, 10, 20, …; the other head has half of it."""
    tables = tuple(((score / 2, score),) for score in best)
    return replace(run, steps=tuple(range(0, 10 * len(best), 10)), roles=(ROLE,), scores={ROLE.name: tables}, losses={})


def test_the_embedded_models_run_says_what_its_file_says(run, raw):
    assert run.steps == tuple(point["step"] for point in raw)
    assert run.losses == {name: tuple(point["losses"][name] for point in raw) for name in raw[0]["losses"]}
    assert [role.name for role in run.roles] == [
        role.name for role in measured_roles() if role.name in raw[0]["record"]["all_scores"]
    ]
    for role in run.roles:
        tables = [point["record"]["all_scores"][role.name] for point in raw]
        assert [[list(row) for row in table] for table in run.scores[role.name]] == tables
        assert [best.score for best in run.best(role)] == [max(map(max, table)) for table in tables]
        assert all(table[head.layer][head.index] == score for table, (head, score) in zip(tables, run.best(role)))
        assert list(run.counts(role)) == [sum(score >= role.threshold for row in table for score in row) for table in tables]


def test_of_equal_heads_the_first_is_the_best(run):
    even = replace(run, scores={ROLE.name: (((0.1, 0.5), (0.5, 0.5)),)}, roles=(ROLE,))
    assert even.best(ROLE) == (StepBest(Head(0, 1), 0.5),)


@pytest.mark.parametrize(
    ("best", "birth"),
    [
        ((0.1, 0.4, 0.5), Onset(0, 10, 10)),
        ((0.1, 0.2, 0.4), Onset(10, 20, 20)),
        ((0.4, 0.4, 0.4), Onset(None, 0, 0)),
        ((0.1, 0.5, 0.3, 0.5), Onset(20, 30, 10)),
        ((0.5, 0.1, 0.2, 0.9), Onset(20, 30, 0)),
        ((0.1, 0.9, 0.39), None),
        ((0.0, 0.0), None),
    ],
)
def test_a_role_appears_after_the_last_point_without_it(run, best, birth):
    assert of_scores(run, *best).onset(ROLE) == birth


@pytest.mark.parametrize("role", [role for role in measured_roles() if role.name in ("previous_token", "induction", "diffuse")])
def test_the_embedded_models_births_are_those_of_its_file(run, raw, role):
    there = [max(map(max, point["record"]["all_scores"][role.name])) >= role.threshold for point in raw]
    birth = run.onset(role)
    at = run.at(birth.step)
    assert all(there[at:])
    assert not there[at - 1]
    assert birth.before == run.steps[at - 1]
    assert birth.first == run.steps[there.index(True)]


def refusal(points: bytes | list[dict], model: str = "") -> str:
    with pytest.raises(InvalidRecordError) as caught:
        parse_training(points if isinstance(points, bytes) else content(points), "a run", model)
    said = str(caught.value)
    assert said.startswith("The training run a run ")
    assert said.endswith(".")
    assert "\n" not in said
    assert len(said) < 600
    return said


@pytest.mark.parametrize(
    ("garbage", "said"),
    [
        (b"", "has 0 points; it must have 2 to 1000"),
        (b"\n\n  \n", "has 0 points"),
        (b"{}", "has 1 points"),
        (b"{}\n{}", "is not valid in line 1 at step: Field required"),
        (b"\n[]\n[]", "is not valid in line 2 at the point"),
        (b"{\n}", "is not valid in line 1, which is no JSON"),
        (b"\xff\xfe\n\xff", "is not valid in line 1, which is no JSON"),
        (b"\x00" * 50 + b"\n1", "is not valid in line 1, which is no JSON"),
        (b"[" * 100_000 + b"\n1", "is not valid in line 1, which is no JSON"),
        (b'{"step": 1e400}\n{}', "is not valid in line 1"),
        (b'{"step": NaN}\n{}', "is not valid in line 1, which is no JSON"),
        (b"<script>alert(1)</script>\n" * 2, "is not valid in line 1, which is no JSON"),
        (b"1\n" * (MAX_POINTS + 1), f"has {MAX_POINTS + 1} points"),
    ],
)
def test_what_is_no_run_is_refused_in_one_sentence(garbage, said):
    assert said in refusal(garbage)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"step": 0}, "line 2: step 0 does not come after step 0"),
        ({"step": -1}, "line 2 at step: Input should be greater than or equal to 0"),
        ({"step": "50"}, "line 2 at step: Input should be a valid integer"),
        ({"step": True}, "line 2 at step: Input should be a valid integer"),
        ({"step": 10**30}, "line 2 at step: Input should be less than"),
        ({"more": 1}, "line 2 at more: Extra inputs"),
        ({"losses": {}}, "line 2: its losses have other names than those before"),
        ({"losses": {"first_pass": 1.0, "second_pass": 1.0, "=1+1": 1.0}}, "line 2 at losses.=1+1"),
        ({"losses": {"first_pass": -1.0}}, "line 2 at losses.first_pass: Input should be greater than"),
        ({"losses": {"first_pass": 1e9}}, "line 2 at losses.first_pass: Input should be less than"),
        ({"losses": {"first_pass": "low"}}, "line 2 at losses.first_pass: Input should be a valid number"),
        ({"losses": {f"loss{number}": 1.0 for number in range(9)}}, "line 2 at losses: Dictionary should have at most 8"),
        ({"record": None}, "line 2 at record: Input should be"),
        ({"record": {}}, "line 2 at record.model_name: Field required"),
    ],
    ids=str,
)
def test_a_point_that_is_wrong_is_refused_with_its_line(raw, change, said):
    assert said in refusal([raw[0], {**raw[1], **change}])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_name": "other"}, "line 2: its record has another model_name than the one before"),
        ({"num_heads": 4}, "line 2 at record: Value error, all_scores"),
        ({"num_layers": 10**9}, "line 2 at record.num_layers"),
        ({"analysis_date": "yesterday"}, "line 2 at record.analysis_date"),
    ],
    ids=str,
)
def test_a_point_with_a_wrong_record_or_one_of_something_else_is_refused(raw, change, said):
    assert said in refusal([raw[0], {**raw[1], "record": {**raw[1]["record"], **change}}])


def test_points_with_other_roles_probes_or_scores_out_of_range_are_refused(raw):
    record = raw[1]["record"]
    fewer = {name: table for name, table in record["all_scores"].items() if name != "diffuse"}
    categories = {name: category for name, category in record["categories"].items() if name != "diffuse"}
    less = {**record, "all_scores": fewer, "categories": categories}
    assert "another scored_roles" in refusal([raw[0], {**raw[1], "record": less}])
    recipe = {**record["recipe"], "seed": 1}
    assert "another recipe" in refusal([raw[0], {**raw[1], "record": {**record, "recipe": recipe}}])
    scores = {**record["all_scores"], "induction": [[7.0] * 8] * 4}
    assert "leave the range of 0 to 1" in refusal([raw[0], {**raw[1], "record": {**record, "all_scores": scores}}])


def test_a_run_of_another_model_and_one_that_is_too_large_are_refused(raw, monkeypatch):
    assert "is one of headroles-tiny, and not of gpt2" in refusal(raw[:2], "gpt2")
    monkeypatch.setattr(training, "MAX_TRAINING_BYTES", 1000)
    assert "has more than 1000 bytes" in refusal(raw[:2])


def test_what_is_no_ordinary_file_is_refused_and_one_that_is_not_there_is_an_os_error(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe):
        with pytest.raises(InvalidRecordError, match="is no ordinary file"):
            read_training(path)
    with pytest.raises(OSError, match="No such file"):
        read_training(tmp_path / "nothing")
