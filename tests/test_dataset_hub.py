"""The double of the Hub, held to what huggingface_hub expects of the real one; the library itself speaks with it."""

import time

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_session

from headroles.hub.talk import HTTPError
from tests.dataset_hub import DatasetHub, GitRepository
from tests.hub import MEMBERS_TOKEN, STRANGERS_TOKEN

NAME = "org/data"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    # the library reads it when it is imported
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with DatasetHub(tmp_path / "repositories") as hub:
        yield hub


@pytest.fixture
def member(hub) -> HfApi:
    return HfApi(hub.endpoint, token=MEMBERS_TOKEN)


@pytest.fixture
def stranger(hub) -> HfApi:
    return HfApi(hub.endpoint, token=STRANGERS_TOKEN)


@pytest.fixture
def repository(hub) -> GitRepository:
    return hub.create(NAME)


def commit(api: HfApi, files: dict[str, bytes], **more):
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    return api.create_commit(NAME, operations, commit_message="change", repo_type="dataset", **more)


def download(api: HfApi, path: str, folder, **more) -> bytes:
    with open(api.hf_hub_download(NAME, path, repo_type="dataset", cache_dir=folder, **more), "rb") as file:
        return file.read()


def status(error: pytest.ExceptionInfo) -> int:
    return error.value.response.status_code


def test_it_says_who_asks(member, hub):
    assert member.whoami()["name"] == "member"
    with pytest.raises(HfHubHTTPError, match="Invalid") as error:
        HfApi(hub.endpoint, token="hf_wrong").whoami()
    assert status(error) == 401


def test_a_new_dataset_has_one_commit_and_a_second_one_of_its_name_is_refused_unless_that_is_meant(member, hub):
    assert member.create_repo(NAME, repo_type="dataset").repo_id == NAME
    assert member.dataset_info(NAME).sha == hub.datasets[NAME].log()[0]
    with pytest.raises(HfHubHTTPError) as error:
        member.create_repo(NAME, repo_type="dataset")
    assert status(error) == 409
    assert member.create_repo(NAME, repo_type="dataset", exist_ok=True).repo_id == NAME
    assert len(hub.datasets[NAME].log()) == 1


def test_nobody_makes_a_dataset_where_they_may_not_write(stranger, hub):
    for api, expected in ((stranger, 403), (HfApi(hub.endpoint, token=False), 401)):
        with pytest.raises(HfHubHTTPError) as error:
            api.create_repo(NAME, repo_type="dataset")
        assert status(error) == expected
    assert hub.datasets == {}


def test_a_commit_holds_small_and_large_files_as_they_were_sent(member, hub, repository, tmp_path):
    files = {"a/b.json": b"{}\n", "data/x.parquet": bytes(range(256)) * 9, "README.md": b"---\nlicense: mit\n---\n"}
    done = commit(member, files)
    assert done.oid == member.dataset_info(NAME).sha == repository.log()[0]
    for path, content in files.items():
        assert download(member, path, tmp_path) == hub.content(NAME, path) == content
    assert repository.read(repository.files(done.oid)["data/x.parquet"][0]).startswith(b"version https://git-lfs")
    assert hub.count("GET /store/") == 1
    repository.check()


def test_files_can_be_deleted_alone_and_by_folder(member, hub, repository):
    commit(member, {"a": b"1", "b/c": b"2", "b/d": b"3", "e": b"4"})
    operations = [CommitOperationDelete("a"), CommitOperationDelete("b/")]
    member.create_commit(NAME, operations, commit_message="less", repo_type="dataset")
    assert hub.paths(NAME) == {"e"}


def test_what_is_there_already_makes_no_commit(member, repository):
    commit(member, {"a": b"1", "x.parquet": b"2"})
    commit(member, {"a": b"1", "x.parquet": b"2"})
    assert len(repository.log()) == 2


def test_a_commit_on_an_old_parent_is_refused_with_412_and_changes_nothing(member, hub, repository):
    first = repository.log()[0]
    commit(member, {"a": b"1"}, parent_commit=first)
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as error:
        commit(member, {"b": b"2"}, parent_commit=first)
    assert status(error) == 412
    assert hub.paths(NAME) == {"a"}


def test_a_branch_that_moved_while_a_commit_was_made_refuses_it(repository):
    first = repository.log()[0]
    assert repository.commit("refs/heads/main", first, {"a": b"1"}, "one")
    assert repository.commit("refs/heads/main", first, {"b": b"2"}, "two") is None
    assert set(repository.files(repository.log()[0])) == {".gitattributes", "a"}


def test_a_stranger_may_propose_but_not_commit(stranger, hub, repository, tmp_path):
    with pytest.raises(HfHubHTTPError) as error:
        commit(stranger, {"a": b"1"})
    assert status(error) == 403
    for number in (1, 2):
        proposed = commit(stranger, {"a": b"1", "x.png": b"2"}, create_pr=True)
        assert (proposed.pr_num, proposed.pr_revision) == (number, f"refs/pr/{number}")
    assert download(stranger, "x.png", tmp_path, revision="refs/pr/2") == b"2"
    assert stranger.dataset_info(NAME, revision="refs/pr/2").sha == proposed.oid
    assert hub.paths(NAME) == set()


def test_files_are_listed_over_all_pages_and_by_folder(member, hub, repository):
    hub.page_size = 3
    commit(member, {f"a/{n}.json": b"12345" for n in range(8)} | {"x.parquet": b"7" * 500})
    listed = {entry.path: entry for entry in member.list_repo_tree(NAME, recursive=True, repo_type="dataset")}
    assert set(listed) == hub.paths(NAME) | {".gitattributes", "a"}
    assert listed["a/1.json"].size == 5
    assert listed["a/1.json"].blob_id == repository.files(repository.log()[0])["a/1.json"][0]
    assert listed["x.parquet"].size == listed["x.parquet"].lfs.size == 500
    assert {entry.path for entry in member.list_repo_tree(NAME, repo_type="dataset")} == {".gitattributes", "a", "x.parquet"}
    assert [entry.path for entry in member.get_paths_info(NAME, ["a/3.json"], repo_type="dataset")] == ["a/3.json"]


def test_what_is_not_there_is_named_as_the_hub_names_it(member, repository, tmp_path):
    with pytest.raises(RepositoryNotFoundError):
        member.dataset_info("org/nothing")
    with pytest.raises(RevisionNotFoundError):
        member.dataset_info(NAME, revision="nothing")
    with pytest.raises(EntryNotFoundError):
        download(member, "nothing", tmp_path)


def test_a_card_with_broken_metadata_is_refused_before_anything_is_sent(member, hub, repository):
    with pytest.raises(ValueError, match="Invalid metadata"):
        commit(member, {"README.md": b"---\nlicense: [mit\n---\n"})
    assert hub.count("commit") == hub.count("preupload") == 0


@pytest.mark.parametrize("code", [401, 404, 429, 503])
def test_a_status_is_given_as_often_as_asked(member, hub, repository, code):
    hub.fail("GET /api/datasets", code, times=2, Retry_After="7")
    for _ in range(2):
        with pytest.raises(HfHubHTTPError) as error:
            member.dataset_info(NAME)
        assert status(error) == code
        assert error.value.response.headers["Retry-After"] == "7"
    assert member.dataset_info(NAME).sha == repository.log()[0]


@pytest.mark.parametrize(
    ("kind", "error"),
    [("hang", HTTPError), ("drop", HTTPError), ("truncate", HTTPError), ("page", ValueError), ("nonsense", TypeError)],
)
def test_what_is_no_answer_is_none_to_the_library(member, hub, repository, kind, error):
    hub.fail("GET /api/datasets", kind)
    started = time.monotonic()
    with pytest.raises(error):
        member.dataset_info(NAME, timeout=0.3)
    assert time.monotonic() - started < 3
    hub.recover()
    assert member.dataset_info(NAME).sha == repository.log()[0]


def test_a_commit_whose_answer_is_lost_was_made(member, hub, repository):
    hub.fail("POST .*/commit/", "lose")
    with pytest.raises(HTTPError):
        commit(member, {"a": b"1"})
    assert hub.paths(NAME) == {"a"}


def test_a_stale_etag_makes_the_library_take_an_old_file_for_a_new_one(member, hub, repository, tmp_path):
    hub.fail("HEAD .*/resolve/", "stale")
    commit(member, {"a": b"old"})
    assert download(member, "a", tmp_path) == b"old"
    commit(member, {"a": b"new"})
    assert download(member, "a", tmp_path) == b"old"
    hub.recover()
    assert download(member, "a", tmp_path / "empty") == b"new"


def test_a_stopped_hub_refuses_connections(member, hub, repository):
    hub.stop()
    with pytest.raises(HTTPError):
        get_session().get(f"{hub.endpoint}/api/whoami-v2", timeout=3)
