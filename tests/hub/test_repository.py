"""What is asked before a download, what is refused, what is downloaded, and what happens when the Hub is away or lies.

The Hub is a local double; the library's own code speaks with it over HTTP.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file

from headroles.core.registry import ARCHITECTURES
from headroles.errors import JobCancelledError, ModelLoadError, ModelTooLargeError, UnknownModelError, UnsupportedModelError
from headroles.hub import repository
from headroles.hub.download import fetch
from headroles.hub.repository import RepositoryFacts, check_size, inspect
from headroles.models.loading.loader import LoadedModel, load_model
from headroles.settings import GIGABYTE
from tests.fixtures.architectures import build
from tests.fixtures.hub import MEMBERS_TOKEN, STRANGERS_TOKEN, FakeHub, commit_of
from tests.fixtures.known import known
from tests.fixtures.patience import PATIENCE

BOT_TITLE = "Adding `safetensors` variant of this model"
TOP_LEVEL = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny) -> Path:
    """A small random GPT-2 as `save_pretrained` leaves it."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    build("gpt2").save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """A copy of the saved model of one's own."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def change_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **changes}), "utf-8")


def only_pickles(folder: Path) -> Path:
    """The same model as a repository of old times has it."""
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def predict(loaded: LoadedModel) -> torch.Tensor:
    with torch.no_grad():
        return loaded.model(torch.tensor([loaded.encode("The king and the queen")])).logits


def one_sentence(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 500
    return text


# what a folder and a repository hold


def test_a_folder_and_a_repository_say_the_same_of_the_same_files(hub, folder):
    hub.add("org/m", folder)
    here, there = inspect(folder), inspect("org/m")
    size = (folder / "model.safetensors").stat().st_size
    numbers = build("gpt2").num_parameters()
    for facts in (here, there):
        assert (facts.model_type, facts.parameters, facts.weight_bytes) == ("gpt2", numbers, size)
        assert facts.memory_bytes == 4 * numbers
    assert here == RepositoryFacts(str(folder), "gpt2", numbers, size, path=folder)
    assert (there.source, there.revision, there.commit, there.path) == ("org/m", "main", commit_of(folder), None)


def test_weights_in_half_precision_count_as_they_will_be_in_memory(hub, folder):
    build("gpt2").half().save_pretrained(folder)
    hub.add("org/m", folder)
    for facts in (inspect(folder), inspect("org/m")):
        assert facts.memory_bytes == 4 * build("gpt2").num_parameters()
        assert facts.weight_bytes < facts.memory_bytes / 1.9


def test_weights_in_several_files_are_counted_downloaded_and_read_together(hub, folder):
    (folder / "model.safetensors").unlink()
    build("gpt2").save_pretrained(folder, max_shard_size="400KB")
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 1
    hub.add("org/m", folder)
    assert inspect("org/m").parameters == inspect(folder).parameters == build("gpt2").num_parameters()
    assert torch.equal(predict(load_model("m", "org/m")), predict(load_model("m", folder)))


def test_asking_takes_one_request_and_downloads_nothing(hub, folder):
    hub.add("org/m", folder)
    inspect("org/m")
    assert hub.count("/org/m") == hub.count("^GET /api/models/org/m/revision/main$") == 1
    assert not list(Path(constants.HF_HUB_CACHE).glob("*"))


# what is refused


NO_NAMES = (
    "../not-there",
    "a/b/c",
    "",
    "x y",
    "a" * 300,
    "a/" + "b" * 300,
    "-a/b",
    "a--b",
    "org/m.git",
    "org/",
    "org/m\0",
    "caf\u00e9",
)
NO_NAMES += ("https://huggingface.co/org/m", "org/m?x=1", "org/m\nX: y", "\ud800", None, 7, b"org/m", ["org/m"])


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_of_a_model_is_refused_without_a_request(hub, name):
    with pytest.raises(UnknownModelError, match=r"is no model on the Hub \(organisation/name\) and no folder\.$") as error:
        inspect(name)
    one_sentence(error)
    assert hub.requests == []


@pytest.mark.parametrize("token", [None, MEMBERS_TOKEN])
def test_a_model_that_is_not_there_is_unknown(hub, monkeypatch, token):
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UnknownModelError, match="^The Hub has no model org/nothing, or it is a private one that needs HF_TOKEN"):
        inspect("org/nothing")


def test_an_architecture_that_cannot_be_read_is_refused_with_those_that_can(hub, folder):
    change_config(folder, model_type="mamba")
    hub.add("org/m", folder)
    for source, name in (("org/m", "org/m"), (folder, "model")):
        with pytest.raises(
            UnsupportedModelError, match=f"^{name} is of the architecture mamba, which headroles cannot read"
        ) as error:
            load_model("m", source)
        assert f"it reads {len(ARCHITECTURES)} architectures, gpt2, qwen2, " in str(
            error.value
        )  # the page of models has them all
    assert hub.count("resolve") == 0


@pytest.mark.parametrize("config", ["", "[1]", "{", "[" * 100_000, '{"model_type": ["gpt2"]}', '{"model_type": null}', "\ud800"])
def test_a_folder_with_a_config_that_makes_no_sense_is_refused(folder, config):
    (folder / "config.json").write_text(config, "utf-8", errors="surrogatepass")
    with pytest.raises((ModelLoadError, UnsupportedModelError)) as error:
        inspect(folder)
    assert str(folder) not in one_sentence(error)


@pytest.mark.parametrize("model_type", ["gpt2", "evil"])
@pytest.mark.parametrize("from_hub", [True, False])
def test_code_from_a_repository_is_never_run(hub, folder, tmp_path, model_type, from_hub):
    marker = tmp_path / "it-ran"
    code = f"import pathlib, transformers\npathlib.Path({str(marker)!r}).touch()\nclass Evil(transformers.GPT2Model): pass\n"
    for file in ("modeling_evil.py", "tokenizer_evil.py", "tokenizer.py"):
        (folder / file).write_text(code, "utf-8")
    mapping = dict.fromkeys(("AutoConfig", "AutoModelForCausalLM", "AutoModel"), "modeling_evil.Evil")
    change_config(folder, model_type=model_type, auto_map=mapping)
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    tokenizer["auto_map"] = {"AutoTokenizer": ["tokenizer_evil.Evil", "tokenizer_evil.Evil"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), "utf-8")
    hub.add("org/m", folder)
    source = "org/m" if from_hub else folder
    if model_type == "evil":
        with pytest.raises(UnsupportedModelError, match="architecture evil.*code from a repository is never run"):
            load_model("m", source)
    else:
        assert type(load_model("m", source).model).__module__.startswith("transformers.models.gpt2")
    assert hub.count(r"resolve.*\.py") == 0
    assert not marker.exists()


def test_a_repository_with_pickles_only_is_refused_by_that_rule_before_any_download(hub, folder):
    hub.add("org/m", only_pickles(folder))
    with pytest.raises(UnsupportedModelError, match=r"^org/m holds no model.safetensors; pickled weights .* are never read"):
        load_model("m", "org/m")
    assert hub.count("resolve") == 0
    assert hub.count("POST") == 0


def test_the_converters_pull_request_is_taken_in_place_of_pickles(hub, saved, folder):
    request = hub.add("org/m", only_pickles(folder)).propose(saved, "SFconvertbot", BOT_TITLE)
    facts = inspect("org/m")
    assert (facts.revision, facts.commit, facts.weight_bytes) == (request, commit_of(saved), inspect(saved).weight_bytes)
    loaded = load_model("m", facts)
    assert loaded.revision == commit_of(saved)
    assert torch.equal(predict(loaded), predict(load_model("m", saved)))
    assert hub.count("pytorch_model") == 0
    hub.stop()
    assert load_model("m", "org/m").revision == commit_of(saved)


@pytest.mark.parametrize(
    ("author", "title", "status"),
    [
        ("somebody", BOT_TITLE, "open"),
        ("SFconvertbot", BOT_TITLE, "closed"),
        ("SFconvertbot", "Adding flax weights", "open"),
        ("SFconvertbot2", BOT_TITLE, "open"),
    ],
)
@pytest.mark.parametrize("filters", [True, False])
def test_no_other_pull_request_is_taken(hub, saved, folder, author, title, status, filters):
    hub.filters = filters
    hub.add("org/m", only_pickles(folder)).propose(saved, author, title, status)
    with pytest.raises(UnsupportedModelError, match="are never read"):
        inspect("org/m")
    assert hub.count("resolve|refs") == 0


def test_a_model_that_is_too_large_is_refused_with_both_sizes_before_any_download(hub, folder):
    hub.add("org/m", folder)
    facts = inspect("org/m")
    check_size(facts, facts.memory_bytes)
    with pytest.raises(ModelTooLargeError):
        check_size(facts, facts.memory_bytes - 1)
    assert hub.count("resolve") == 0
    with pytest.raises(ModelTooLargeError, match=r"^org/x has 6,738 million .* take 25\.1 GB of memory .*; at most 12\.0 GB are"):
        check_size(RepositoryFacts("org/x", "llama", 6_738_415_616, 13_476_831_232, "main"), 12 * GIGABYTE)


@pytest.mark.parametrize("token", [None, STRANGERS_TOKEN])
def test_a_gated_model_says_what_to_accept_and_which_variable_to_set(hub, folder, monkeypatch, token):
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    hub.add("org/m", folder, gated=True)
    with pytest.raises(
        ModelLoadError, match="^org/m is gated: accept its licence on its page on the Hub, and set HF_TOKEN"
    ) as error:
        load_model("m", "org/m")
    assert STRANGERS_TOKEN not in one_sentence(error)


def test_a_gated_model_comes_to_those_who_accepted_its_licence(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", MEMBERS_TOKEN)
    hub.add("org/m", folder, gated=True)
    assert load_model("m", "org/m").revision == commit_of(folder)


def test_a_token_that_the_hub_does_not_know_is_named_but_not_shown(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.add("org/m", folder)
    with pytest.raises(ModelLoadError, match="^org/m is not on this machine and the Hub refuses the token in HF_TOKEN") as error:
        inspect("org/m")
    assert "hf_secret" not in one_sentence(error)


# when the Hub is away


@pytest.fixture(params=[503, 429, "hang", "page", "refuse"])
def lose(request, hub, monkeypatch):
    """Makes the Hub go away, in one of the ways it can."""

    def lose() -> None:
        if request.param == "refuse":
            hub.stop()
        else:
            hub.faults["."] = request.param
        if request.param == "hang":
            monkeypatch.setattr("headroles.hub.repository.HUB_TIMEOUT_SECONDS", 0.2)

    return lose


def test_without_the_hub_a_model_that_is_not_here_is_refused_soon(hub, folder, lose):
    hub.add("org/m", folder)
    inspect("org/m")
    lose()
    hub.requests.clear()
    with pytest.raises(
        ModelLoadError, match="^org/m is not on this machine and the Hub .*; try again later or take another"
    ) as error:
        load_model("m", "org/m")
    assert len(hub.requests) <= 1  # whoever asks a silent Hub again waits again
    assert "http" not in one_sentence(error)


def test_without_the_hub_a_model_that_was_downloaded_is_taken_from_here(hub, folder, lose):
    hub.add("org/m", folder)
    logits = predict(load_model("m", "org/m"))
    lose()
    facts = inspect("org/m")
    assert (facts.source, facts.weight_bytes) == ("org/m", (folder / "model.safetensors").stat().st_size)
    loaded = load_model("m", facts)
    assert loaded.revision == commit_of(folder)
    assert torch.equal(predict(loaded), logits)


def test_a_hub_that_falls_silent_at_the_question_for_pull_requests_is_away_too(hub, folder, monkeypatch):
    hub.add("org/m", only_pickles(folder))
    hub.faults["discussions"] = "hang"
    ask = repository._converted_revision

    def impatient(name: str) -> str | None:
        """The question before, for the files, has all the time that it needs."""
        monkeypatch.setattr("headroles.hub.repository.HUB_TIMEOUT_SECONDS", 0.2)
        return ask(name)

    monkeypatch.setattr("headroles.hub.repository._converted_revision", impatient)
    with pytest.raises(ModelLoadError, match="the Hub does not answer"):
        inspect("org/m")
    assert hub.count("discussions") == 1


# downloads


def test_only_the_files_that_are_needed_are_downloaded_and_only_once(hub, folder):
    unwanted = ("pytorch_model.bin", "modeling_x.py", "tokenizer.py", "README.md", "model.fp16.safetensors", "flax_model.msgpack")
    for name in (*unwanted, "onnx/model.safetensors", "onnx/config.json", "tokenizer/vocab.json", "model.safetensors.d/x"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((folder / "model.safetensors").read_bytes() if name.endswith("safetensors") else b"{}")
    hub.add("org/m", folder)
    facts = inspect("org/m")
    assert facts.weight_bytes == (folder / "model.safetensors").stat().st_size
    snapshot = fetch(facts)
    assert {file.relative_to(snapshot).as_posix() for file in snapshot.rglob("*")} == TOP_LEVEL
    assert hub.count("^GET /org/m/resolve") == len(TOP_LEVEL)
    hub.requests.clear()
    shares = []
    fetch(inspect("org/m"), shares.append)
    assert hub.requests == ["GET /api/models/org/m/revision/main"]
    assert shares == [1.0]


def test_progress_only_grows_and_ends_at_one(hub, folder, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 2**16)
    hub.add("org/m", folder)
    shares = []
    fetch(inspect("org/m"), shares.append)
    assert shares == sorted(shares)
    assert sum(0.1 < share < 0.9 for share in shares) > 5
    assert shares[-1] == 1.0


def test_a_cancelled_download_stops_and_can_be_taken_up_again(hub, folder, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 2**14)
    hub.add("org/m", folder)
    shares = []

    def cancel(share: float) -> None:
        shares.append(share)
        if share > 0.3:
            raise JobCancelledError("stopped")

    with pytest.raises(JobCancelledError):
        fetch(inspect("org/m"), cancel)
    assert max(shares) < 0.6
    hub.faults["."] = 503
    with pytest.raises(ModelLoadError, match="is not on this machine"):  # not half of it
        inspect("org/m")
    hub.faults.clear()
    assert load_model("m", "org/m").revision == commit_of(folder)


def test_a_new_version_that_did_not_arrive_leaves_the_last_one_usable(hub, saved, folder):
    repository = hub.add("org/m", saved)
    load_model("m", "org/m")
    build("gpt2", seed=1).save_pretrained(folder)
    repository.folders["main"] = folder
    assert commit_of(folder) != commit_of(saved)

    def cancel(share: float) -> None:
        raise JobCancelledError("stopped")

    with pytest.raises(JobCancelledError):
        fetch(inspect("org/m"), cancel)
    hub.faults["."] = 503
    assert load_model("m", "org/m").revision == commit_of(saved)
    hub.faults.clear()
    assert load_model("m", "org/m").revision == commit_of(folder)


def test_what_is_downloaded_is_what_was_looked_at(hub, saved, folder):
    repository = hub.add("org/m", saved)
    facts = inspect("org/m")
    build("gpt2", seed=1, n_layer=4).save_pretrained(folder)
    repository.folders = {"main": folder, "before": saved}
    assert load_model("m", facts).revision == commit_of(saved)


def test_a_full_disk_is_refused_with_both_sizes_before_any_download(hub, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3.4 * GIGABYTE))
    facts = RepositoryFacts("org/m", "gpt2", GIGABYTE, int(2.5 * GIGABYTE), "main", "0" * 40)
    with pytest.raises(ModelLoadError, match=r"^org/m takes 2\.5 GB of disk, and of the 3\.4 GB free here 1\.0 GB are kept;"):
        fetch(facts)
    assert hub.requests == []


def test_a_full_disk_does_not_matter_to_a_model_that_is_here(hub, folder, monkeypatch):
    hub.add("org/m", folder)
    load_model("m", "org/m")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    assert load_model("m", "org/m").revision == commit_of(folder)


def test_a_disk_that_fills_up_on_the_way_is_named_without_paths(hub, folder, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/somewhere/blobs/x.incomplete")

    hub.add("org/m", folder)
    facts = inspect("org/m")
    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    message = r"^The download of org/m broke off \(No space left on device\); try again\.$"
    with pytest.raises(ModelLoadError, match=message):
        fetch(facts)


def test_a_download_that_is_cut_off_ends_in_one_sentence(hub, folder, monkeypatch):
    hub.add("org/m", folder)
    hub.faults[r"model\.safetensors"] = "truncate"
    # the library waits a second before each of its five further tries
    monkeypatch.setattr("huggingface_hub.file_download.time", SimpleNamespace(sleep=lambda _: None))
    message = r"^The download of org/m broke off \(the connection or the Hub failed\); try again\.$"
    with pytest.raises(ModelLoadError, match=message):
        load_model("m", "org/m")
    hub.faults.clear()
    assert load_model("m", "org/m").revision == commit_of(folder)


def test_weights_that_are_broken_on_the_hub_end_in_one_sentence(hub, folder):
    (folder / "model.safetensors").write_bytes(b"\xff" * 100_000)
    hub.add("org/m", folder)
    with pytest.raises(ModelLoadError, match="^m could not be loaded: ") as error:
        load_model("m", "org/m")
    assert constants.HF_HUB_CACHE not in one_sentence(error)


def test_weights_that_were_cut_off_on_this_disk_are_downloaded_again(hub, folder):
    hub.add("org/m", folder)
    logits = predict(load_model("m", "org/m"))
    snapshot = fetch(inspect("org/m"))
    os.truncate((snapshot / "model.safetensors").resolve(), 500_000)
    hub.faults["."] = 503
    with pytest.raises(ModelLoadError, match=r"^org/m could not be loaded: its weights file is broken\.$"):
        load_model("m", "org/m")
    hub.faults.clear()
    assert torch.equal(predict(load_model("m", "org/m")), logits)


# the whole way, with nothing replaced in the process

SCRIPT = """
import json
from headroles.hub import repository
from headroles.hub.download import fetch
from headroles.models.loading.loader import load_model
from headroles.hub.repository import inspect
for _ in range(2):
    facts, shares = inspect("org/m"), []
    fetch(facts, shares.append)
    loaded = load_model("m", facts)
    ids = loaded.encode("The king")
    print(json.dumps([loaded.revision, facts.path is None, shares[-1:], len(loaded.token_texts(ids))]), flush=True)
    input()
"""


@pytest.mark.processes
def test_a_fresh_process_downloads_from_the_hub_that_its_environment_names_and_then_does_without(folder, tmp_path, tiny):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))}
    tokens = len(tiny.encode("The king"))
    with FakeHub() as hub:
        hub.add("org/m", folder)
        environment |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
        with subprocess.Popen([sys.executable, "-c", SCRIPT], env=environment, text=True, stdin=-1, stdout=-1) as process:
            assert json.loads(known(process.stdout).readline()) == [commit_of(folder), True, [1.0], tokens]
            assert hub.count("^GET /org/m/resolve") == len(TOP_LEVEL)
            hub.stop()
            answer, _ = process.communicate("\n\n", timeout=PATIENCE)
    assert json.loads(answer) == [commit_of(folder), False, [], tokens]


KILLED = """
import os, signal, sys
from huggingface_hub import constants
from headroles.hub import repository
from headroles.hub.download import fetch
from headroles.hub.repository import inspect
constants.DOWNLOAD_CHUNK_SIZE = 2**14
fetch(inspect("org/m"), lambda share: os.kill(os.getpid(), signal.SIGKILL) if share >= float(sys.argv[1]) else None)
"""


@pytest.mark.processes
@pytest.mark.parametrize("share", [0.5, *(pytest.param(share, marks=pytest.mark.thorough) for share in (0.0, 0.95))])
def test_of_a_download_whose_process_is_killed_nothing_counts_and_the_next_one_ends_it(hub, folder, tmp_path, share):
    hub.add("org/m", folder)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))}
    environment |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run([sys.executable, "-c", KILLED, str(share)], env=environment, capture_output=True, timeout=PATIENCE)
    assert done.returncode == -signal.SIGKILL, done.stderr
    hub.faults["."] = 503
    with pytest.raises(ModelLoadError, match="is not on this machine"):  # not half of it
        inspect("org/m")
    hub.faults.clear()
    loaded = load_model("m", "org/m")
    assert loaded.revision == commit_of(folder)
    assert torch.equal(predict(loaded), predict(load_model("m", folder)))
