"""Every text that is made to show a role is tried on the model, and the record says which does."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from headroles.core.readings.detection import is_detected
from headroles.core.records.calibration import Triggered
from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_builder import with_prompts
from headroles.core.records.record_files import parse_record
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles import roles
from headroles.core.roles.roles import get_measured_role, get_role
from headroles.errors import InvalidRecordError
from headroles.models.loading.loader import load_model
from headroles.models.probes.probe_texts import ProbeSizes
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.scoring.sweep import add_calibration, find_prompts
from tests.conftest import PLAIN

TRIGGERED = ("induction", "duplicate_token")


@pytest.fixture(scope="module")
def reader() -> PatternReader:
    return PatternReader(load_model(EMBEDDED_MODEL))


@pytest.fixture
def of_role(monkeypatch, record) -> Callable[..., HeadCategories]:
    """The record as it reads while induction has other prompts."""

    def make(suggested: str, *others: str) -> HeadCategories:
        other = replace(get_measured_role("induction"), suggested_prompt=suggested, other_prompts=others)
        monkeypatch.setitem(roles._roles, "induction", other)
        return HeadCategories.model_validate(record.model_dump(exclude_unset=True))

    return make


@pytest.mark.parametrize("name", TRIGGERED)
def test_every_text_that_is_made_to_show_a_role_does_so_on_the_embedded_model(reader, record, name):
    role = get_measured_role(name)
    assert len(role.prompts) >= 3
    for prompt in role.prompts:
        assert is_detected(role, reader.read(reader.loaded.encode(prompt)), record), prompt


def test_the_first_that_works_is_found_and_none_where_none_does(reader, of_role, record):
    works = get_measured_role("induction").suggested_prompt
    unread = "once " * 300
    assert find_prompts(reader, record)["induction"] == works
    assert find_prompts(reader, of_role(PLAIN, unread, works, "one two one two"))["induction"] == works
    assert find_prompts(reader, of_role(PLAIN))["induction"] == ""
    assert find_prompts(reader, of_role(""))["induction"] == ""


def test_a_role_without_heads_or_without_calibration_is_not_looked_at(reader, record):
    assert find_prompts(reader, record.model_copy(update={"calibration": None})) == {}
    none = record.categories["induction"].model_copy(update={"top_heads": []})
    without = record.model_copy(update={"categories": {**record.categories, "induction": none}})
    assert set(find_prompts(reader, without)) == {"duplicate_token"}


def test_an_analysis_records_which_text_shows_a_role_on_its_model(reader, of_role):
    works = get_measured_role("induction").other_prompts[0]
    made = add_calibration(reader, of_role(PLAIN, works), ProbeSizes(calibration=1))
    assert made.suggested_prompt(get_role("induction")) == works
    duplicate = get_role("duplicate_token")
    found = made.calibrations["duplicate_token"]
    assert isinstance(found, Triggered)
    assert found.suggested_prompt == made.suggested_prompt(duplicate) == duplicate.suggested_prompt
    assert parse_record(made.to_json(), "it") == made


def test_a_record_that_does_not_say_goes_on_with_the_roles_own_and_does_not_grow(record):
    entries = {name: {**entry} for name, entry in (record.calibration or {}).items()}
    for entry in entries.values():
        entry.pop("suggested_prompt", None)
    older = record.model_copy(update={"calibration": entries})
    for role in map(get_role, (*TRIGGERED, "diffuse", "other")):
        assert older.suggested_prompt(role) == role.suggested_prompt
    assert "suggested_prompt" not in older.to_json()
    assert with_prompts(older, {"induction": ""}).suggested_prompt(get_role("induction")) == ""


@pytest.mark.parametrize("text", ["x" * 301, "two\nlines", " before", "behind ", "\u202eturned", "a\u200bb", 5, ["x"]])
def test_a_suggested_prompt_that_is_no_short_line_of_visible_characters_is_refused(record, text):
    with pytest.raises(ValueError, match="suggested_prompt"):
        with_prompts(record, {"induction": text})
    data = json.loads(record.to_json())
    data["calibration"]["induction"]["suggested_prompt"] = "\u0007"
    broken = json.dumps(data)
    with pytest.raises(InvalidRecordError, match="is not valid"):
        parse_record(broken, "it")
