"""Records in and out: the embedded one, those analysed here, and that a record meets only the model it was made on."""

import dataclasses
import os
import re

import pytest

from headroles.core.record_fit import check_belongs
from headroles.core.registry import EMBEDDED_MODEL
from headroles.errors import HubError, InvalidRecordError, NoHeadCategoriesError
from headroles.hub.store import RecordStore, load_head_categories
from headroles.settings import Settings
from tests.core.test_records import without
from tests.fixtures.known import known


@pytest.fixture
def store(tmp_path) -> RecordStore:
    return RecordStore(Settings(home=tmp_path))


def renamed(record, name: str, revision: str = "r"):
    return record.model_copy(update={"model_name": name, "revision": revision})


def test_a_model_without_a_record_says_which_have_one_and_how_to_make_one(tmp_path):
    with pytest.raises(
        NoHeadCategoriesError, match=r"no roles for 'gpt2' yet, there are some for headroles-tiny; .*python -m analysis"
    ):
        load_head_categories("gpt2", Settings(home=tmp_path))


def test_the_embedded_record_is_found_as_embedded(tiny, record, store, tmp_path):
    found, source = store.find(tiny.identity)
    assert found == record
    assert (source.kind, source.revision) == ("embedded", tiny.revision)


def test_a_kept_record_is_found_by_name_and_revision(tiny, record, store, tmp_path):
    loaded = dataclasses.replace(tiny, name="org/model", revision="abc")
    kept = renamed(record, "org/model", "abc")
    path = store.keep(kept)
    assert path.parent == tmp_path / "analysed"
    found, source = store.find(loaded.identity)
    assert (found, source.kind) == (kept, "analysed here")
    with pytest.raises(NoHeadCategoriesError):
        store.find(dataclasses.replace(loaded, revision="def").identity)


def test_by_name_alone_the_last_one_analysed_is_given(record, store, tmp_path):
    for age, revision in ((20, "old"), (10, "new")):
        path = store.keep(renamed(record, "org/model", revision))
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    assert load_head_categories("org/model", Settings(home=tmp_path)).revision == "new"


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "a\\b", "..", "x" * 400, "a b\n"])
def test_no_name_leaves_the_folder_of_records(record, store, tmp_path, name):
    path = store.keep(renamed(record, name, "../r"))
    assert path.resolve().parent == (tmp_path / "analysed").resolve()
    assert load_head_categories(name, Settings(home=tmp_path)).model_name == name


def test_two_names_that_share_a_file_are_told_apart(record, store, tmp_path):
    store.keep(renamed(record, "a/b"))
    with pytest.raises(NoHeadCategoriesError):
        load_head_categories("a_b", Settings(home=tmp_path))


SPOILT = {
    "half": lambda text: text[: len(text) // 2],
    "empty": lambda _: "",
    "zeros": lambda _: "\x00" * 100,
    "another shape": lambda text: text.replace('"num_layers": 4', '"num_layers": 5'),
    "another tokenizer": lambda text: re.sub(r'"tokenizer_sha256": "\w+"', '"tokenizer_sha256": "0"', text),
    "a later schema": lambda text: re.sub(r'"schema_version": \d', '"schema_version": 3', text),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=list(SPOILT))
def test_a_spoilt_record_on_disk_blocks_no_model_and_says_what_is_wrong_with_it(tiny, record, store, spoil):
    loaded = dataclasses.replace(tiny, name="m", revision="r")
    path = store.keep(renamed(record, "m", "r"))
    path.write_text(spoil(path.read_text("utf-8")), "utf-8")
    with pytest.raises(NoHeadCategoriesError, match="have it analysed on the page.*The (record m@r.json|roles of m) "):
        store.find(loaded.identity)
    store.keep(renamed(record, "m", "r"))  # analysed again
    assert store.find(loaded.identity)[1].kind == "analysed here"


def test_a_record_with_one_role_fewer_serves_what_it_holds(tiny, record, store):
    fewer = without(renamed(record, "m", "r"), "diffuse")
    store.keep(fewer)
    found, _ = store.find(dataclasses.replace(tiny, name="m", revision="r").identity)
    assert [role.name for role in found.scored_roles] == ["previous_token", "induction", "duplicate_token", "positional"]


def test_a_record_is_written_whole_or_not_at_all(record, store, monkeypatch):
    path = store.keep(renamed(record, "m"))
    before = path.read_bytes()
    monkeypatch.setattr(type(record), "to_json", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.keep(renamed(record, "m"))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_record_of_other_tokens_is_refused(record, tiny):
    check_belongs(record, tiny.identity)
    other_bos = record.model_copy(update={"recipe": record.recipe.model_copy(update={"prepend_bos": False})})
    with pytest.raises(InvalidRecordError, match="measured without a BOS token, but its tokenizer works with one"):
        check_belongs(other_bos, tiny.identity)
    other_shape = record.model_copy(update={"num_layers": 5})
    with pytest.raises(InvalidRecordError, match="are for 5 layers x 8 heads, but headroles-tiny has 4 x 8"):
        check_belongs(other_shape, tiny.identity)
    other_words = record.model_copy(update={"recipe": record.recipe.model_copy(update={"tokenizer_sha256": "0"})})
    with pytest.raises(InvalidRecordError, match="another tokenizer"):
        check_belongs(other_words, tiny.identity)


def test_the_embedded_model_has_an_embedded_record():
    assert load_head_categories(EMBEDDED_MODEL).model_name == EMBEDDED_MODEL


def test_without_a_dataset_the_hub_is_never_asked(store, monkeypatch):
    monkeypatch.setattr("headroles.hub.store.fetch_record", lambda *_: pytest.fail("the Hub was asked"))
    assert store.refresh(EMBEDDED_MODEL) is None
    assert store.load(EMBEDDED_MODEL).model_name == EMBEDDED_MODEL


def test_a_newer_record_takes_the_embedded_ones_place_and_a_foreign_one_does_not(tiny, record, tmp_path, monkeypatch):
    newer = record.model_copy(update={"analysis_date": "2030-01-01"})
    foreign = newer.model_copy(update={"recipe": newer.recipe.model_copy(update={"tokenizer_sha256": "0"})})
    for sent, kind, note in ((newer, "published", ""), (foreign, "embedded", "measured with another tokenizer")):
        store = RecordStore(Settings(home=tmp_path / kind, dataset="org/roles"))
        monkeypatch.setattr("headroles.hub.store.fetch_record", lambda *_, sent=sent: (sent, "abc"))
        known(store.refresh(EMBEDDED_MODEL)).wait(10)
        _, source = store.find(tiny.identity)
        assert source.kind == kind
        assert note in source.note


def test_a_copy_of_one_dataset_is_never_shown_for_another(tiny, record, tmp_path, monkeypatch):
    monkeypatch.setattr("headroles.hub.store.fetch_record", lambda *_: (record, "abc"))
    known(RecordStore(Settings(home=tmp_path, dataset="org/one")).refresh(EMBEDDED_MODEL)).wait(10)
    monkeypatch.setattr("headroles.hub.store.fetch_record", lambda *_: (_ for _ in ()).throw(HubError("The Hub is away.")))
    one, other = (RecordStore(Settings(home=tmp_path, dataset=f"org/{name}")) for name in ("one", "two"))
    assert one.find(tiny.identity)[1].kind == "cached"
    assert other.find(tiny.identity)[1].kind == "embedded"
    other.refresh(EMBEDDED_MODEL)
    assert other.find(tiny.identity)[1].note in ("", "The Hub is away.")
