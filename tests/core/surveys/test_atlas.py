"""The atlas: its rows are what the records say, and it says no more than so many models bear out."""

import json
import math

import pytest

from bench.unusual import false_alarms
from headroles.core.readings.comparison import DEPTH_BINS
from headroles.core.records.head_categories import HeadCategories
from headroles.core.registry import EMBEDDED_MODEL, MODELS
from headroles.core.roles.roles import get_measured_role, measured_roles
from headroles.core.surveys import atlas_entries
from headroles.core.surveys.atlas import FEW, MIN_FOR_UNUSUAL, Atlas, Spread, build_atlas, compute_spread, spreads_by_depth
from headroles.core.surveys.atlas_entries import (
    AtlasEntry,
    entries_to_lines,
    known_entries,
    make_entry,
    parse_entries,
    update_entries,
)
from headroles.errors import InvalidRecordError
from headroles.hub.record_store import embedded_records
from tests.fixtures.known import known
from tests.fixtures.made_up import FAMILIES, made_up, with_share

ROLE = get_measured_role("induction")


@pytest.fixture(scope="module")
def records() -> tuple[HeadCategories, ...]:
    return made_up()


@pytest.fixture(scope="module")
def entries(records) -> tuple[AtlasEntry, ...]:
    return tuple(map(make_entry, records))


@pytest.fixture(scope="module")
def atlas(entries) -> Atlas:
    return build_atlas(entries)


def of_shares(entries: tuple[AtlasEntry, ...], shares: list[float]) -> Atlas:
    """Models of many heads with these shares in ROLE."""
    made = []
    for number, share in enumerate(shares):
        heads = [1000 * entries[0].num_heads] * DEPTH_BINS
        role = entries[0].roles[ROLE.name].model_copy(update={"heads": [round(share * count) for count in heads]})
        made.append(entries[0].model_copy(update={"model": f"m{number}", "heads": heads, "roles": {ROLE.name: role}}))
    return build_atlas(made)


# ---- one record's rows


@pytest.mark.parametrize("record", embedded_records(), ids=str)
def test_an_entry_counts_what_the_records_own_scores_say(record):
    entry = make_entry(record)
    raw = json.loads(record.to_json())["all_scores"]
    assert entry.total == record.num_layers * record.num_heads
    for role in record.scored_roles:
        reached = [(layer, score >= role.threshold) for layer, row in enumerate(raw[role.name]) for score in row]
        assert entry.count(role) == sum(is_there for _, is_there in reached)
        for number, share in enumerate(entry.shares_by_depth(role)):
            # the slice in which the middle of the layer lies
            here = [is_there for layer, is_there in reached if int((layer + 0.5) / record.num_layers * DEPTH_BINS) == number]
            assert share == (sum(here) / len(here) if here else None)
        best = known(entry.of(role)).best
        assert best.score == max(map(max, raw[role.name])) == raw[role.name][best.layer][best.head]
        assert best.interval == (list(found) if (found := record.interval(role, (best.layer, best.head))) else None)


def test_family_and_size_are_the_registrys_or_else_the_records_own(record, records):
    entry, info = make_entry(record.model_copy(update={"model_type": "opt", "parameters": 1})), MODELS[EMBEDDED_MODEL]
    assert (entry.family, entry.parameters) == (info.model_type, info.parameters)
    assert (make_entry(records[1]).family, make_entry(records[1]).parameters) == (FAMILIES[1], 20_000_000)
    assert make_entry(record.model_copy(update={"model_name": "nobody/knows"})).family is None


def test_layers_without_heads_count_nowhere(records):
    record = records[0]
    scores = {name: [[] if layer == 1 else row for layer, row in enumerate(table)] for name, table in record.all_scores.items()}
    mixed = HeadCategories.model_validate(record.model_copy(update={"all_scores": scores}).model_dump(exclude_unset=True))
    assert make_entry(mixed).total == 5 * 8
    assert make_entry(mixed).heads[2] == 0 < make_entry(record).heads[2]


def test_a_role_that_was_counted_by_another_threshold_is_not_scored(entries):
    old = entries[0].roles[ROLE.name].model_copy(update={"threshold": 0.5})
    entry = entries[0].model_copy(update={"roles": {**entries[0].roles, ROLE.name: old}})
    assert entry.share(ROLE) is None
    assert compute_spread(ROLE, [entry, entries[1]]).models == 1


# ---- the file


def test_a_new_or_changed_record_changes_its_own_line_alone_and_counts_no_other(records, entries, monkeypatch):
    first = entries_to_lines(update_entries({}, records[:10]))
    assert first == entries_to_lines(sorted(entries[:10], key=lambda entry: entry.model))
    counted = []
    monkeypatch.setattr(atlas_entries, "make_entry", lambda record: counted.append(record.model_name) or make_entry(record))
    assert entries_to_lines(update_entries(known_entries(first), reversed(records[:10]))) == first
    assert counted == []
    changed = with_share(records[3], ROLE.name, 0.5)
    second = entries_to_lines(update_entries(known_entries(first), [*records[:3], changed, *records[4:11]]))
    assert counted == [changed.model_name, records[10].model_name]
    assert len(set(second.splitlines()) - set(first.splitlines())) == 2
    assert len(second.splitlines()) == 11
    assert parse_entries(second, "a")[0] in entries
    without = entries_to_lines(update_entries(known_entries(second), records[:1]))
    assert without in second


@pytest.mark.parametrize("update", [{"revision": "another"}, {"parameters": 7}, {"analysis_date": "2026-03-01"}], ids=str)
def test_whatever_changes_in_a_record_makes_its_line_anew(records, update):
    (old,) = update_entries({}, records[:1])
    assert update_entries({old.model: old}, [records[0].model_copy(update=update)]) != (old,)


def test_a_line_that_counted_by_another_threshold_is_made_anew(records, entries):
    old = entries[0].roles[ROLE.name].model_copy(update={"threshold": 0.5})
    entry = entries[0].model_copy(update={"roles": {**entries[0].roles, ROLE.name: old}})
    assert update_entries({entry.model: entry}, records[:1]) == entries[:1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"more": 1}, "at more: Extra inputs"),
        ({"model": 7}, "at model: Input should be a valid string"),
        ({"model": "x" * 600}, "at model: String should have at most 500"),
        ({"family": "<img src=x>"}, "at family: String should match pattern"),
        ({"parameters": -1}, "at parameters: Input should be greater"),
        ({"num_layers": 10**9}, "at num_layers: Input should be less"),
        ({"digest": "../etc"}, "at digest: String should match"),
        ({"heads": [8] * 7}, "at heads: List should have at least 8"),
        ({"heads": [0] * 8}, "heads are not those of 6 layers x 8 heads"),
        ({"heads": [8] * 8}, "heads are not those of 6 layers x 8 heads"),
        ({"heads": [True] * 8}, "at heads.0: Input should be a valid integer"),
        ({"roles": {"induction": {"heads": [0] * 8}}}, "Field required"),
    ],
    ids=str,
)
def test_a_line_that_is_wrong_is_refused_with_its_number(entries, change, said):
    line = {**json.loads(entries_to_lines(entries[:1])), **change}
    assert said in refusal(entries_to_lines(entries[1:2]) + json.dumps(line).encode(), 2)


@pytest.mark.parametrize(
    ("role", "said"),
    [
        ({"heads": [99] * 8}, "induction has more heads than there are"),
        ({"heads": [0] * 8}, "does not go with how many reach its threshold"),
        ({"best": {"layer": 6, "head": 0, "score": 0.9}}, "the best head of induction is outside the model"),
        ({"best": {"layer": 0, "head": 0, "score": 7.0}}, "the best score of induction leaves the range of 0 to 1"),
        ({"best": {"layer": 0, "head": 0, "score": 0.9, "interval": [0.1, 0.2]}}, "the interval of induction does not hold"),
    ],
    ids=str,
)
def test_a_line_whose_numbers_do_not_belong_together_is_refused(entries, role, said):
    line = json.loads(entries_to_lines(entries[:1]))
    line["roles"][ROLE.name] |= role
    assert said in refusal(json.dumps(line).encode(), 1)


@pytest.mark.parametrize("garbage", [b"{", b"\xff\xfe", b"[" * 100_000, b'{"parameters": NaN}', b"<script>alert(1)</script>"])
def test_what_is_no_line_is_refused_in_one_sentence_and_made_anew(entries, garbage):
    assert "which is no JSON" in refusal(garbage, 1)
    assert list(known_entries(garbage + b"\n" + entries_to_lines(entries[:1]))) == [entries[0].model]


def test_too_large_a_file_and_a_model_that_is_there_twice_are_refused(entries, monkeypatch):
    assert "in line 2: a model is there twice" in refusal(entries_to_lines(entries[:1] * 2), 2)
    monkeypatch.setattr(atlas_entries, "MAX_ENTRIES", 1)
    with pytest.raises(InvalidRecordError, match="has 2 models; it may have 1"):
        parse_entries(entries_to_lines(entries[:2]), "of x")
    monkeypatch.setattr(atlas_entries, "MAX_ATLAS_BYTES", 1000)
    with pytest.raises(InvalidRecordError, match="has more than 1000 bytes"):
        parse_entries(entries_to_lines(entries[:1]), "of x")


def refusal(content: bytes, line: int) -> str:
    with pytest.raises(InvalidRecordError) as caught:
        parse_entries(content, "of x")
    said = str(caught.value)
    assert said.startswith(f"The atlas of x is not valid in line {line}")
    assert "\n" not in said
    assert len(said) < 500
    return said


# ---- many models


def test_every_number_is_the_median_and_the_range_of_the_models_own(atlas, entries):
    for role in measured_roles():
        shares = sorted(known(entry.share(role)) for entry in entries)
        assert compute_spread(role, atlas.entries) == Spread(tuple(shares))
        assert compute_spread(role, atlas.entries).median == (shares[9] + shares[10]) / 2
        for number, found in enumerate(spreads_by_depth(role, entries)):
            there = [share for entry in entries if (share := entry.shares_by_depth(role)[number]) is not None]
            assert (found.models, found.low, found.high) == (len(there), min(there), max(there))
    assert [len(found) for found in atlas.families.values()] == [5] * 4
    assert {name: len(found) for name, found in atlas.sizes.items()} == {"under 100 M": 4, "100 M to 1 B": 8, "1 B to 10 B": 8}


def test_fewer_models_than_few_have_no_median(entries):
    assert compute_spread(ROLE, entries[: FEW - 1]).median is None
    assert compute_spread(ROLE, entries[:FEW]).median is not None
    assert compute_spread(ROLE, ()) == Spread()
    assert Spread().low is Spread().high is Spread().median is None


def test_what_every_family_has_is_said_from_three_families_on(atlas, entries):
    assert {role.name for role in measured_roles()} - {role.name for role in known(atlas.in_every_family())} == {
        "copy_suppression"
    }
    assert atlas.families_with(get_measured_role("copy_suppression")) == {
        "gpt2": True,
        "gpt_neox": True,
        "llama": True,
        "opt": False,
    }
    two = build_atlas([entry for entry in entries if entry.family in FAMILIES[:2]])
    assert two.in_every_family() is None
    unscored = entries[0].model_copy(update={"model": "x", "family": "bloom", "roles": {}})
    assert build_atlas([*entries, unscored]).in_every_family() == ()


def test_a_model_far_from_the_others_is_named_and_few_models_name_none(entries):
    shares = [0.20 + 0.002 * number for number in range(MIN_FOR_UNUSUAL - 1)]
    (found,) = known(of_shares(entries, [*shares, 0.6]).unusual(ROLE))
    assert (found.model, found.share) == ("m11", 0.6)
    assert of_shares(entries, [*shares, 0.22]).unusual(ROLE) == ()
    assert of_shares(entries, [*shares[1:], 0.6]).unusual(ROLE) is None
    assert of_shares(entries, [0.2] * 11 + [0.6]).unusual(ROLE) == ()  # half of them are equal: nothing tells how far is far


def test_models_that_differ_by_chance_alone_are_seldom_called_far():
    """Of a role, in 1 to 8 of 100 atlases (`python -m bench.unusual`)."""
    assert 0 < false_alarms(draws=300, models=20, distribution=(8, 40)) < 0.1


def test_single_revisions_of_a_model_are_no_models_and_of_two_records_of_one_the_first_counts(entries):
    steps = [entries[1].model_copy(update={"model": f"org/m@step{number}"}) for number in range(3)]
    other = entries[0].model_copy(update={"revision": "another"})
    atlas = build_atlas([entries[0], *steps, other])
    assert atlas.entries == entries[:1]
    assert atlas.revisions == 3


def test_the_rows_are_those_of_every_model_and_role(atlas, entries):
    rows = list(atlas.rows())
    assert len(rows) == len(entries) * len(measured_roles())
    assert len({(row["model"], row["role"]) for row in rows}) == len(rows)
    (row,) = [row for row in rows if (row["model"], row["role"]) == (entries[7].model, ROLE.name)]
    assert row["share"] == entries[7].share(ROLE)
    assert [row[f"share_at_depth_{number}"] for number in range(1, DEPTH_BINS + 1)] == list(entries[7].shares_by_depth(ROLE))
    assert all(math.isfinite(value) for row in rows for value in row.values() if isinstance(value, float))
    assert len(atlas.to_frame()) == len(rows)
