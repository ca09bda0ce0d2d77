"""The training tab: its words are what the recorded numbers bear out, its curves and its map are those numbers."""

import base64
import json
import re
from dataclasses import replace
from itertools import pairwise

import pytest

from headroles.core.registry import EMBEDDED_FOLDER, EMBEDDED_MODEL
from headroles.core.roles.roles import ROLES, get_measured_role, measured_roles
from headroles.core.surveys.training_run import TrainingRun
from headroles.hub.training_store import RUNS
from headroles.render.html import ASSETS
from headroles.render.page.model_map import NO_SCORE
from headroles.render.surveys.training import CELL, RecordedRun, pack_run, render_training
from headroles.render.surveys.training_chart import BOTTOM, LEFT, RIGHT, START, TOP, Axis, Scale, training_charts
from headroles.render.surveys.training_text import tell_birth, tell_lesson, tell_not_scored, tell_source, tell_untrained
from tests.fixtures.known import known
from tests.fixtures.outline import Outline
from tests.fixtures.shipped import find_run

PREVIOUS, INDUCTION = get_measured_role("previous_token"), get_measured_role("induction")


@pytest.fixture(scope="module")
def run() -> TrainingRun:
    return find_run(EMBEDDED_MODEL)


@pytest.fixture(scope="module")
def drawn(run) -> str:
    return render_training(RecordedRun(EMBEDDED_MODEL, run))


@pytest.fixture(scope="module")
def raw() -> dict[int, dict]:
    """The file's own points, by step."""
    points = [json.loads(line) for line in RUNS[EMBEDDED_MODEL].path.read_text("utf-8").splitlines()]
    return {point["step"]: point for point in points}


def best(point: dict, role: str) -> float:
    return max(map(max, point["record"]["all_scores"][role]))


# ---- the lesson: each claim again, from the file alone


def test_previous_token_heads_are_there_for_good_before_induction_heads(run, raw):
    order, _, _ = tell_lesson(run)
    assert "Previous Token heads are there for good between step 1,150 and 1,200" in order
    assert "Induction heads only between step 1,450 and 1,500" in order
    assert best(raw[1150], "previous_token") < PREVIOUS.threshold
    assert all(best(point, "previous_token") >= PREVIOUS.threshold for step, point in raw.items() if step >= 1200)
    assert all(best(point, "induction") < INDUCTION.threshold for step, point in raw.items() if step <= 1450)
    assert all(best(point, "induction") >= INDUCTION.threshold for step, point in raw.items() if step >= 1500)
    assert "the best of the first, L1H6, lies in an earlier layer than the best of the second, L2H2" in order
    scores = raw[4100]["record"]["all_scores"]
    assert scores["previous_token"][1][6] == best(raw[4100], "previous_token")
    assert scores["induction"][2][2] == best(raw[4100], "induction")


def test_the_loss_on_repeats_falls_where_induction_appears_and_more_than_anywhere_else(run, raw):
    _, fall, _ = tell_lesson(run)
    before, after, last = (raw[step]["losses"] for step in (1450, 1500, 4100))
    assert f"second time falls: {before['second_pass']:.2f} to {after['second_pass']:.2f} nats a token" in fall
    assert f"On their first time it goes from {before['first_pass']:.2f} to {after['first_pass']:.2f}" in fall
    again = [point["losses"]["second_pass"] for point in raw.values()]
    assert before["second_pass"] - after["second_pass"] == max(one - other for one, other in pairwise(again))
    assert "more than between any other two neighbouring points" in fall
    saved = [losses["first_pass"] - losses["second_pass"] for losses in (before, after, last)]
    assert f"saves {saved[0]:.2f} nats a token at step 1,450, {saved[1]:.2f} at step 1,500 and {saved[2]:.2f} at the last" in fall


def test_the_lesson_says_that_what_it_read_changed_there_too(run):
    _, _, caution = tell_lesson(run)
    assert "does not say that one makes the other" in caution
    assert "from step 1,450 on random strings of all tokens" in caution


def test_before_training_every_head_is_told_to_look_at_everything_alike(run, raw):
    assert all(score >= ROLES["diffuse"].threshold for row in raw[0]["record"]["all_scores"]["diffuse"] for score in row)
    assert tell_untrained(run).startswith("At step 0, before any training, all 32 heads reach the threshold of Diffuse")
    assert tell_untrained(replace(run, steps=tuple(step + 1 for step in run.steps))) == ""


def with_scores(run: TrainingRun, **best: tuple[float, ...]) -> TrainingRun:
    """A run of two heads, of which the second has these scores in the role at steps 0, 10, 20, …"""
    count = len(next(iter(best.values())))
    tables = {name: tuple(((0.0, score),) for score in scores) for name, scores in best.items()}
    roles = tuple(role for role in measured_roles() if role.name in best)
    primary = tuple(((ROLES["other"], ROLES["other"]),) for _ in range(count))
    losses = {name: tuple(5.0 - step for step in range(count)) for name in ("first_pass", "second_pass")}
    shape = {"num_layers": 1, "num_heads": 2, "layers": (0,), "phases": ()}
    return replace(
        run, steps=tuple(range(0, 10 * count, 10)), roles=roles, scores=tables, primary=primary, losses=losses, **shape
    )


@pytest.mark.parametrize(
    ("previous", "induction", "said"),
    [
        ((0.1, 0.5, 0.5), (0.1, 0.1, 0.5), "Previous Token heads are there for good between step 0 and 10, Induction heads only"),
        ((0.1, 0.1, 0.5), (0.1, 0.5, 0.5), "Induction heads are there for good between step 0 and 10, before Previous Token"),
        ((0.1, 0.5, 0.5), (0.1, 0.5, 0.5), "appear between the same recorded steps: this run does not tell which come first"),
        ((0.1, 0.5, 0.1), (0.1, 0.5, 0.5), "Previous Token heads do not stay in this run"),
        ((0.1, 0.1, 0.1), (0.1, 0.1, 0.1), "Previous Token and Induction heads do not stay in this run"),
        ((0.5, 0.5, 0.5), (0.1, 0.1, 0.5), "from the first recorded step on, 0, Induction heads only between step 10 and 20"),
    ],
)
def test_of_another_run_it_says_no_more_than_that_run_shows(run, previous, induction, said):
    lesson = tell_lesson(with_scores(run, previous_token=previous, induction=induction))
    assert said in lesson[0]
    assert not any("What it read changed" in words for words in lesson)
    assert not any("more than between any other" in words for words in lesson) or induction[0] < 0.4


def test_a_run_without_losses_or_without_these_roles_says_nothing_of_them(run):
    bare = replace(with_scores(run, diffuse=(0.9, 0.9)), losses={})
    assert tell_lesson(bare) == (
        "Previous Token and Induction heads do not stay in this run, so it says nothing of which of Previous Token and Induction "
        "comes first.",
    )
    drawn = render_training(RecordedRun("bare", bare))
    assert "Loss" not in drawn
    assert "falls" not in drawn
    assert "data-out" not in drawn
    assert "No losses were recorded in this run" in drawn
    assert len(training_charts(bare)) == 2
    assert tell_lesson(replace(run, losses={}))[1:] == ("Whether the model needs these heads, only taking them out tells:",)


def test_where_a_run_comes_from_and_what_kept_a_newer_one_away_stands_there(run):
    source = replace(known(run.source), kind="published", dataset="org/roles", commit="abcdef012345", note="The <Hub> is away.")
    drawn = render_training(RecordedRun("m", replace(run, source=source)))
    assert "published in org/roles, commit abcdef0123. The &lt;Hub&gt; is away." in drawn
    assert tell_source(run) == f"Scored {run.analysis_date} with {run.reader}; run that ships with headroles."


def test_when_each_role_appears_stands_there_in_words(run, drawn):
    text = Outline(drawn).text
    for role in run.roles:
        assert f"{role.display_name}: {tell_birth(run.onset(role))} (threshold {role.threshold})" in text
    assert tell_birth(run.onset(PREVIOUS)) == "between step 1,150 and 1,200; for a while from step 900 on"
    assert tell_birth(run.onset(INDUCTION)) == "between step 1,450 and 1,500"
    assert tell_birth(None) == "not there at the last recorded step"


def test_the_roles_that_the_run_does_not_score_are_named(run):
    missing = [role.display_name for role in measured_roles() if role not in run.roles]
    assert missing
    assert all(name in tell_not_scored(run) for name in missing)


# ---- the curves


def read(points: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in points.split())]


def test_the_curves_of_the_losses_end_where_the_model_card_says(run):
    """The card reads all of the held-out prose, a point 64 windows of it."""
    card = (EMBEDDED_FOLDER / "README.md").read_text("utf-8")
    rows = {"first time": "random strings, first time", "second time": "random strings, second time", "prose": "held-out prose"}
    said = [float(known(re.search(rf"^\| {told}.*\| ([\d.]+) \|$", card, re.M))[1]) for told in rows.values()]
    losses = training_charts(run)[2]
    top = max(max(values) for values in run.losses.values())
    for line, told, within in zip(losses.lines, said, (0.03, 0.03, 0.08)):
        x, y = read(line.points)[-1]
        assert x == RIGHT
        assert (BOTTOM - y) / (BOTTOM - TOP) * top == pytest.approx(told, abs=within), line.name
    assert [f"{run.losses[name][-1]:.2f}" for name in ("first_pass", "second_pass")] == [f"{told:.2f}" for told in said[:2]]


def test_every_point_of_a_curve_is_its_number(run):
    score, heads, losses = training_charts(run)
    most = max(max(run.counts(role)) for role in run.roles)
    for role, one, other in zip(run.roles, score.lines, heads.lines):
        assert one.role == other.role == role
        for (x, y), (_, down), found, count in zip(read(one.points), read(other.points), run.best(role), run.counts(role)):
            assert LEFT <= x <= RIGHT
            assert (BOTTOM - y) / (BOTTOM - TOP) == pytest.approx(found.score, abs=0.001)
            assert ((BOTTOM - down) / (BOTTOM - TOP)) ** 2 * most == pytest.approx(count, abs=0.05)
        at = run.at(known(run.onset(role)).step)
        assert one.birth == read(one.points)[at]
        assert len({point for point in one.marks if point in read(one.points)}) == len(one.marks) >= 5
    assert [line.dash for line in losses.lines] == ["", "7 4", "2 3"]


def test_steps_stand_by_their_logarithm_and_step_0_apart():
    axis = Axis.of([0, 10, 100, 1000])
    assert [axis.at(step) for step in (0, 10, 1000)] == [LEFT, LEFT + START, RIGHT]
    assert axis.at(100) == pytest.approx((LEFT + START + RIGHT) / 2)
    assert axis.named() == [0, 10, 20, 50, 100, 200, 500, 1000]
    assert Axis.of([1, 143_000]).named() == [1, 10, 100, 1000, 10_000, 100_000]
    assert Axis.of([1, 143_000]).at(1) == LEFT
    for steps in ([0, 7], [0, 3, 4], [7, 9]):
        places = [Axis.of(steps).at(step) for step in steps]
        assert places == sorted(places)
        assert Axis.of(steps).named()


def test_numbers_beside_the_axes_are_round_and_few():
    assert Scale(1.0, 2).named() == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert Scale(10.5, 2).named() == [0, 2, 4, 6, 8, 10]
    assert Scale(32, 0, is_root=True).named() == [0, 1, 2, 5, 10, 20]
    for top in (0.001, 0.3, 7, 99, 1e4):
        assert 3 <= len(Scale(top, 2).named()) <= 8
    assert Scale(0, 0).named() == [0]
    assert Scale(0, 0).at(0) == BOTTOM


def test_every_curve_is_told_in_words_with_its_first_last_least_and_most(run, drawn):
    pictures = Outline(drawn).find(role="img")
    assert [picture["aria-label"] for picture in pictures] == [chart.told for chart in training_charts(run)]
    assert "Induction 0.01 at first, 0.91 at last, between 0.01 and 0.94" in pictures[0]["aria-label"]
    assert "random strings, second time 8.08 at first, 0.24 at last" in pictures[2]["aria-label"]


# ---- the map


def test_the_script_gets_every_heads_main_role_its_filling_and_score_at_every_point(run):
    cells = list(CELL.iter_unpack(base64.b64decode(pack_run(run))))
    heads = [(point, layer, head) for point in range(len(run.steps)) for layer in run.layers for head in range(run.num_heads)]
    assert len(cells) == len(heads)
    for (role, filling, score), (point, layer, head) in zip(cells, heads):
        name = list(ROLES)[role]
        assert name == run.primary[point][layer][head].name
        if name == "other":
            assert (filling, score) == (100, NO_SCORE)
        else:
            exact = run.scores[name][point][layer][head]
            assert score / 100 == pytest.approx(exact, abs=0.00501)
            assert filling == round(ROLES[name].fill(exact) * 100)


def test_a_role_says_itself_how_full_its_shape_is():
    """Also in logits, of which a bar is full long before the largest that there can be."""
    assert (ROLES["name_mover"].fill(0.75), ROLES["induction"].fill(0.75), ROLES["other"].fill(0.0)) == (0.5, 0.75, 1.0)
    assert ROLES["other"].second is ROLES["induction"].second is None


def test_the_table_shows_the_last_point_and_its_rows_are_those_that_the_script_fills(run, drawn):
    outline = Outline(drawn)
    (grid,) = [attributes for _, attributes in outline.elements if "data-run" in attributes]
    shown = json.loads(grid["data-known"])
    assert [row["data-role"] for row in outline.find() if "data-role" in row] == [role.name for role in run.roles]
    assert [row["data-loss"] for row in outline.find() if "data-loss" in row] == list(run.losses)
    assert shown["steps"] == list(run.steps)
    assert len(shown["best"]) == len(run.roles)
    for role, row in zip(run.roles, shown["best"]):
        found = run.best(role)[-1]
        assert row[-1] == [found.head.layer, found.head.index, round(found.score * 100), run.counts(role)[-1]]
    assert [row[-1] for row in shown["losses"]] == [817, 24, 420]


def test_the_script_counts_bytes_as_they_are_packed():
    script = (ASSETS / "training.js").read_text("utf-8")
    assert f"HEAD_BYTES = {CELL.size};" in script


# ---- the page


def test_it_stays_small_and_shows_no_layout(drawn):
    assert "\n" not in drawn
    assert "  " not in drawn
    assert len(drawn) < 50_000  # asked for when the tab is opened


def test_a_model_without_a_run_is_told_in_one_sentence():
    outline = Outline(render_training(RecordedRun("gpt2", None, "Nobody has recorded it.")))
    assert outline.text == "Nobody has recorded it."
    assert outline.find(class_="hr-training")[0]["data-model"] == "gpt2"


@pytest.mark.parametrize("attack", ['"><script>alert(1)</script>', "' onload='alert(1)", "{{7*7}} &lt;b&gt;"])
def test_no_name_of_a_model_is_markup(run, attack):
    plain, hostile = (Outline(render_training(RecordedRun(name, replace(run, model=name)))) for name in ("word", attack))
    assert [(tag, list(attributes)) for tag, attributes in hostile.elements] == [
        (tag, list(attributes)) for tag, attributes in plain.elements
    ]
    assert f"How the roles of {attack} came to be" in hostile.text
