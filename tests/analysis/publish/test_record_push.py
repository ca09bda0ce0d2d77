"""Pushes into a dataset on a double of the Hub: many at once, on every kind of trouble, and what stands there afterwards.

A worker process is told by its environment alone where the Hub is; each push runs in a fork of it, so that twenty can start
at once without importing everything twenty times.
"""

import io
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from huggingface_hub import snapshot_download

from analysis import __main__ as command
from analysis import score
from analysis.pipeline import runs
from analysis.publish import dataset_card
from analysis.publish import dataset_files as dataset
from analysis.publish.record_push import difference
from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_files import parse_record, read_record, record_file_name, write_record
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.roles import ROLES, measured_roles
from headroles.core.surveys.atlas_entries import entries_to_lines, make_entry, update_entries
from headroles.errors import HubError
from headroles.hub.dataset import ATLAS_PATH
from headroles.hub.record_store import EMBEDDED_RECORDS
from tests.analysis.publish.test_dataset_files import make
from tests.fixtures.dataset_hub import DatasetHub
from tests.fixtures.hub import MEMBERS_TOKEN, STRANGERS_TOKEN
from tests.fixtures.known import known
from tests.fixtures.real import REAL_MODEL

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parent.parent.parent.parent
WORKER = """
import json, os, signal, sys, traceback
from pathlib import Path

import matplotlib.backends.backend_agg, PIL.PngImagePlugin  # else each fork would
import torch
from analysis.publish import dataset_files as dataset, record_push as push
from headroles.core.records.record_files import read_record
from headroles.errors import HeadRolesError
from headroles.hub.http import set_timeouts

torch.set_num_threads(1)  # threads do not outlive a fork, and whoever waits for them waits for ever
dataset.rows(read_record(Path("headroles/tiny/headroles-tiny.json")))  # for what it imports; but forks may share no open font
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    if os.fork() == 0:
        Path(job["answer"] + ".pid").write_text(str(os.getpid()))
        os.environ["HF_TOKEN"] = job["token"]
        set_timeouts(job["stall"])
        try:
            pushed = push.push(read_record(Path(job["record"])), job["repo"], job["create_pr"], job["dry_run"])
            answer = {"status": pushed.status, "url": pushed.url, "said": str(pushed)}
        except HeadRolesError as error:
            answer = {"status": "failed", "said": str(error)}
        except BaseException:
            answer = {"status": "bug", "said": traceback.format_exc()}
        partial = Path(job["answer"] + ".partial")
        partial.write_text(json.dumps(answer))
        partial.rename(job["answer"])
        os._exit(0)
"""


class Pusher:
    """Starts pushes, each in a process of its own."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self._folder = folder
        self.log = folder / "log"
        with self.log.open("w") as log:
            self._worker = subprocess.Popen(
                [sys.executable, "-c", WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env=environment(endpoint, folder),
            )
        self._jobs, self._words = known(self._worker.stdin), known(self._worker.stdout)
        assert self._words.readline() == "ready\n", self.log.read_text()

    def start(self, record: HeadCategories, repo: str, token=MEMBERS_TOKEN, create_pr=False, dry_run=False, stall=30.0) -> Path:
        name = uuid.uuid4().hex
        answer = self._folder / name
        job = {"record": str(write_record(record, self._folder / f"{name}.json")), "answer": str(answer)}
        job |= {"repo": repo, "token": token, "create_pr": create_pr, "dry_run": dry_run, "stall": stall}
        self._jobs.write(json.dumps(job) + "\n")
        self._jobs.flush()
        return answer

    def wait(self, answer: Path) -> SimpleNamespace:
        deadline = time.monotonic() + 120
        while not answer.exists():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.01)
        found = SimpleNamespace(**json.loads(answer.read_text()))
        assert found.status != "bug", found.said
        return found

    def push(self, record: HeadCategories, repo: str, **more) -> SimpleNamespace:
        return self.wait(self.start(record, repo, **more))

    def close(self) -> None:
        self._jobs.close()
        self._worker.wait(10)
        self._words.close()


def environment(endpoint: str, home: Path, token: str = "") -> dict[str, str]:
    told = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home / "hf"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    # what it asks for on the way is kept for a day, even nonsense, on which every later request then fails
    told["HF_HUB_DISABLE_TELEMETRY"] = "1"
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    return inherited | told | ({"HF_TOKEN": token} if token else {})


@pytest.fixture(scope="module")
def shared_hub(tmp_path_factory) -> Iterator[DatasetHub]:
    with DatasetHub(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture(scope="module")
def pusher(shared_hub, tmp_path_factory) -> Iterator[Pusher]:
    pusher = Pusher(shared_hub.endpoint, tmp_path_factory.mktemp("pusher"))
    yield pusher
    pusher.close()


@pytest.fixture
def hub(shared_hub) -> Iterator[DatasetHub]:
    yield shared_hub
    shared_hub.recover()


@pytest.fixture
def repo(request) -> str:
    """A dataset of one's own, which is not there yet."""
    return f"org/{re.sub(r'[^a-z0-9]+', '-', request.node.name.lower())[:40].strip('-')}-{uuid.uuid4().hex[:6]}"


@lru_cache
def picture(record: str) -> bytes:
    return dataset.record_picture(parse_record(record, "of the test"))


def check_whole(hub: DatasetHub, repo: str, revision: str = "main") -> dict[str, HeadCategories]:
    """The records of a dataset, by model, after a check that table, picture and card are those of the records."""
    records = {}
    paths = hub.paths(repo, revision)
    for path in paths:
        if path.startswith("head_categories/"):
            record = parse_record(hub.content(repo, path, revision), path)
            name = record.model_name
            assert path == f"head_categories/{record_file_name(name)}"
            table = pq.read_table(io.BytesIO(hub.content(repo, dataset.table_path(name), revision)))
            assert table.equals(dataset.rows(record))
            assert hub.content(repo, dataset.picture_path(name), revision) == picture(record.to_json())
            view = pq.read_table(io.BytesIO(hub.content(repo, dataset.atlas_path(name), revision)))
            assert view.to_pylist() == list(make_entry(record).rows())
            records[name] = record
    assert hub.content(repo, "README.md", revision).decode() == dataset_card.card(list(records.values()), repo)
    assert hub.content(repo, ATLAS_PATH, revision) == entries_to_lines(update_entries({}, records.values()))
    assert len(paths) == 4 * len(records) + 2
    return records


def put(hub: DatasetHub, repo: str, record: HeadCategories) -> None:
    """Lets a dataset hold a record, and no other, as a push leaves it, in no time."""
    name, repository = record.model_name, hub.datasets.get(repo) or hub.create(repo)
    large = {dataset.table_path(name): dataset.record_parquet(record), dataset.picture_path(name): picture(record.to_json())}
    large |= {dataset.atlas_path(name): dataset.atlas_parquet(make_entry(record))}
    files: dict[str, bytes | None] = {path: hub.keep(content) for path, content in large.items()}
    files |= {"README.md": dataset_card.card([record], repo).encode(), ATLAS_PATH: entries_to_lines([make_entry(record)])}
    files |= {f"head_categories/{record_file_name(name)}": record.to_json().encode()}
    assert repository.commit("refs/heads/main", repository.log()[0], files, "put")


# one push


def test_the_first_push_makes_the_dataset_and_one_commit_with_all_of_a_model(hub, pusher, repo, record):
    pushed = pusher.push(record, repo)
    assert pushed.status == "committed"
    assert check_whole(hub, repo) == {record.model_name: record}
    assert len(hub.datasets[repo].log()) == 2
    assert pushed.url.endswith(f"/datasets/{repo}/commit/{hub.datasets[repo].log()[0]}")


def test_a_second_model_joins_the_first(hub, pusher, repo):
    records = [make("gpt2", seed=1), make("org/m", seed=2)]
    for record in records:
        assert pusher.push(record, repo).status == "committed"
    assert check_whole(hub, repo) == {record.model_name: record for record in records}


def test_what_is_unchanged_but_for_its_date_makes_no_commit(hub, pusher, repo):
    record = make()
    pusher.push(record, repo)
    again = pusher.push(record.model_copy(update={"analysis_date": "2026-01-01"}), repo)
    assert again.status == "unchanged"
    assert len(hub.datasets[repo].log()) == 2
    assert check_whole(hub, repo)[record.model_name].analysis_date == record.analysis_date


@pytest.mark.parametrize("change", ["scores", "revision", "recipe"])
def test_what_changed_replaces_json_table_picture_and_card(hub, pusher, repo, change):
    old = make()
    new = {
        "scores": make(seed=1),
        "revision": old.model_copy(update={"revision": "f" * 40}),
        "recipe": make(repeat_length=20),
    }[change]
    put(hub, repo, old)
    assert pusher.push(new, repo).status == "committed"
    assert check_whole(hub, repo) == {new.model_name: new}


@pytest.mark.parametrize(
    "missing", ["README.md", dataset.table_path("org/m"), dataset.picture_path("org/m"), dataset.atlas_path("org/m"), ATLAS_PATH]
)
def test_a_derived_file_that_is_missing_is_made_again(hub, pusher, repo, missing):
    record = make()
    put(hub, repo, record)
    repository = hub.datasets[repo]
    repository.commit("refs/heads/main", repository.log()[0], {missing: None}, "lost")
    assert pusher.push(record, repo).status == "committed"
    assert check_whole(hub, repo) == {record.model_name: record}


def test_a_push_changes_its_own_rows_of_the_atlas_alone_and_mends_what_is_broken(hub, pusher, repo):
    old = make("gpt2")
    put(hub, repo, old)
    repository, spoilt = hub.datasets[repo], entries_to_lines([make_entry(old)]) + b"{\n"
    repository.commit("refs/heads/main", repository.log()[0], {ATLAS_PATH: spoilt}, "spoilt")
    shown = pusher.push(make("org/m", seed=1), repo, dry_run=True)
    assert f"  adds {dataset.atlas_path('org/m')} (" in shown.said
    assert dataset.atlas_path("gpt2") not in shown.said
    pusher.push(make("org/m", seed=1), repo)
    assert spoilt.splitlines()[0] in hub.content(repo, ATLAS_PATH, "main").splitlines()
    assert len(check_whole(hub, repo)) == 2


def test_a_dataset_of_many_pages_is_read_whole(hub, pusher, repo, monkeypatch):
    monkeypatch.setattr(hub, "page_size", 2)
    for number in range(3):
        pusher.push(make(f"org/m{number}"), repo)
    assert len(check_whole(hub, repo)) == 3


# many at once


@pytest.mark.slow
def test_of_twenty_models_pushed_at_once_every_one_is_there_whole_and_once(hub, pusher, repo):
    records = {f"org/model-{n}": make(f"org/model-{n}", seed=n) for n in range(20)}
    done = [pusher.wait(answer) for answer in [pusher.start(record, repo) for record in records.values()]]
    assert [pushed.status for pushed in done] == ["committed"] * 20
    assert len({pushed.url for pushed in done}) == 20
    assert check_whole(hub, repo) == records
    commits = hub.datasets[repo].log()
    assert len(commits) == 21
    for models, commit in enumerate(reversed(commits[:-1]), start=1):
        assert len(check_whole(hub, repo, commit)) == models
    hub.datasets[repo].check()


@pytest.mark.slow
def test_of_one_model_pushed_ten_times_at_once_there_is_one_commit(hub, pusher, repo, record):
    done = [pusher.wait(answer) for answer in [pusher.start(record, repo) for _ in range(10)]]
    # who is overtaken by the very same at the last moment is told of that commit
    assert {pushed.status for pushed in done} <= {"committed", "unchanged"}
    assert len({pushed.url for pushed in done if pushed.status == "committed"}) == 1
    assert len(hub.datasets[repo].log()) == 2
    assert check_whole(hub, repo) == {record.model_name: record}


def test_of_one_model_pushed_with_different_scores_at_once_the_last_is_there_wholly(hub, pusher, repo):
    versions = [make(seed=seed) for seed in range(5)]
    done = [pusher.wait(answer) for answer in [pusher.start(record, repo) for record in versions]]
    assert [pushed.status for pushed in done] == ["committed"] * 5
    seen = [check_whole(hub, repo, commit)["org/m"] for commit in hub.datasets[repo].log()[:-1]]
    assert len(seen) == 5
    assert all(record in seen for record in versions)


def test_what_the_dataset_held_before_somebody_was_faster_is_forgotten(hub, pusher, repo):
    """The first time only the table is there already, the second time nothing is."""
    first, faster = make(), make(seed=1)
    pushed = make(tokenizer_sha256="1" * 64)
    assert dataset.rows(first).equals(dataset.rows(pushed))
    put(hub, repo, first)
    hub.fail("/commit/", lambda: put(hub, repo, faster), times=1)
    assert pusher.push(pushed, repo).status == "committed"
    assert check_whole(hub, repo) == {"org/m": pushed}
    assert len(hub.datasets[repo].log()) == 4


def test_a_push_that_is_always_overtaken_gives_up_and_says_so(hub, pusher, repo):
    put(hub, repo, make())
    hub.fail(f"POST .*{repo}/commit/", 412, Retry_After="0")
    failed = pusher.push(make(seed=1), repo)
    assert re.fullmatch(rf"Others changed {repo} 40 times while org/m was being pushed; try again later\.", failed.said)


# what others put there


HOSTILE = {
    "head_categories/broken.json": b"{",
    "head_categories/list.json": b"[" * 100_000,
    "head_categories/empty.json": b"",
    "head_categories/gpt2.json": make("org/other").to_json().encode(),
    "head_categories/a b.json": make("a b").to_json().encode(),
    "head_categories/x](http:__evil).json": make("x](http://evil)").to_json().encode(),
    "head_categories/deep/org__m.json": make("org/m").to_json().encode(),
    "head_categories/nan.json": make("nan").to_json().replace("0.5", "NaN").encode(),
    "head_categories/readme.txt": b"hello",
    "head_categories/\xff\xfe.json".encode().decode(): b"\xff\xfe",
}


def test_foreign_and_broken_files_stay_as_they_are_and_out_of_the_card(hub, pusher, repo):
    repository = hub.create(repo)
    repository.commit("refs/heads/main", repository.log()[0], {**HOSTILE, "README.md": b"\xff"}, "hostile")
    record = make("org/good")
    assert pusher.push(record, repo).status == "committed"
    for path, content in HOSTILE.items():
        assert hub.content(repo, path) == content
    assert hub.content(repo, "README.md").decode() == dataset_card.card([record], repo)
    assert pusher.push(record, repo).status == "unchanged"


def test_a_broken_record_is_replaced_by_a_push_of_its_model(hub, pusher, repo):
    repository = hub.create(repo)
    repository.commit("refs/heads/main", repository.log()[0], {"head_categories/org__m.json": b"{"}, "broken")
    assert pusher.push(make(), repo).status == "committed"
    assert check_whole(hub, repo) == {"org/m": make()}


def test_two_models_whose_names_are_alike_have_a_file_each(hub, pusher, repo):
    names = ["a/b__c", "a__b/c", "a__b__c", "a_/b", "a"]
    for name in names:
        assert pusher.push(make(name), repo).status == "committed"
    assert sorted(check_whole(hub, repo)) == sorted(names)


def test_a_file_that_an_older_version_gave_to_two_names_is_not_taken_from_the_other(hub, pusher, repo):
    repository = hub.create(repo)
    content = {"head_categories/a__b__c.json": make("a__b/c").to_json().encode()}
    repository.commit("refs/heads/main", repository.log()[0], content, "older")
    failed = pusher.push(make("a/b__c"), repo)
    assert failed.said == f"head_categories/a__b__c.json in {repo} holds the roles of a__b/c; rename one of them."
    assert hub.content(repo, "head_categories/a__b__c.json") == content["head_categories/a__b__c.json"]


@pytest.mark.parametrize("name", ["my model", "../../x", "a/b/c", "<b>", "", "x\ny"])
def test_a_name_that_the_hub_has_not_is_refused_before_a_request(hub, pusher, repo, name):
    before = len(hub.requests)
    assert "cannot be pushed; rename it" in pusher.push(make(name), repo).said
    assert len(hub.requests) == before


# who may


def test_who_may_not_write_is_told_of_create_pr_which_then_proposes(hub, pusher, repo):
    put(hub, repo, make("gpt2"))
    refused = pusher.push(make(), repo, token=STRANGERS_TOKEN)
    assert refused.said == f"The token in HF_TOKEN may not write to {repo}; propose the roles of org/m with --create-pr instead."
    proposed = pusher.push(make(), repo, token=STRANGERS_TOKEN, create_pr=True)
    assert proposed.status == "proposed"
    assert proposed.url.endswith(f"/datasets/{repo}/discussions/1")
    assert set(check_whole(hub, repo)) == {"gpt2"}
    assert set(check_whole(hub, repo, "refs/pr/1")) == {"gpt2", "org/m"}
    assert pusher.push(make("gpt2"), repo, token=STRANGERS_TOKEN, create_pr=True).status == "unchanged"


def test_nothing_is_proposed_to_a_dataset_that_is_not_there(hub, pusher, repo):
    failed = pusher.push(make(), repo, token=STRANGERS_TOKEN, create_pr=True)
    assert failed.said == f"There is no dataset {repo} on the Hub, or it is closed to the token in HF_TOKEN."
    assert repo not in hub.datasets


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("hf_wrong", "The Hub refuses the token in HF_TOKEN, so org/m was not pushed to {repo}."),
        ("", "Pushing to {repo} takes a token that may write to it; set HF_TOKEN."),
    ],
)
def test_a_wrong_or_missing_token_is_said_in_one_sentence(hub, pusher, repo, token, said, exists):
    if exists:
        hub.create(repo)
    assert pusher.push(make(), repo, token=token).said == said.format(repo=repo)


# a dry run


def test_a_dry_run_says_what_would_change_and_sends_nothing(hub, pusher, repo):
    old, new = make(), make(seed=1)
    before = len(hub.requests)
    shown = pusher.push(old, repo, dry_run=True)
    assert shown.status == "shown"
    assert repo not in hub.datasets
    assert not [request for request in hub.requests[before:] if not request.startswith(("GET", "HEAD"))]
    pusher.push(old, repo)
    before = len(hub.requests)
    shown = pusher.push(new, repo, dry_run=True, token="")
    for path in ("README.md", "head_categories/org__m.json", dataset.table_path("org/m"), dataset.picture_path("org/m")):
        assert f"  changes {path} (" in shown.said
    assert difference(old, new)
    assert shown.said.endswith("\n".join(difference(old, new)))
    assert not [request for request in hub.requests[before:] if not request.startswith(("GET", "HEAD"))]
    assert pusher.push(old, repo, dry_run=True).status == "unchanged"
    assert check_whole(hub, repo) == {"org/m": old}


def test_a_difference_names_recipe_heads_and_scores():
    old = make()
    new = make(repeat_length=20)
    assert difference(old, new) == ["  repeat_length: 50 -> 20"]
    (first, *_), text = old.top_heads(ROLES["induction"]), "\n".join(difference(None, old))
    assert f"  induction: {first.label} {old.score(ROLES['induction'], first):.3f}" in text
    scores = [[*row] for row in old.all_scores["diffuse"]]
    scores[0][0] = 0.0
    changed = old.model_copy(update={"all_scores": {**old.all_scores, "diffuse": scores}})
    count = 12 * len(old.scored_roles)
    assert difference(old, changed) == [f"  1 of {count} scores change, by {old.all_scores['diffuse'][0][0]:.4f} at most"]


# trouble


TROUBLE = [
    (".*", 503, {}, "The Hub answers with error 503, so"),
    (".*", 429, {}, "The Hub answers with error 429, so"),
    (".*", 404, {}, "The Hub answers with error 404, so"),
    (".*", 401, {}, "There is no dataset|The Hub refuses the token"),
    (".*", "drop", {}, "The Hub does not answer, so"),
    (".*", "hang", {}, "The Hub does not answer, so"),
    (".*", "truncate", {}, "The Hub does not answer, so"),
    (".*", "page", {}, "The Hub gives a broken answer, so"),
    (".*", "nonsense", {}, "The Hub gives a broken answer, so"),
    ("/tree/", "page", {}, "The Hub gives a broken answer, so"),
    ("/tree/", "nonsense", {}, "The Hub gives a broken answer, so"),
    ("/resolve/", "page", {}, "The Hub gives a broken answer, so"),
    ("/resolve/", 404, {}, "The Hub answers with error 404, so"),
    ("preupload", "nonsense", {}, "The Hub gives a broken answer, so"),
    ("preupload", 401, {}, "The Hub refuses the token in HF_TOKEN, so"),
    ("objects/batch", "nonsense", {}, "The Hub gives a broken answer, so"),
    ("PUT /store/", 400, {}, "The Hub answers with error 400, so"),
    ("validate-yaml", "page", {}, "The Hub gives a broken answer, so"),
    ("/commit/", 503, {"Retry_After": "0"}, "The Hub answers with error 503, so"),
    ("/commit/", 403, {}, "The token in HF_TOKEN may not write"),
    ("/commit/", "drop", {}, "The Hub does not answer, so"),
    ("/commit/", "hang", {}, "The Hub does not answer, so"),
]


@pytest.mark.parametrize(("requests", "kind", "headers", "said"), TROUBLE, ids=lambda part: str(part)[:20])
def test_trouble_is_one_sentence_leaves_nothing_half_written_and_passes(hub, pusher, repo, requests, kind, headers, said):
    # of scores that no other push sent, or their large files would be there already
    old, new = make(), make(seed=uuid.uuid4().int % 2**32)
    put(hub, repo, old)
    hub.fail(requests, kind, **headers)
    failed = pusher.push(new, repo, stall=0.5)
    assert failed.status == "failed"
    assert re.match(said, failed.said)
    assert re.fullmatch(r"[^\n]{20,200}\.", failed.said)
    assert MEMBERS_TOKEN not in failed.said
    hub.recover()
    assert check_whole(hub, repo) == {"org/m": old}
    assert pusher.push(new, repo).status == "committed"
    assert check_whole(hub, repo) == {"org/m": new}


@pytest.mark.parametrize(
    ("requests", "kind", "headers"),
    [
        ("/commit/", 503, {}),
        ("/commit/", 412, {}),
        ("/commit/", "drop", {}),
        ("/commit/", 429, {"Retry_After": "1"}),
        ("preupload", 429, {"Retry_After": "0"}),
        ("/tree/", 503, {}),
        ("GET .*/resolve/", "truncate", {}),
    ],
    ids=lambda part: str(part)[:20],
)
def test_trouble_that_passes_while_a_push_runs_only_takes_time(hub, pusher, repo, requests, kind, headers):
    put(hub, repo, make("gpt2"))
    hub.fail(requests, kind, times=1, **headers)
    started = time.monotonic()
    assert pusher.push(make(), repo).status == "committed"
    assert time.monotonic() - started >= int(headers.get("Retry_After", 0))
    assert set(check_whole(hub, repo)) == {"gpt2", "org/m"}
    assert len(hub.datasets[repo].log()) == 3


@pytest.mark.parametrize(
    "requests", ["/tree/", "/resolve/", "preupload", "objects/batch", "PUT /store/", "validate-yaml", "/commit/"], ids=str
)
def test_a_push_that_is_killed_leaves_all_of_it_or_nothing_and_the_next_one_ends_it(hub, pusher, repo, requests):
    """The Hub serves the request in whose middle its client dies."""
    old, new = make(), make(seed=uuid.uuid4().int % 2**32)
    put(hub, repo, old)
    killed, pushes = threading.Event(), queue.Queue[Path]()

    def kill() -> None:
        os.kill(int(pushes.get().with_suffix(".pid").read_text()), signal.SIGKILL)
        killed.set()

    hub.fail(requests, kill, times=1)
    push = pusher.start(new, repo)
    pushes.put(push)
    assert killed.wait(60)
    hub.recover()
    # of one commit: the Hub goes on with what it was asked for, also while this reads
    assert check_whole(hub, repo, hub.datasets[repo].log()[0]) in ({"org/m": old}, {"org/m": new})
    assert not push.exists()  # it was dead before it could say how it went
    assert pusher.push(new, repo).status in ("committed", "unchanged")
    assert check_whole(hub, repo) == {"org/m": new}
    hub.datasets[repo].check()


def test_a_commit_whose_answer_is_lost_is_not_made_again(hub, pusher, repo):
    put(hub, repo, make("gpt2"))
    hub.fail("/commit/", "lose", times=1)
    assert pusher.push(make(), repo).status == "unchanged"
    assert len(hub.datasets[repo].log()) == 3


def test_a_pull_request_whose_answer_is_lost_is_not_opened_again(hub, pusher, repo):
    put(hub, repo, make("gpt2"))
    hub.fail("/commit/", "lose", times=1)
    before = hub.count(f"POST .*{repo}/commit")
    assert pusher.push(make(), repo, create_pr=True).status == "failed"
    assert hub.count(f"POST .*{repo}/commit") == before + 1


def test_no_token_was_ever_logged(hub, pusher, repo):
    hub.fail("preupload", 503, times=1)
    pusher.push(make(), repo)
    log = pusher.log.read_text()
    assert "Retrying" in log
    assert MEMBERS_TOKEN not in log


# with the library that people read it with


READ = """
import sys
from datasets import load_dataset
rows = load_dataset(sys.argv[1], split="train")
print(len(rows), len(set(rows["model"])), rows.features["score"].dtype, rows.features["layer"].dtype, rows[0]["is_top_head"])
"""
PULL = """
import sys
from headroles.core.surveys.atlas_entries import make_entry
from headroles.hub.dataset import fetch_atlas, fetch_record
record, (entries, commit) = fetch_record(sys.argv[1], sys.argv[2], "main")[0], fetch_atlas(sys.argv[2], "main")
assert (len(entries), make_entry(record) in entries) == (3, True)
assert fetch_atlas(sys.argv[2], "main", commit) == (None, commit)
print(record.to_json())
"""


@pytest.mark.slow
def test_load_dataset_gives_the_rows_of_the_folder_and_of_the_hub_and_a_pull_the_record(hub, pusher, repo, tmp_path):
    records = [
        make("gpt2"),
        make("org/m", layers=2, heads=3),
        read_record(EMBEDDED_RECORDS[REAL_MODEL]),
    ]  # the last is the first by name
    for record in records:
        pusher.push(record, repo)
    assert check_whole(hub, repo)[REAL_MODEL] == records[-1]
    folder = snapshot_download(
        repo, repo_type="dataset", local_dir=tmp_path / "here", endpoint=hub.endpoint, cache_dir=tmp_path, token=MEMBERS_TOKEN
    )
    expected = f"{(12 + 6 + 270) * len(measured_roles())} 3 float64 int32 {dataset.rows(records[-1])['is_top_head'][0]}\n"
    for source in (folder, repo):
        told = environment(hub.endpoint, tmp_path)
        read = subprocess.run([sys.executable, "-c", READ, source], capture_output=True, text=True, env=told)
        assert read.stdout == expected, read.stderr
    pull = [sys.executable, "-c", PULL, REAL_MODEL, repo]  # as a Space does
    pulled = subprocess.run(pull, capture_output=True, text=True, env=environment(hub.endpoint, tmp_path))
    assert pulled.stdout == records[-1].to_json() + "\n", pulled.stderr


# the command line


@pytest.fixture
def analysed(monkeypatch) -> Callable[..., None]:
    """Lets the analysis end with the given outcomes at once."""

    def make_outcomes(*outcomes: runs.Outcome) -> None:
        monkeypatch.setattr(score, "run_models", lambda *_: (outcome for outcome in outcomes))

    return make_outcomes


def test_every_record_is_pushed_and_one_that_fails_is_a_failed_row(analysed, monkeypatch, capsys, tmp_path):
    outcomes = [
        runs.Outcome("gpt2", "written", 1.0, record=make("gpt2")),
        runs.Outcome("distilgpt2", "failed", 1.0, reason="It is broken."),
        runs.Outcome("headroles-tiny", "skipped", 1.0, record=make("headroles-tiny")),
    ]
    analysed(*outcomes)
    monkeypatch.setattr(score, "is_reachable", lambda: True)
    asked = []

    def push(record, *more):
        asked.append((record.model_name, *more))
        if record.model_name == "gpt2":
            raise HubError("The Hub is away.")
        return "headroles-tiny pushed"

    monkeypatch.setattr("analysis.publish.record_push.push", push)
    names = [outcome.model for outcome in outcomes]
    assert command.main([*names, "--out", str(tmp_path), "--push", "org/data", "--create-pr", "--dry-run"]) == 1
    assert asked == [("gpt2", "org/data", True, True), ("headroles-tiny", "org/data", True, True)]
    said = capsys.readouterr()
    assert "failed: The Hub is away." in said.out
    assert "headroles-tiny pushed" in said.out
    note, *errors = said.err.splitlines()
    assert note.startswith("note: 3 of 3 to be made")
    assert errors == ["error: The Hub is away.", "error: It is broken."]


@pytest.mark.parametrize("arguments", [["--push", "data"], ["--push", "a/b/c"], ["--push", "org/da ta"], ["--create-pr"]])
def test_a_wrong_push_on_the_command_line_is_refused_at_once(arguments, capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        command.main(["gpt2", "--out", str(tmp_path), *arguments])
    assert stop.value.code == 2
    assert "ORG/DATASET" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_the_command_pushes_and_when_the_hub_is_gone_keeps_the_record_and_fails(hub, repo, tmp_path):
    """With a small analysis of the embedded model, as anyone would run it."""
    arguments = [EMBEDDED_MODEL, "--out", str(tmp_path / "out"), "--push", repo]
    arguments += ["--quick", "--repeated-sequences", "2", "--repeat-length", "8", "--sentences", "2"]

    def run(endpoint: str) -> subprocess.CompletedProcess[str]:
        told = environment(endpoint, tmp_path, MEMBERS_TOKEN)
        return subprocess.run([sys.executable, "-m", "analysis", *arguments], capture_output=True, text=True, cwd=ROOT, env=told)

    gone = run("http://127.0.0.1:9")
    made = tmp_path / "out" / EMBEDDED_RECORDS[EMBEDDED_MODEL].name
    assert gone.returncode == 1
    assert gone.stderr.splitlines()[-1] == (
        f"error: The Hub does not answer, so {EMBEDDED_MODEL} was not pushed to {repo}; run the same command again."
    )
    record = parse_record(made.read_bytes(), made.name)
    back = run(hub.endpoint)
    assert back.returncode == 0, back.stderr
    assert f"{EMBEDDED_MODEL} pushed to {repo}: {hub.endpoint}/datasets/{repo}/commit/" in back.stdout
    assert "skipped: up to date" in back.stdout
    assert check_whole(hub, repo) == {EMBEDDED_MODEL: record}
    for output in (gone, back):
        assert MEMBERS_TOKEN not in output.stdout + output.stderr
