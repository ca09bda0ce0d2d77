"""The atlas of a server: its own records, the dataset's by its file, those that ship; and whatever the Hub does, some atlas."""

import pytest

from headroles.core.records.record_files import record_file_name, write_record
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.surveys.atlas_entries import AtlasEntry, entries_to_lines, make_entry
from headroles.errors import HubError, InvalidRecordError
from headroles.hub.atlas_store import ATLAS_NAME, AtlasStore
from headroles.hub.cache import LocalRecords
from headroles.hub.record_store import EMBEDDED_RECORDS
from headroles.settings import Settings
from tests.fixtures.made_up import made_up


@pytest.fixture(scope="module")
def entries() -> tuple[AtlasEntry, ...]:
    return tuple(map(make_entry, made_up(3)))


def store(tmp_path, **settings) -> AtlasStore:
    return AtlasStore(Settings(home=tmp_path / "home", **settings), LocalRecords(settings.get("records")))


def names(atlas) -> set[str]:
    return {entry.model for entry in atlas.entries}


def answering(monkeypatch, *answers) -> list[str]:
    """The Hub gives these answers, the last one again and again; gives what is asked with, the known commit."""
    asked, left = [], list(answers)

    def fetch(dataset, revision, known):
        asked.append(known)
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("headroles.hub.dataset.fetch_atlas", fetch)
    return asked


def until_kept(found: AtlasStore) -> None:
    """What arrived is shown before its copy is written."""
    if (job := found.refresh(ATLAS_NAME)) is not None:
        job.result()


def test_without_a_dataset_it_is_of_the_records_that_ship_and_nobody_is_asked(tmp_path, monkeypatch):
    asked = answering(monkeypatch, HubError("The Hub is away."))
    atlas = store(tmp_path).find()
    assert (names(atlas), atlas.note, atlas.dataset) == (set(EMBEDDED_RECORDS), "", "")
    assert asked == []


def test_the_operators_own_records_count_first_and_a_new_one_is_there_at_once(tmp_path, record):
    folder = tmp_path / "records"
    own = record.model_copy(update={"revision": "own"})
    write_record(own, folder / "a.json")
    (folder / "b.json").write_text("{", "utf-8")
    found = store(tmp_path, records=folder)
    assert [entry.revision for entry in found.find().entries if entry.model == EMBEDDED_MODEL] == ["own"]
    write_record(made_up(1)[0], folder / record_file_name(made_up(1)[0].model_name))
    assert names(found.find()) == {*EMBEDDED_RECORDS, made_up(1)[0].model_name}


def test_the_datasets_atlas_is_asked_for_once_kept_and_there_again_when_the_hub_is_away(tmp_path, monkeypatch, entries):
    asked = answering(monkeypatch, (entries, "abc"))
    found = store(tmp_path, dataset="org/data")
    for _ in range(3):
        assert names(found.find()) == {*EMBEDDED_RECORDS, *(entry.model for entry in entries)}
    assert asked == [""]
    until_kept(found)
    answering(monkeypatch, HubError("The Hub is away."))
    later = store(tmp_path, dataset="org/data")
    assert names(later.find()) == {*EMBEDDED_RECORDS, *(entry.model for entry in entries)}
    assert names(store(tmp_path, dataset="org/other").find()) == set(EMBEDDED_RECORDS)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (HubError("The Hub is away."), "The Hub is away."),
        (InvalidRecordError("The atlas of org/data is not valid."), "The atlas of org/data is not valid."),
        (FileNotFoundError("no"), "org/data holds no atlas yet; the next push of `headroles-analysis` makes one."),
    ],
)
def test_what_keeps_the_datasets_away_is_said_and_the_rest_is_shown(tmp_path, monkeypatch, answer, said):
    answering(monkeypatch, answer)
    atlas = store(tmp_path, dataset="org/data").find()
    assert (names(atlas), atlas.note) == (set(EMBEDDED_RECORDS), said)


def test_a_spoilt_copy_stands_in_nobodys_way(tmp_path, monkeypatch, entries):
    answering(monkeypatch, (entries, "abc"))
    found = store(tmp_path, dataset="org/data")
    found.find()
    until_kept(found)
    (copy,) = (tmp_path / "home" / "atlas").rglob("*.jsonl")
    copy.write_bytes(entries_to_lines(entries)[:-50])
    answering(monkeypatch, HubError("The Hub is away."))
    assert names(store(tmp_path, dataset="org/data").find()) == set(EMBEDDED_RECORDS)
