"""The record: its top-head rule, its round trip, and what it refuses."""

import json
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headroles.core.heads import Head
from headroles.core.records.bootstrap import mean_interval
from headroles.core.records.head_categories import MAX_TOP_HEADS, HeadCategories, Recipe
from headroles.core.records.record_builder import build_record, select_top_heads, with_scores
from headroles.core.records.record_files import MAX_RECORD_BYTES, file_part, parse_record, read_record, record_file_name
from headroles.core.registry import EMBEDDED_MODEL, MODELS
from headroles.core.roles.roles import ROLES, get_measured_role, get_role, measured_roles
from headroles.errors import InvalidInputError, InvalidRecordError
from headroles.hub.record_store import EMBEDDED_RECORDS
from tests.fixtures.known import known

ROLE = get_measured_role("induction")  # threshold 0.4, diversity threshold 0.3


def chosen(scores: list[list[float]]) -> list[tuple[int, int]]:
    return [(top.layer, top.head) for top in select_top_heads(scores, ROLE)]


def test_top_heads_are_those_at_or_above_threshold_best_first():
    assert chosen([[0.9, 0.39], [0.4, 0.1], [0.5, 0.0]]) == [(0, 0), (2, 0), (1, 0)]


def test_no_head_at_threshold_gives_no_top_head():
    assert chosen([[0.39, 0.2]]) == []


def test_at_most_eight_are_kept():
    assert len(chosen([[0.9, 0.8, 0.7], [0.9, 0.8, 0.7], [0.9, 0.8, 0.7], [0.9, 0.8, 0.7]])) == MAX_TOP_HEADS


def test_a_crowded_layer_lets_the_best_head_of_every_other_layer_in():
    scores = [[0.9, 0.8, 0.7], [0.35, 0.32, 0.0], [0.29, 0.0, 0.0], [0.31, 0.0, 0.0]]
    assert chosen(scores) == [(0, 0), (0, 1), (0, 2), (1, 0), (3, 0)]


def test_past_eight_the_weakest_of_the_crowded_layer_give_way():
    crowd = [0.95, 0.94, 0.93, 0.92, 0.91, 0.90, 0.89, 0.88]
    assert chosen([crowd, [0.35] + [0.0] * 7]) == [(0, i) for i in range(7)] + [(1, 0)]


def test_the_best_of_the_crowded_layer_never_gives_way():
    scores = [[0.9 - i / 100 for i in range(9)]] + [[0.31 + layer / 1000] + [0.0] * 8 for layer in range(10)]
    heads = chosen(scores)
    assert heads[0] == (0, 0)
    assert [layer for layer, _ in heads[1:]] == [10, 9, 8, 7, 6, 5, 4]


@given(
    st.integers(1, 6).flatmap(
        lambda heads: st.lists(st.lists(st.floats(0, 1), min_size=heads, max_size=heads), min_size=1, max_size=6)
    )
)
def test_the_rule_holds_for_any_scores(scores):
    heads = chosen(scores)
    values = [scores[layer][head] for layer, head in heads]
    assert len(heads) == len(set(heads)) <= MAX_TOP_HEADS
    assert values == sorted(values, reverse=True)
    assert all(value >= ROLE.diversity_threshold for value in values)
    best = max(max(row) for row in scores)
    assert bool(heads) == (best >= ROLE.threshold)
    assert not heads or values[0] == best


def test_a_record_reads_back_as_it_was_written(record, tmp_path):
    assert parse_record(record.to_json(), "it") == record
    path = tmp_path / "record.json"
    path.write_text(record.to_json())
    assert read_record(path) == record


def without(record: HeadCategories, *names: str) -> HeadCategories:
    """The record as a version that does not know some roles would have made it."""
    data = json.loads(record.to_json())
    for name in names:
        del data["categories"][name], data["all_scores"][name]
    return parse_record(json.dumps(data), "it")


def test_a_record_may_hold_fewer_roles_which_are_then_not_scored(record):
    fewer = without(record, "diffuse")
    assert [role.name for role in fewer.scored_roles] == [name for name in record.all_scores if name != "diffuse"]
    assert fewer.top_heads("diffuse") == ()
    with pytest.raises(InvalidInputError, match=r"does not score diffuse; it scores previous_token, induction"):
        fewer.score("diffuse", "L0H3")
    assert fewer.primary_role("L0H3").name == "other"


def test_a_role_that_only_the_record_knows_is_ignored_and_kept_when_it_is_written_again(record):
    data = json.loads(record.to_json())
    scores = [[-3.5] * record.num_heads for _ in range(record.num_layers)]
    data["categories"]["copying"] = {**data["categories"]["other"], "top_heads": [{"layer": 0, "head": 1, "score": -3.5}]}
    data["all_scores"]["copying"] = scores
    more = parse_record(json.dumps(data), "it")
    assert more.scored_roles == record.scored_roles
    assert more.primary_roles == record.primary_roles
    assert json.loads(more.to_json()) == data


def without_intervals(record: HeadCategories) -> HeadCategories:
    """The record as it was made before scores had intervals."""
    data = json.loads(record.to_json())
    for category in data["categories"].values():
        for top in category["top_heads"]:
            top.pop("interval", None)
    return parse_record(json.dumps(data), "it")


def test_interval_and_calibration_are_optional_and_kept(record):
    data = json.loads(record.to_json())
    data["categories"]["induction"]["top_heads"][0]["interval"] = [0.88, 0.95]
    data["calibration"] = {"induction": {"active_threshold": 0.3, "texts": 40, "null": [0.1, 0.2]}}
    more = parse_record(json.dumps(data), "it")
    assert more.get_calibration(get_role("induction")) == data["calibration"]["induction"]
    assert more.get_calibration(get_role("diffuse")) is None
    assert json.loads(more.to_json()) == data


def test_a_record_of_before_intervals_is_read_and_says_nothing_of_them(record):
    older = without_intervals(record)
    assert all(older.interval(role, head) is None for role in older.scored_roles for head in older.top_heads(role))
    assert older.all_scores == record.all_scores
    assert not older.intervals["induction"]


@pytest.mark.parametrize("model", EMBEDDED_RECORDS)
def test_every_published_score_of_a_shipped_record_has_an_interval_of_some_width(model):
    shipped = read_record(EMBEDDED_RECORDS[model])
    for role in shipped.scored_roles:
        for head in shipped.top_heads(role):
            low, high = known(shipped.interval(role, head))
            assert low < shipped.score(role, head) < high <= low + 0.2, (role.name, head)


def test_a_head_that_stands_for_no_role_has_no_interval_and_one_outside_is_refused(record):
    assert record.interval("Induction", record.top_heads("induction")[0]) is not None
    assert record.interval("induction", "L0H0") is None
    assert record.interval("other", "L0H0") is None
    with pytest.raises(InvalidInputError, match="L9H0 is outside the model"):
        record.interval("induction", "L9H0")


def made_of(by_text: torch.Tensor, how: Recipe, other_layers: Sequence[int] = ()) -> HeadCategories:
    """The record of a model that gives these values, [text, layer, head], in every role."""
    each = {role.name: by_text for role in measured_roles()}
    means = {name: values.mean(0) for name, values in each.items()}
    identity = {"model_name": "m", "revision": "r", "date": "2026-01-01"}
    return build_record(means, **identity, recipe=how, other_layers=other_layers, by_text=each)


def test_an_interval_is_that_of_the_heads_texts_rounded_like_its_score_and_drawn_by_the_recipes_seed(record):
    by_text = 0.85 + 0.1 * torch.rand(12, 3, 2, generator=torch.Generator().manual_seed(0))
    for seed in (0, 1):
        made = made_of(by_text, record.recipe.model_copy(update={"seed": seed}), other_layers=(0, 3))
        for role in made.scored_roles:
            assert len(made.top_heads(role)) == 6
            for head in made.top_heads(role):
                row = {1: 0, 2: 1, 4: 2}[head.layer]  # of the layers that have heads
                expected = mean_interval(by_text[:, row, head.index, None], seed)[0]
                assert known(made.interval(role, head)) == tuple(round(bound, 6) for bound in expected.tolist())
    assert parse_record(made.to_json(), "it") == made


@given(
    rows=st.lists(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=2), min_size=2, max_size=6),
    seed=st.integers(0, 1000),
)
def test_whatever_texts_give_an_interval_holds_its_score_and_the_record_is_valid(rows, seed):
    how = read_record(EMBEDDED_RECORDS[EMBEDDED_MODEL]).recipe.model_copy(update={"seed": seed})
    made = made_of(torch.tensor(rows)[:, None], how)
    for role in made.scored_roles:
        for head in made.top_heads(role):
            low, high = known(made.interval(role, head))
            assert 0 <= low <= made.score(role, head) <= high <= 1
    assert parse_record(made.to_json(), "it") == made


def test_a_second_score_is_kept_beside_the_score_with_its_own_interval(record):
    draw = torch.Generator().manual_seed(0)
    first, second = torch.rand(9, 4, 8, generator=draw), torch.rand(9, 4, 8, generator=draw)
    made = with_scores(record, {"name_mover": first}, {"name_mover": second - 0.5})
    for head in made.top_heads("name_mover"):
        low, high = known(made.second_interval("name_mover", head))
        of_head = second[:, head.layer, head.index] - 0.5
        told = known(made.second_score("name_mover", head))
        assert told == pytest.approx(of_head.mean().item(), abs=1e-5)
        assert low <= told <= high
        assert (low, high) != known(made.interval("name_mover", head))
    assert made.top_heads("name_mover") == with_scores(record, {"name_mover": first}).top_heads("name_mover")
    assert made.second_score("induction", "L0H0") is made.second_interval("induction", "L2H2") is None
    assert made.second_interval("name_mover", "L0H0") is None or Head(0, 0) in made.top_heads("name_mover")
    assert parse_record(made.to_json(), "it") == made
    (row,) = [row for row in made.rows() if (row["role"], row["layer"], row["head"]) == ("name_mover", 1, 2)]
    assert row["second_score"] == made.second_score("name_mover", "L1H2")
    assert made.to_json().index('"second_scores"') > 0
    older = made.model_copy(update={"second_scores": None})
    assert older.second_score("name_mover", "L1H2") is None


def test_one_text_alone_and_no_texts_give_no_interval(record):
    assert made_of(torch.full((1, 1, 1), 0.9), record.recipe).intervals["diffuse"] == {}
    made = build_record(scores_of(induction=0.5), model_name="m", revision="r", date="2026-01-01", recipe=record.recipe)
    assert made.top_heads("induction")
    assert made.intervals["induction"] == {}


def test_a_record_of_the_first_schema_is_read_as_before_and_a_new_one_is_of_the_second(record):
    data = json.loads(record.to_json())
    assert parse_record(json.dumps({**data, "schema_version": 1}), "it").all_scores == record.all_scores
    made = build_record(scores_of(induction=0.5), model_name="m", revision="r", date="2026-01-01", recipe=record.recipe)
    assert json.loads(made.to_json())["schema_version"] == 2


def test_a_record_is_asked_by_names_labels_and_pairs(record):
    assert (
        record.score("induction", "L2H2") == record.score("Induction", (2, 2)) == record.score(get_role("induction"), Head(2, 2))
    )
    assert record.primary_role("l2h2").name == "induction"
    with pytest.raises(InvalidInputError, match="does not score other"):
        record.score(ROLES["other"], Head(0, 0))
    with pytest.raises(InvalidInputError, match="L9H0 is outside the model"):
        record.score("induction", "L9H0")


def test_a_record_is_a_table_of_heads_and_roles_and_short_in_print(record):
    table = record.to_frame()
    assert len(table) == record.num_layers * record.num_heads * len(record.scored_roles)
    best = table[table["role"] == "induction"].sort_values("score").iloc[-1]
    assert (best["layer"], best["head"], best["is_top_head"]) == (2, 2, True)
    assert repr(record) == str(record) == f"HeadCategories('headroles-tiny', 4 x 8 heads, 10 roles, {record.analysis_date})"


def test_a_file_is_named_after_organisation_and_model():
    assert record_file_name("EleutherAI/pythia-70m") == "EleutherAI__pythia-70m.json"
    assert record_file_name("gpt2") == "gpt2.json"
    assert record_file_name("org/a__b.c-d") == "org__a__b.c-d.json"


def test_every_registered_model_keeps_the_file_that_it_has_in_published_datasets():
    assert all(record_file_name(name) == name.replace("/", "__") + ".json" for name in MODELS)


ODD_NAMES = ["a/b__c", "a__b/c", "a__b__c", "a_/b", "a/_b", "a//b", "a/b/c", "a b", "a_b", "a\n", "..", "../a", "/", "", "\x00"]
ODD_NAMES += ["x" * 400, "x" * 401, "a~b", "\u00e9", "e\u0301", "a:b", "a*b", "a/b__c.json", "nul\\a", ".a", "_a", "-a", "\ud800"]
ODD_NAMES += ["\U0001f642" * 60]


def test_no_two_names_share_a_file_and_each_is_one_that_disks_take(tmp_path):
    names = [record_file_name(name) for name in ODD_NAMES]
    assert len(set(names)) == len(names)
    for name in names:
        (tmp_path / name).write_text("")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names)


@given(one=st.text(alphabet="ab_/.-~", max_size=8), other=st.text(alphabet="ab_/.-~", max_size=8))
def test_names_that_differ_differ_as_files_and_as_parts_of_files(one, other):
    assert (one == other) == (record_file_name(one) == record_file_name(other)) == (file_part(one) == file_part(other))


@given(one=st.text(alphabet="aAbB/_", max_size=5), other=st.text(alphabet="aAbB/_", max_size=5))
def test_parts_of_files_differ_where_capitals_are_small_letters_too(one, other):
    assert (one == other) == (file_part(one).lower() == file_part(other).lower())


def scores_of(**cells: float) -> dict[str, torch.Tensor]:
    """Scores of a model of one head: 0 but where given."""
    return {role.name: torch.tensor([[cells.get(role.name, 0.0)]]) for role in measured_roles()}


@pytest.mark.parametrize(
    ("scores", "primary"),
    [
        ({"induction": 0.5, "positional": 0.95}, "induction"),
        ({"previous_token": 0.5, "induction": 0.6}, "induction"),
        ({"positional": 0.6, "diffuse": 0.85}, "diffuse"),
        ({"positional": 0.9, "duplicate_token": 0.29}, "positional"),
        ({"induction": 0.39, "positional": 0.49, "diffuse": 0.79}, "other"),
    ],
)
def test_a_content_role_is_primary_even_where_the_head_rests_on_the_first_token(record, scores, primary):
    made = build_record(scores_of(**scores), model_name="m", revision="r", date="2026-01-01", recipe=record.recipe)
    assert made.primary_role(Head(0, 0)).name == primary
    assert made.heads_without_role() == ((Head(0, 0),) if primary == "other" else ())


def broken(**changes) -> Callable[[dict], None]:
    def change(data: dict) -> None:
        for path, value in changes.items():
            *parents, last = path.split("__")
            target = data
            for parent in parents:
                target = target[int(parent) if parent.isdigit() else parent]
            target[int(last) if last.isdigit() else last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (broken(schema_version=3), "schema_version"),
        (broken(num_layers=-1), "num_layers"),
        (broken(num_layers=7), "are not 7 layers x 8 heads"),
        (broken(model_name="x" * 501), "model_name"),
        (broken(model_name=3), "model_name"),
        (broken(analysis_date="yesterday"), "analysis_date"),
        (broken(unknown=1), "unknown"),
        (broken(all_scores__induction__0__0=float("nan")), "induction"),
        (broken(all_scores__induction__0__0=1e308), "induction"),
        (broken(all_scores__induction__0__0=-0.1), "induction"),
        (broken(all_scores__induction__0__0="<script>"), "induction"),
        (broken(all_scores__induction__0__0=1.1), "all_scores of induction leave the range of 0 to 1"),
        (broken(calibration={"induction": {"x": float("inf")}}), "Out of range float"),
        (broken(calibration={f"role {number}": {} for number in range(65)}), "calibration"),
        (broken(all_scores={}), "previous_token has no scores and so no top heads"),
        (broken(categories={}), "has scores and no category"),
        (broken(categories__diffuse__top_heads=[{"layer": 9, "head": 0, "score": 0.9}]), "outside the model"),
        (broken(categories__diffuse__top_heads=[{"layer": -1, "head": 0, "score": 0.9}]), "layer"),
        (broken(categories__diffuse__top_heads=[{"layer": 0, "head": 0, "score": 0.123}]), "another score in all_scores"),
        (broken(categories__diffuse__top_heads__0__interval=[0.9]), "interval"),
        (broken(categories__diffuse__top_heads__0__interval=[0.95, 0.85]), "of L0H3 in diffuse does not hold its score"),
        (broken(categories__diffuse__top_heads__0__interval=[0.95, 0.96]), "of L0H3 in diffuse does not hold its score"),
        (broken(categories__diffuse__top_heads__0__interval=[0.85, 1.01]), "of L0H3 in diffuse leaves the range of its measure"),
        (broken(categories__diffuse__top_heads__0__interval=[float("nan"), 1.0]), "interval"),
        (
            broken(categories__diffuse__top_heads__0__second_interval=[0.1, 0.2]),
            "second interval of L0H3 in diffuse has no second score",
        ),
        (broken(second_scores={"successor": [[0.5] * 8] * 3}), "successor are not 4 layers x 8 heads"),
        (broken(second_scores={"successor": [[1.5] * 8] * 4}), "second_scores of successor leave the range of 0 to 1"),
        (broken(second_scores={"nobody": [[0.5] * 8] * 4}), "nobody has scores and no category"),
        (broken(categories__other__top_heads=[{"layer": 0, "head": 0, "score": 0.1}]), "no scores and so no top heads"),
    ],
)
def test_a_broken_record_is_refused_by_name_with_the_place(record, change, message):
    data = json.loads(record.to_json())
    change(data)
    with pytest.raises(InvalidRecordError, match="The record it.json is not valid at") as caught:
        parse_record(json.dumps(data), "it.json")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("text", ["", "null", "[]", "{", '{"a": ' * 1000, "\x00", b"\xff\xfe"])
def test_what_is_no_record_is_refused(text):
    with pytest.raises(InvalidRecordError, match="The record it.json"):
        parse_record(text, "it.json")


def test_a_huge_file_is_refused_without_reading_it_whole(tmp_path):
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(200 * 1024 * 1024)
    with pytest.raises(InvalidRecordError, match=f"at most {MAX_RECORD_BYTES} are read"):
        read_record(path)
