"""What the operator sets, what a wrong value says, and the memory that a container really has."""

from pathlib import Path

import psutil
import pytest
from huggingface_hub.utils import HFValidationError, validate_repo_id

from headroles import settings
from headroles.errors import InvalidInputError
from headroles.settings import GIGABYTE, LEAST_BYTES, RESERVE_BYTES, Settings, default_budget, machine_memory

MACHINE = psutil.virtual_memory().total


@pytest.fixture
def limits(monkeypatch, tmp_path):
    """Sets what the container's limit files say, None for no file."""

    def write(*texts: str | None) -> None:
        paths = [tmp_path / str(number) for number in range(len(texts))]
        for path, text in zip(paths, texts):
            if text is not None:
                path.write_text(text, "utf-8")
        monkeypatch.setattr(settings, "CGROUP_LIMITS", [str(path) for path in paths])

    return write


def test_an_empty_environment_gives_the_defaults():
    assert Settings.from_environment({}) == Settings()
    assert Settings.from_environment({"HEADROLES_MEMORY_GB": "", "HEADROLES_ANY_MODEL": "", "HEADROLES_HOME": ""}) == Settings()
    assert not Settings().any_model
    assert Settings().home == Path.home() / ".cache" / "headroles"
    assert Settings().memory_bytes == default_budget()


def test_every_variable_is_read():
    found = Settings.from_environment({"HEADROLES_MEMORY_GB": "1.5", "HEADROLES_ANY_MODEL": "1", "HEADROLES_HOME": "~/records"})
    assert found == Settings(memory_bytes=3 * GIGABYTE // 2, any_model=True, home=Path.home() / "records")
    assert not Settings.from_environment({"HEADROLES_ANY_MODEL": "0"}).any_model


def test_the_limits_are_read():
    found = Settings.from_environment({"HEADROLES_WORKERS": "3", "HEADROLES_QUEUE": "0", "HEADROLES_RATE": "60"})
    assert (found.workers, found.max_waiting, found.prompts_a_minute) == (3, 0, 60)
    empty = Settings.from_environment({"HEADROLES_WORKERS": "", "HEADROLES_QUEUE": "", "HEADROLES_RATE": "", "HEADROLES_MCP": ""})
    assert (empty.workers, empty.max_waiting, empty.prompts_a_minute, empty.mcp) == (8, 64, 240, False)


@pytest.mark.parametrize("value", ["-1", "many", " ", "1.5", "1e3", "100000", "²", "٣"])
@pytest.mark.parametrize(("name", "least"), [("HEADROLES_WORKERS", 1), ("HEADROLES_QUEUE", 0), ("HEADROLES_RATE", 0)])
def test_a_limit_that_is_no_whole_number_is_refused_by_name(name, least, value):
    with pytest.raises(InvalidInputError) as caught:
        Settings.from_environment({name: value})
    assert str(caught.value) == f"{name} must be a whole number from {least} to 99999, but is {value!r}."


def test_without_a_worker_nothing_would_ever_be_answered():
    with pytest.raises(InvalidInputError, match="HEADROLES_WORKERS must be a whole number from 1"):
        Settings.from_environment({"HEADROLES_WORKERS": "0"})


def test_mcp_is_switched_on_where_it_is_installed_and_else_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert Settings.from_environment({"HEADROLES_MCP": "1"}).mcp
    assert not Settings.from_environment({"HEADROLES_MCP": "0"}).mcp
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not Settings.from_environment({}).mcp
    with pytest.raises(InvalidInputError, match=r"HEADROLES_MCP=1 needs what `pip install 'gradio\[mcp\]'` installs"):
        Settings.from_environment({"HEADROLES_MCP": "1"})


def test_the_process_environment_is_the_default(monkeypatch):
    monkeypatch.setenv("HEADROLES_MEMORY_GB", "7")
    assert Settings.from_environment().memory_bytes == 7 * GIGABYTE


@pytest.mark.parametrize("value", ["much", " ", "nan", "inf", "1,5"])
def test_a_memory_that_is_no_number_above_0_is_refused_by_name(value):
    with pytest.raises(InvalidInputError) as caught:
        Settings.from_environment({"HEADROLES_MEMORY_GB": value})
    assert str(caught.value) == f"HEADROLES_MEMORY_GB must be a number above 0, but is {value!r}."


@pytest.mark.parametrize("value", ["0", "-1", "1e-9", "1e-300", "0.06"])
def test_a_memory_that_holds_no_model_at_all_is_refused_by_name(value):
    with pytest.raises(InvalidInputError) as caught:
        Settings.from_environment({"HEADROLES_MEMORY_GB": value})
    assert str(caught.value) == (
        f"HEADROLES_MEMORY_GB must be 0.0625 at least, which the model that ships with headroles needs, but is {value!r}."
    )


def test_the_least_memory_holds_the_embedded_model_twice(tiny):
    assert 2 * tiny.memory_bytes < LEAST_BYTES


# what the Hub's own library takes, and refuses
REPOS = [
    "org/roles",
    "a/b",
    "a_b/c.d-e_f",
    "../..",
    "a/..",
    "./a",
    "a--b/c",
    "a/b--c",
    "a/b.git",
    "-a/b",
    "a/b.",
    "a/b/c",
    "a b/c",
]
REPOS += ["org/" + "x" * 96, "org/" + "x" * 97, "org", "org/", "/roles", "\u00e9/a", "a/b\n"]


@pytest.mark.parametrize("name", REPOS)
def test_a_dataset_is_named_as_the_hub_names_them(name):
    try:
        validate_repo_id(name)
        allowed = "/" in name
    except HFValidationError:
        allowed = False
    if allowed or name != name.strip():  # a space around it is nobody's intention
        assert Settings.from_environment({"HEADROLES_DATASET": name}).dataset == name.strip()
    else:
        with pytest.raises(InvalidInputError, match="HEADROLES_DATASET must be a dataset repo, organisation/name"):
            Settings.from_environment({"HEADROLES_DATASET": name})


@pytest.mark.parametrize(("environment", "trusted"), [({}, False), ({"SPACE_ID": "a/b"}, True)])
def test_a_proxy_is_trusted_on_a_space_and_else_where_it_is_said(environment, trusted):
    assert Settings.from_environment(environment).trust_proxy == trusted
    for value in ("0", "1"):
        assert Settings.from_environment({**environment, "HEADROLES_TRUST_PROXY": value}).trust_proxy == (value == "1")


@pytest.mark.parametrize(
    "path", ["", "/", "/roles", "/a/b-c/", "https://example.org", "http://[::1]:80/a", "https://example.org/a/"]
)
def test_a_root_path_is_a_path_or_an_address(path):
    Settings.from_environment({"GRADIO_ROOT_PATH": path})


@pytest.mark.parametrize("path", ["roles", "//evil.org", "/a b", "/a?b", "javascript:alert(1)", "https://", '/"><script>'])
def test_a_root_path_that_is_neither_is_refused(path):
    with pytest.raises(InvalidInputError, match="GRADIO_ROOT_PATH must be a path"):
        Settings.from_environment({"GRADIO_ROOT_PATH": path})


@pytest.mark.parametrize("value", ["yes", "true", "2", " 1"])
@pytest.mark.parametrize("name", ["HEADROLES_ANY_MODEL", "HEADROLES_MCP"])
def test_a_switch_that_is_neither_0_nor_1_is_refused_by_name(name, value):
    with pytest.raises(InvalidInputError) as caught:
        Settings.from_environment({name: value})
    assert str(caught.value) == f"{name} must be 0 or 1, but is {value!r}."


@pytest.mark.parametrize("text", [f"{GIGABYTE}\n", str(GIGABYTE)])
@pytest.mark.parametrize("place", [0, 1])
def test_the_limit_of_a_container_counts_where_it_is_lower(limits, text, place):
    limits(*[None] * place, text)
    assert machine_memory() == GIGABYTE


@pytest.mark.parametrize("text", [None, "max\n", "", "nonsense", "²", "0", "-1", str(2**63 - 4096)])
def test_what_is_no_limit_leaves_the_memory_of_the_machine(limits, text):
    limits(text, text)
    assert machine_memory() == MACHINE


def test_a_limit_that_cannot_be_read_leaves_the_memory_of_the_machine(monkeypatch, tmp_path):
    broken = tmp_path / "broken"
    broken.write_bytes(b"\xff\xfe")
    monkeypatch.setattr(settings, "CGROUP_LIMITS", [str(tmp_path), str(broken)])
    assert machine_memory() == MACHINE


def test_the_budget_is_the_memory_minus_a_reserve_and_a_quarter_at_least(limits):
    limits(str(2 * RESERVE_BYTES))
    assert default_budget() == min(2 * RESERVE_BYTES, MACHINE) - RESERVE_BYTES
    limits(str(GIGABYTE))
    assert default_budget() == GIGABYTE // 4
