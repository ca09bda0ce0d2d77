"""What the operator sets, what a wrong value says, and the memory that a container really has."""

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from huggingface_hub.utils import HFValidationError, validate_repo_id
from pydantic import ValidationError

from headroles import settings
from headroles.errors import InvalidInputError
from headroles.settings import GIGABYTE, LEAST_BYTES, RESERVE_BYTES, Settings, default_budget, machine_memory

MACHINE = psutil.virtual_memory().total
MEMORY = "a number from 0.0625 on, which the model that ships with headroles needs"
PATH = "a path as /headroles or a whole address as https://example.org/headroles"


@pytest.fixture
def read(monkeypatch) -> Callable[..., Settings]:
    """Reads the settings of an environment that has these variables."""

    def read(**variables: str) -> Settings:
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            return Settings.from_environment()

    return read


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


VALUES = {
    ("HEADROLES_MEMORY_GB", "1.5"): {"memory_bytes": 3 * GIGABYTE // 2},
    ("HEADROLES_ANY_MODEL", "1"): {"any_model": True},
    ("HEADROLES_ANY_MODEL", "0"): {"any_model": False},
    ("HEADROLES_HOME", "~/records"): {"home": Path.home() / "records"},
    ("HEADROLES_RECORDS", "~"): {"records": Path.home()},
    ("HEADROLES_REVISION", " v1.0/a "): {"revision": "v1.0/a"},
    ("HEADROLES_WORKERS", "3"): {"workers": 3},
    ("HEADROLES_QUEUE", "0"): {"max_waiting": 0},
    ("HEADROLES_RATE", "60"): {"prompts_a_minute": 60},
    ("HEADROLES_SECONDS", "99999"): {"seconds_a_minute": 99_999},
    ("GRADIO_SERVER_NAME", " [::1] "): {"host": "::1"},
    ("GRADIO_SERVER_PORT", "65535"): {"port": 65_535},
    **{("GRADIO_ROOT_PATH", path): {"root_path": path} for path in ("/", "/roles", "/a/b-c/", "https://example.org/a/")},
    ("GRADIO_ROOT_PATH", "http://[::1]:80/a"): {"root_path": "http://[::1]:80/a"},
}


def test_variables_that_are_not_set_or_empty_give_the_defaults(read):
    found = read(**{name: "" for name, _ in VALUES})
    assert found == read() == Settings()
    assert Settings().home == Path.home() / ".cache" / "headroles"
    assert Settings().memory_bytes == default_budget()
    assert (found.any_model, found.mcp, found.workers, found.max_waiting, found.prompts_a_minute) == (False, False, 8, 64, 240)
    assert (found.host, found.port, found.root_path) == ("127.0.0.1", None, "")


@pytest.mark.parametrize(("name", "value"), VALUES)
def test_every_variable_is_read(read, name, value):
    assert read(**{name: value}) == Settings(**VALUES[name, value])


MISTAKES = {
    ("HEADROLES_MEMORY_GB", MEMORY): ["much", " ", "nan", "inf", "1,5", "0", "-1", "1e-9", "1e-300", "0.06"],
    ("HEADROLES_ANY_MODEL", "0 or 1"): ["yes", "true", "2", " 1"],
    ("HEADROLES_MCP", "0 or 1"): ["yes", "true", "2", " 1"],
    ("HEADROLES_WORKERS", "a whole number from 1 to 99999"): ["0", "-1", "many", " ", "1.5", "1e3", "100000", "²", "٣"],
    ("HEADROLES_QUEUE", "a whole number from 0 to 99999"): ["-1", "many", "100000"],
    ("HEADROLES_RATE", "a whole number from 0 to 99999"): ["-1", "many", "100000"],
    ("HEADROLES_SECONDS", "a whole number from 0 to 99999"): ["-1", "many", "100000"],
    ("HEADROLES_REVISION", "a branch or a commit"): ["../x", "-x", "a b", "x" * 201],
    ("HEADROLES_RECORDS", "a folder of records"): ["/no/such/folder", __file__],
    ("HEADROLES_HOME", "a folder, or the path of a new one"): [__file__, f"{__file__}/x/y"],
    ("GRADIO_SERVER_NAME", "an address"): [" ", "[]"],
    ("GRADIO_SERVER_PORT", "a whole number from 1 to 65535"): ["0", "65536", "http"],
    ("GRADIO_ROOT_PATH", PATH): ["roles", "//evil.org", "/a b", "/a?b", "javascript:alert(1)", "https://", '/"><script>', "/a\n"],
}


@pytest.mark.parametrize(
    ("name", "allowed", "value"), [(*place, value) for place, values in MISTAKES.items() for value in values]
)
def test_a_wrong_value_is_refused_with_its_variable_and_what_it_may_be(read, monkeypatch, name, allowed, value):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(InvalidInputError) as caught:
        read(**{name: value})
    assert str(caught.value) == f"{name} must be {allowed}, but is {value[:100]!r}."


def test_a_setting_is_checked_where_a_program_gives_it_too_and_never_changes():
    with pytest.raises(ValidationError, match="workers"):
        Settings(workers=0)
    with pytest.raises(ValidationError, match="frozen"):
        Settings().workers = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_mcp_is_switched_on_where_it_is_installed_and_else_says_how_to_install_it(read, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert read(HEADROLES_MCP="1").mcp
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InvalidInputError, match=r"^HEADROLES_MCP=1 needs what `pip install 'gradio\[mcp\]'` installs\.$"):
        read(HEADROLES_MCP="1")


def test_the_least_memory_holds_the_embedded_model_twice(tiny):
    assert 2 * tiny.memory_bytes < LEAST_BYTES


# what the Hub's own library takes, and refuses
REPOS = [
    *("org/roles", "a/b", "a_b/c.d-e_f", "../..", "a/..", "./a", "a--b/c", "a/b--c", "a/b.git", "-a/b", "a/b.", "a/b/c", "a b/c"),
    *("org/" + "x" * 96, "org/" + "x" * 97, "org", "org/", "/roles", "\u00e9/a", "a/b\n"),
]


@pytest.mark.parametrize("name", REPOS)
def test_a_dataset_is_named_as_the_hub_names_them(read, name):
    try:
        validate_repo_id(name)
        allowed = "/" in name
    except HFValidationError:
        allowed = False
    if allowed or name != name.strip():  # a space around it is nobody's intention
        assert read(HEADROLES_DATASET=name).dataset == name.strip()
    else:
        with pytest.raises(InvalidInputError, match="HEADROLES_DATASET must be a dataset repo, organisation/name"):
            read(HEADROLES_DATASET=name)


@pytest.mark.parametrize(("environment", "trusted"), [({}, False), ({"SPACE_ID": "a/b"}, True)])
def test_a_proxy_is_trusted_on_a_space_and_else_where_it_is_said(read, environment, trusted):
    assert read(**environment).trust_proxy == trusted
    for value in ("0", "1"):
        assert read(**environment, HEADROLES_TRUST_PROXY=value).trust_proxy == (value == "1")


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
