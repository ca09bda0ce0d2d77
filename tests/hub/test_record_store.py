"""Records in and out: the embedded one, those analysed here, and that a record meets only the model it was made on."""

import contextlib
import dataclasses
import datetime
import errno
import json
import operator
import os
import pathlib
import re

import pytest

from headroles.core.records.compatibility import check_belongs, make_identity
from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_files import write_record
from headroles.core.registry import EMBEDDED_MODEL
from headroles.errors import HubError, InvalidRecordError, NoHeadCategoriesError
from headroles.hub.cache import RecordCache, dataset_cache, delete_partial_files
from headroles.hub.record_store import RecordStore, load_head_categories
from headroles.settings import Settings
from tests.core.records.test_head_categories import without
from tests.fixtures.known import known
from tests.fixtures.patience import PATIENCE


@pytest.fixture
def store(tmp_path) -> RecordStore:
    return RecordStore(Settings(home=tmp_path))


def lose_the_hub(monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise HubError("The Hub is away.")

    monkeypatch.setattr("headroles.hub.record_store.fetch_checked_record", fail)


def renamed(record, name: str, revision: str = "r"):
    return record.model_copy(update={"model_name": name, "revision": revision})


def test_a_model_without_a_record_says_what_would_help_in_its_very_case(tmp_path):
    registered = (
        r"no roles for 'gpt2' yet; have it analysed on the page, or by `headroles-analysis gpt2 --out DIR`.* HEADROLES_RECORDS"
    )
    with pytest.raises(NoHeadCategoriesError, match=registered):
        load_head_categories("gpt2", Settings(home=tmp_path))
    unknown = r"no roles for 'a b' yet; there are some for headroles-tiny, .*`headroles-analysis 'a b' --out DIR`"
    with pytest.raises(NoHeadCategoriesError, match=unknown):
        load_head_categories("a b", Settings(home=tmp_path))


def test_the_operators_own_records_come_first_and_say_that_they_are_local(tiny, record, tmp_path):
    own = record.model_copy(update={"analysis_date": "2026-10-01"})
    write_record(own, tmp_path / "records" / "anything.json")
    store = RecordStore(Settings(home=tmp_path, records=tmp_path / "records"))
    found, source = store.find(tiny.identity)
    assert (found, source.kind, source.analysis_date) == (own, "local", "2026-10-01")
    write_record(record, tmp_path / "records" / "anything.json")
    assert store.find(tiny.identity)[0] == record  # as soon as it changes
    (tmp_path / "records" / "anything.json").unlink()
    assert store.find(tiny.identity)[1].kind == "embedded"


def test_a_local_record_serves_the_very_weights_it_was_made_on_whatever_they_are_called(tiny, record, tmp_path):
    write_record(renamed(record, "org/model", tiny.revision), tmp_path / "records" / "r.json")
    store = RecordStore(Settings(home=tmp_path, records=tmp_path / "records"))
    moved = dataclasses.replace(tiny.identity, name="/somewhere/else")
    assert store.find(moved)[1].kind == "local"
    for other in (dataclasses.replace(moved, revision="sha256:0"), dataclasses.replace(moved, tokenizer_sha256="0")):
        with pytest.raises(NoHeadCategoriesError):
            store.find(other)


def test_a_local_record_that_is_spoilt_or_of_another_revision_stands_in_nobodys_way(tiny, record, tmp_path):
    folder = tmp_path / "records"
    write_record(renamed(record, EMBEDDED_MODEL, "another"), folder / "a.json")
    (folder / "b.json").write_text("{", "utf-8")
    os.mkfifo(folder / "c.json")
    found, source = RecordStore(Settings(home=tmp_path, records=folder)).find(tiny.identity)
    assert (found, source.kind) == (record, "embedded")
    assert "were measured on its revision another" in source.note


def test_the_embedded_record_is_found_as_embedded(tiny, record, store, tmp_path):
    found, source = store.find(tiny.identity)
    assert found == record
    assert (source.kind, source.revision) == ("embedded", tiny.revision)


def test_a_kept_record_is_found_by_name_and_revision(tiny, record, store, tmp_path):
    loaded = dataclasses.replace(tiny, name="org/model", revision="abc")
    kept = renamed(record, "org/model", "abc")
    path = store.save(kept)
    assert path.parent == tmp_path / "analysed"
    found, source = store.find(loaded.identity)
    assert (found, source.kind) == (kept, "analysed here")
    with pytest.raises(NoHeadCategoriesError):
        store.find(dataclasses.replace(loaded, revision="def").identity)


def test_by_name_alone_the_last_one_analysed_is_given(record, store, tmp_path):
    for age, revision in ((20, "old"), (10, "new")):
        path = store.save(renamed(record, "org/model", revision))
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    assert load_head_categories("org/model", Settings(home=tmp_path)).revision == "new"


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "a\\b", "..", "x" * 400, "a b\n"])
def test_no_name_leaves_the_folder_of_records(record, store, tmp_path, name):
    path = store.save(renamed(record, name, "../r"))
    assert path.resolve().parent == (tmp_path / "analysed").resolve()
    assert load_head_categories(name, Settings(home=tmp_path)).model_name == name


def test_two_names_that_share_a_file_are_told_apart(record, store, tmp_path):
    store.save(renamed(record, "a/b"))
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
    path = store.save(renamed(record, "m", "r"))
    path.write_text(spoil(path.read_text("utf-8")), "utf-8")
    with pytest.raises(NoHeadCategoriesError, match="have it analysed on the page.*The (record m@r.json|roles of m) "):
        store.find(loaded.identity)
    store.save(renamed(record, "m", "r"))  # analysed again
    assert store.find(loaded.identity)[1].kind == "analysed here"


def test_a_record_with_one_role_fewer_serves_what_it_holds(tiny, record, store):
    fewer = without(renamed(record, "m", "r"), "diffuse")
    store.save(fewer)
    found, _ = store.find(dataclasses.replace(tiny, name="m", revision="r").identity)
    assert [role.name for role in found.scored_roles] == [name for name in record.all_scores if name != "diffuse"]


def test_a_record_is_written_whole_or_not_at_all(record, store, monkeypatch):
    path = store.save(renamed(record, "m"))
    before = path.read_bytes()
    monkeypatch.setattr(type(record), "to_json", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.save(renamed(record, "m"))
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
    monkeypatch.setattr("headroles.hub.record_store.fetch_checked_record", lambda *_: pytest.fail("the Hub was asked"))
    assert store.refresh(EMBEDDED_MODEL) is None
    assert store.load(EMBEDDED_MODEL).model_name == EMBEDDED_MODEL


def test_a_newer_record_takes_the_embedded_ones_place_and_a_foreign_one_does_not(tiny, record, tmp_path, monkeypatch):
    newer = record.model_copy(update={"analysis_date": "2026-11-24"})
    foreign = newer.model_copy(update={"recipe": newer.recipe.model_copy(update={"tokenizer_sha256": "0"})})
    for sent, kind, note in ((newer, "published", ""), (foreign, "embedded", "measured with another tokenizer")):
        store = RecordStore(Settings(home=tmp_path / kind, dataset="org/roles"))
        monkeypatch.setattr("headroles.hub.record_store.fetch_checked_record", lambda *_, sent=sent: (sent, "abc"))
        known(store.refresh(EMBEDDED_MODEL)).wait(PATIENCE)
        _, source = store.find(tiny.identity)
        assert source.kind == kind
        assert note in source.note


def test_a_copy_of_one_dataset_is_never_shown_for_another(tiny, record, tmp_path, monkeypatch):
    monkeypatch.setattr("headroles.hub.record_store.fetch_checked_record", lambda *_: (record, "abc"))
    known(RecordStore(Settings(home=tmp_path, dataset="org/one")).refresh(EMBEDDED_MODEL)).wait(PATIENCE)
    lose_the_hub(monkeypatch)
    one, other = (RecordStore(Settings(home=tmp_path, dataset=f"org/{name}")) for name in ("one", "two"))
    assert one.find(tiny.identity)[1].kind == "cached"
    assert other.find(tiny.identity)[1].kind == "embedded"
    other.refresh(EMBEDDED_MODEL)
    assert other.find(tiny.identity)[1].note in ("", "The Hub is away.")


def publish(monkeypatch, record, commit: str = "abc") -> None:
    monkeypatch.setattr("headroles.hub.record_store.fetch_checked_record", lambda *_: (record, commit))


def test_a_source_says_whether_its_record_is_calibrated(monkeypatch, record, tmp_path):
    for kept, is_calibrated in ((record, True), (record.model_copy(update={"calibration": None}), False)):
        store = RecordStore(Settings(home=tmp_path))
        monkeypatch.setattr("headroles.hub.record_store._embedded_record", lambda _, kept=kept: kept)
        assert store.find(make_identity(record))[1].is_calibrated is is_calibrated


def reshaped(record):
    """The record as of a model of one layer more."""
    content = json.loads(record.to_json())
    content["num_layers"] += 1
    for table in (*content["all_scores"].values(), *content["second_scores"].values()):
        table.append([0.0] * record.num_heads)
    del content["calibration"]
    return HeadCategories.model_validate(content)


def tomorrow(days: int) -> str:
    return (datetime.datetime.now(datetime.timezone.utc).date() + datetime.timedelta(days)).isoformat()


# what the dataset may hold of the embedded model, and what the note then says
MISFITS = {
    "another shape": (reshaped, "for 5 layers x 8 heads, but headroles-tiny has 4 x 8"),
    "another revision": (lambda record: renamed(record, EMBEDDED_MODEL, "sha256:0"), "measured on its revision sha256:0, but"),
    "a date to come": (lambda record: record.model_copy(update={"analysis_date": tomorrow(3)}), "which is still to come"),
}


@pytest.mark.parametrize(("change", "said"), MISFITS.values(), ids=list(MISFITS))
@pytest.mark.parametrize("good", [None, "2026-11-22"], ids=["nothing before", "a good one before"])
def test_a_record_that_does_not_fit_its_model_never_takes_the_place_of_what_serves(
    tiny, record, tmp_path, monkeypatch, change, said, good
):
    settings = Settings(home=tmp_path, dataset="org/roles")
    store = RecordStore(settings)
    if good:
        publish(monkeypatch, record.model_copy(update={"analysis_date": good}), "good")
        known(store.refresh(EMBEDDED_MODEL)).wait(PATIENCE)
        store._state(EMBEDDED_MODEL).next_refresh = 0.0
    publish(monkeypatch, change(record), "bad")
    known(store.refresh(EMBEDDED_MODEL)).wait(PATIENCE)
    lose_the_hub(monkeypatch)
    found, source = store.find(tiny.identity)
    assert (source.kind, found.analysis_date) == (("published", good) if good else ("embedded", record.analysis_date))
    assert said in source.note
    assert store.load(EMBEDDED_MODEL) == found
    # and after a start without the Hub
    found, source = RecordStore(settings).find(tiny.identity)
    assert (source.kind, found.analysis_date) == (("cached", good) if good else ("embedded", record.analysis_date))


@pytest.mark.parametrize(("change", "said"), MISFITS.values(), ids=list(MISFITS))
def test_a_copy_on_disk_that_does_not_fit_is_left_out_and_said(tiny, record, tmp_path, monkeypatch, change, said):
    settings = Settings(home=tmp_path, dataset="org/roles")
    lose_the_hub(monkeypatch)
    path = dataset_cache(tmp_path, "org/roles", "main").write(change(record), "abc")
    if said.startswith("which"):
        os.utime(path, (1, 1))  # its time would else say how the clock stood when it came
    store = RecordStore(settings)
    monkeypatch.setattr(store, "refresh", lambda _: None)
    found, source = store.find(tiny.identity)
    assert (found, source.kind) == (record, "embedded")
    assert said in source.note


def test_tomorrow_is_a_day_that_can_be_and_a_clock_that_stands_before_the_package_was_made_is_not_believed(
    tiny, record, tmp_path, monkeypatch
):
    store = RecordStore(Settings(home=tmp_path, dataset="org/roles"))
    dated = record.model_copy(update={"analysis_date": tomorrow(1)})
    publish(monkeypatch, dated)
    known(store.refresh(EMBEDDED_MODEL)).wait(PATIENCE)
    assert store.find(tiny.identity)[0] == dated
    for clock in (0.0, -1e9, 2e11):
        monkeypatch.setattr("time.time", lambda clock=clock: clock)
        store = RecordStore(Settings(home=tmp_path / str(clock), dataset="org/roles"))
        publish(monkeypatch, record)
        known(store.refresh(EMBEDDED_MODEL)).wait(PATIENCE)
        assert store.find(tiny.identity)[1].kind == "published"


def test_a_registered_models_record_of_another_shape_is_refused_before_its_weights_are_there(record, tmp_path, monkeypatch):
    store = RecordStore(Settings(home=tmp_path, dataset="org/roles"))
    publish(monkeypatch, renamed(record, "gpt2", "commit"))
    known(store.refresh("gpt2")).wait(PATIENCE)
    with pytest.raises(NoHeadCategoriesError, match="for 4 layers x 8 heads, but gpt2 has 12 x 12"):
        store.load("gpt2")


def test_of_a_model_that_only_its_weights_tell_the_last_good_record_comes_back(tiny, record, tmp_path, monkeypatch):
    """The registry does not know it, so a record of another revision is taken in until the model itself is there."""
    model = dataclasses.replace(tiny, name="org/m", revision="r").identity
    settings = Settings(home=tmp_path, dataset="org/roles")
    store = RecordStore(settings)
    for revision, commit in (("r", "one"), ("other", "two")):
        publish(monkeypatch, renamed(record, "org/m", revision), commit)
        store._state("org/m").next_refresh = 0.0
        known(store.refresh("org/m")).wait(PATIENCE)
    for again in (store, RecordStore(settings)):
        found, source = again.find(model)
        assert (found.revision, source.commit) == ("r", "one")
        assert "measured on its revision other, but revision r is read here; analyse it again" in source.note
    # now that it was read, such a record is refused as it comes
    publish(monkeypatch, renamed(record, "org/m", "third"), "three")
    store._state("org/m").next_refresh = 0.0
    known(store.refresh("org/m")).wait(PATIENCE)
    assert "revision third" in store._state("org/m").error
    assert [record.revision for record, _, _ in dataset_cache(tmp_path, "org/roles", "main").newest_first("org/m")] == [
        "other",
        "r",
    ]


def test_few_copies_are_kept_and_a_clock_that_goes_back_does_not_make_the_newest_the_oldest(record, tmp_path, monkeypatch):
    folder = dataset_cache(tmp_path, "org/roles", "main")
    for number in range(10):
        monkeypatch.setattr("time.time", lambda clock=4e9 - number * 1e8: clock)
        folder.confirm(renamed(record, "m", str(number)), f"commit{number}")
        newest = [record.revision for record, _, _ in folder.newest_first("m")]
        assert newest == [str(back) for back in range(number, max(number - 3, -1), -1)]


def stand(path, what: str) -> None:
    """Puts something where a record should be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    match what:
        case "folder":
            path.mkdir()
            (path / "inside").write_text("x")
        case "pipe":
            os.mkfifo(path)
        case "link to nowhere":
            path.symlink_to(path.parent / "nowhere")
        case "link to itself":
            path.symlink_to(path)
        case "link to a device":
            path.symlink_to("/dev/zero")
        case "link to a pipe":
            os.mkfifo(path.parent / "pipe")
            path.symlink_to(path.parent / "pipe")
        case "17 MB":
            path.write_bytes(b" " * 17 * 1024**2)
        case "no UTF-8":
            path.write_bytes(b"\xff\xfe\x00" * 100)
        case "zeros":
            path.write_bytes(bytes(5000))
        case "nothing":
            path.write_bytes(b"")


OBSTACLES = ["folder", "pipe", "link to nowhere", "link to itself", "link to a device", "link to a pipe", "17 MB", "no UTF-8"]
OBSTACLES += ["zeros", "nothing"]


@pytest.mark.parametrize("what", OBSTACLES)
def test_whatever_lies_where_a_record_should_the_next_best_serves_and_the_model_can_be_analysed_again(
    tiny, record, tmp_path, monkeypatch, what
):
    store = RecordStore(Settings(home=tmp_path, dataset="org/roles"))
    monkeypatch.setattr(store, "refresh", lambda _: None)
    loaded = dataclasses.replace(tiny, name="org/m", revision="r")
    analysed = RecordCache(tmp_path, "analysed")
    stand(analysed.path("org/m", "r"), what)
    stand(dataset_cache(tmp_path, "org/roles", "main").path(EMBEDDED_MODEL, "abc"), what)
    delete_partial_files(tmp_path)
    assert store.find(tiny.identity)[1].kind == "embedded"
    for call in (lambda: store.find(loaded.identity), lambda: store.load("org/m")):
        with pytest.raises(NoHeadCategoriesError, match="There are no roles for"):
            call()
    store.save(renamed(record, "org/m", "r"))
    assert store.find(loaded.identity)[1].kind == "analysed here"
    publish(monkeypatch, record)
    store._refresh_now(EMBEDDED_MODEL)
    lose_the_hub(monkeypatch)
    assert RecordStore(Settings(home=tmp_path, dataset="org/roles")).find(tiny.identity)[1].kind == "cached"


@pytest.mark.parametrize("name", ["analysed", "published"])
def test_a_file_in_place_of_a_folder_of_records_is_put_aside(tiny, record, tmp_path, monkeypatch, name):
    (tmp_path / name).write_text("a note")
    store = RecordStore(Settings(home=tmp_path, dataset="org/roles"))
    monkeypatch.setattr(store, "refresh", lambda _: None)
    publish(monkeypatch, record)
    delete_partial_files(tmp_path)
    store.save(renamed(record, "m", "r"))
    store._refresh_now(EMBEDDED_MODEL)
    assert store.load("m").revision == "r"
    assert sorted(path.name for path in tmp_path.rglob("*@*.json")) == ["headroles-tiny@abc.json", "m@r.json"]
    assert [path.read_text() for path in tmp_path.glob("*.aside-*")] == ["a note"]


@pytest.mark.parametrize("call", ["os.stat", "os.scandir", "os.fsync", "os.replace", "os.utime", "pathlib.Path.mkdir"])
@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_costs_no_visitor_anything(tiny, record, tmp_path, monkeypatch, call, code):
    store = RecordStore(Settings(home=tmp_path, dataset="org/roles"))
    monkeypatch.setattr(store, "refresh", lambda _: None)
    store.save(renamed(record, "m", "r"))
    real = operator.attrgetter(call.partition(".")[2])({"os": os, "pathlib": pathlib}[call.partition(".")[0]])

    def fail(path: object, *rest: object, **more: object) -> object:
        if isinstance(path, int) or str(tmp_path) in str(path):
            raise OSError(code, os.strerror(code))
        return real(path, *rest, **more)

    publish(monkeypatch, record)
    with monkeypatch.context() as patch:
        patch.setattr(call, fail)
        delete_partial_files(tmp_path)
        store._refresh_now(EMBEDDED_MODEL)
        assert store.find(tiny.identity)[1].kind == "published"
        with contextlib.suppress(NoHeadCategoriesError):
            store.load("org/unknown")
    assert store.load("m").revision == "r"


def test_records_kept_by_an_earlier_version_go_on_serving(tiny, record, store, tmp_path):
    older = tmp_path / "analysed" / "org_model@sha256_abc.json"
    older.parent.mkdir(parents=True)
    older.write_text(renamed(record, "org/model", "sha256:abc").to_json())
    assert store.find(dataclasses.replace(tiny, name="org/model", revision="sha256:abc").identity)[1].kind == "analysed here"
    assert store.load("org/model").revision == "sha256:abc"


def test_names_that_are_alike_keep_their_records_apart(tiny, record, store):
    names = ["a/b", "a_b", "a__b", "A/B", "a b", "a/b/c", "x" * 400, "x" * 401]
    for name in names:
        store.save(renamed(record, name, "r"))
    assert [store.load(name).model_name for name in names] == names


def test_only_so_many_names_are_remembered(store, monkeypatch):
    monkeypatch.setattr(RecordStore, "max_models", 10)
    for number in range(100):
        with pytest.raises(NoHeadCategoriesError):
            store.load(f"org/{number}")
    assert len(store._models) == 10
