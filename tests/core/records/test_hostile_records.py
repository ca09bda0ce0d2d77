"""What a hostile dataset can send: refused by name, quickly and in bounded memory, or believed and then harmless on the page."""

import copy
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headroles.core.heads import Attention
from headroles.core.readings.analysis import Analysis, RecordSource
from headroles.core.readings.verdicts import read_heads, read_roles
from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_files import MAX_RECORD_BYTES, parse_record, read_record
from headroles.errors import InvalidRecordError
from headroles.render.page.cards import render_panel
from headroles.render.page.model_map import render_map
from tests.conftest import random_attention, tables
from tests.fixtures.known import known

MEGABYTE = 1024**2
Change = Callable[[dict], object]


def put(*path: str | int, value: object) -> Change:
    """Puts a value at a place of the record."""

    def change(record: dict) -> None:
        *parents, last = path
        for key in parents:
            record = record[key]
        record[last] = value

    return change


BROKEN: dict[str, Change] = {
    "a score that is NaN": put("all_scores", "induction", 0, 0, value=float("nan")),
    "a score of 1e308": put("all_scores", "induction", 0, 0, value=1e308),
    "a score below 0": put("all_scores", "induction", 0, 0, value=-0.1),
    "a score that is text": put("all_scores", "induction", 0, 0, value="0.5"),
    "a score that is true": put("all_scores", "induction", 0, 0, value=True),
    "a missing layer": lambda record: record["all_scores"]["induction"].pop(),
    "a missing head": lambda record: record["all_scores"]["induction"][1].pop(),
    "a layer too many": lambda record: record["all_scores"]["diffuse"].append([0.0] * 8),
    "no scores of a role": lambda record: record["all_scores"].pop("positional"),
    "a role that is none": put("categories", "<script>", value={}),
    "a negative layer": put("categories", "induction", "top_heads", 0, "layer", value=-1),
    "a head outside the model": put("categories", "induction", "top_heads", 0, "head", value=8),
    "a huge layer": put("categories", "induction", "top_heads", 0, "layer", value=10**30),
    "too many top heads": lambda record: record["categories"]["induction"]["top_heads"].extend([{}] * 100),
    "no layers": put("num_layers", value=0),
    "a million layers": put("num_layers", value=10**6),
    "a fraction of a layer": put("num_layers", value=4.5),
    "a huge name": put("model_name", value="x" * 10**6),
    "a description of 10 MB": put("categories", "induction", "description", value="<script>" * 1_250_000),
    "an unknown field": put("__class__", value="os.system"),
    "a date that is none": put("analysis_date", value="2026-01-01<script>"),
    "a day that no calendar has": put("analysis_date", value="9999-99-99"),
    "the 30th of February": put("analysis_date", value="2026-02-30"),
    "a date before there were such records": put("analysis_date", value="2019-12-31"),
    "one head eight times": lambda record: record["categories"]["induction"].update(
        top_heads=record["categories"]["induction"]["top_heads"][:1] * 8
    ),
    "top heads that are not sorted": lambda record: record["categories"]["previous_token"]["top_heads"].reverse(),
    "another schema": put("schema_version", value=3),
    "a recipe that is none": put("recipe", value=None),
}
TEXTS: dict[str, Callable[[str], str]] = {
    "infinity": lambda text: text.replace('"num_layers": 4', '"num_layers": Infinity'),
    "nesting of 100,000": lambda _: "[" * 100_000,
    "objects in objects": lambda _: '{"a":' * 50_000 + "1" + "}" * 50_000,
    "half a file": lambda text: text[: len(text) // 2],
    "nothing": lambda _: "",
    "a list": lambda _: "[]",
    "a web page": lambda _: "<!doctype html><script>alert(1)</script>",
    "a lone surrogate": lambda text: text.replace("headroles-tiny", "\\ud800", 1),
    "many of the same key": lambda _: "{" + ",".join('"a":1' for _ in range(500_000)) + "}",
}


def refuse(call: Callable[[], HeadCategories], name: str) -> str:
    """The refusal's text; notes what it took."""
    tracemalloc.start()
    started = time.thread_time()  # what it takes of a processor, whatever else runs there
    with pytest.raises(InvalidRecordError) as caught:
        call()
    seconds, peak = time.thread_time() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    message = str(caught.value)
    row = {"broken record": name, "seconds": seconds, "peak MB": peak / MEGABYTE, "refused with": message[:90]}
    tables.setdefault("broken records", []).append(row)
    assert "\n" not in message
    assert len(message) < 500
    assert "evil.json" in message
    assert seconds < 5  # the largest file that is read, under a tracer; the table has what it was
    assert peak < 200 * MEGABYTE
    return message


@pytest.mark.parametrize("name", BROKEN)
def test_a_record_with_one_wrong_value_is_refused_by_name(record, name):
    content = json.loads(record.to_json())
    BROKEN[name](content)
    refuse(lambda: parse_record(json.dumps(content), "evil.json"), name)


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_is_no_record_is_refused_by_name(record, name):
    text = TEXTS[name](record.to_json())
    assert text != record.to_json()
    refuse(lambda: parse_record(text, "evil.json"), name)


def test_a_file_of_200_megabytes_is_refused_without_being_read(tmp_path: Path):
    path = tmp_path / "evil.json"
    with path.open("wb") as file:
        file.truncate(200 * MEGABYTE)
    refuse(lambda: read_record(path), "a file of 200 MB")
    assert float(str(tables["broken records"][-1]["peak MB"])) < 2 * MAX_RECORD_BYTES / MEGABYTE


def places(value: object, path: tuple = ()) -> Iterator[tuple]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield from places(child, (*path, key))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("<script>alert(1)</script>"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_record_with_anything_anywhere_is_refused_or_harmless(record, data):
    content = json.loads(record.to_json())
    place = data.draw(st.sampled_from([path for path in places(content) if path]))
    put(*place, value=data.draw(anything))(content)
    refusal, found = None, None
    try:
        found = parse_record(json.dumps(content), "evil.json")
    except InvalidRecordError as error:
        refusal = str(error)
    if found is None:
        assert "evil.json" in known(refusal)
        return
    analysis = told_by(found)
    assert "<script" not in render_map(analysis) + render_panel(analysis)
    assert parse_record(found.to_json(), "again") == found


def told_by(record: HeadCategories) -> Analysis:
    """What the page would draw of this record on a text."""
    patterns = random_attention(record.num_layers, record.num_heads, length=6)
    attention = Attention(record.model_name, tuple(range(6)), tuple("abcdef"), patterns)
    heads = read_heads(attention, record)
    source = RecordSource("published", record.analysis_date, record.revision)
    shape = (record.num_layers, record.num_heads)
    return Analysis(record.model_name, "abcdef", attention.tokens, source, *shape, read_roles(heads, record), heads)


def test_of_a_file_of_several_records_the_asked_one_is_taken(record):
    other = copy.deepcopy(json.loads(record.to_json())) | {"model_name": "other"}
    text = json.dumps({"headroles-tiny": json.loads(record.to_json()), "other": other})
    assert parse_record(text, "all.json", "other").model_name == "other"
    assert parse_record(text, "all.json", "headroles-tiny") == record
    with pytest.raises(InvalidRecordError):
        parse_record(text, "all.json", "gpt2")
