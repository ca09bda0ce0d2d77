"""What the operator can set, by environment variables, each checked when it is read."""

import contextlib
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headroles.errors import InvalidInputError

GIGABYTE = 1024**3
# for the libraries, the pattern cache and the activations of forwards under way
RESERVE_BYTES = int(2.5 * GIGABYTE)
LEAST_BYTES = GIGABYTE // 16  # without which not even the model that ships with headroles could be read
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
# what the Hub takes as the name of a repo: of at most 96 characters after the slash, and neither `--` nor `..` in it
REPO = re.compile(r"(?!.*(--|\.\.|\.git$))(?=[^/]{1,96}/[^/]{1,96}$)[A-Za-z0-9_]([\w.-]*\w)?/[A-Za-z0-9_]([\w.-]*\w)?", re.ASCII)
BRANCH = re.compile(r"(?!.*\.\.)[\w][\w./-]{0,199}", re.ASCII)
ROOT_PATH = re.compile(r"(https?://[\w.:\[\]-]+)?(/[\w.~%-]+)*/?", re.ASCII)
DEFAULT_HOME = Path(os.path.expanduser("~/.cache/headroles"))  # Path.home() raises where a container's user has no home


def machine_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or its container's limit where that is lower."""
    limits = [_physical_memory()]
    for path in CGROUP_LIMITS:
        # no such file, one that may not be read, or the word "max": no limit
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(Path(path).read_text("utf-8")))
    return min(limit for limit in limits if limit > 0)


def default_budget() -> int:
    """What the machine has minus a reserve, and a quarter of it at least."""
    memory = machine_memory()
    return max(memory - RESERVE_BYTES, memory // 4)


@dataclass(frozen=True)
class Settings:
    """How one server of headroles is run.

    Attributes:
        memory_bytes: for all loaded models together, their buffers and tokenizers included (`HEADROLES_MEMORY_GB`).
        any_model: whether visitors may name any hub id or folder (`HEADROLES_ANY_MODEL=1`).
        home: where records are kept that were analysed here or came from the dataset (`HEADROLES_HOME`).
        records: a folder of records that `python -m analysis --out` made, served before all others (`HEADROLES_RECORDS`).
        dataset: the dataset repo on the Hub that the roles come from (`HEADROLES_DATASET`); empty for none.
        revision: its branch or commit (`HEADROLES_REVISION`).
        workers: how many requests compute at once (`HEADROLES_WORKERS`).
        max_waiting: how many more may wait for them, 0 for any number (`HEADROLES_QUEUE`).
        prompts_a_minute: how many one visitor may send, 0 for any number (`HEADROLES_RATE`).
        seconds_a_minute: how long one visitor's requests may compute, 0 for any time (`HEADROLES_SECONDS`).
        mcp: whether the endpoints are tools of an MCP server too (`HEADROLES_MCP=1`).
        trust_proxy: whether a proxy stands in front that says by which host and scheme it was asked (`HEADROLES_TRUST_PROXY=1`);
            on a Space there is one.
        host: the address to listen at (`GRADIO_SERVER_NAME`).
        port: where (`GRADIO_SERVER_PORT`); None for the first that is free from 7860 on.
    """

    memory_bytes: int = field(default_factory=default_budget)
    any_model: bool = False
    home: Path = DEFAULT_HOME
    records: Path | None = None
    dataset: str = ""
    revision: str = "main"
    workers: int = 8
    max_waiting: int = 64
    prompts_a_minute: int = 240
    seconds_a_minute: int = field(default_factory=lambda: 15 * (os.cpu_count() or 1))  # a quarter of what all cores have
    mcp: bool = False
    trust_proxy: bool = False
    host: str = "127.0.0.1"
    port: int | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Raises InvalidInputError that names the variable and what it may be."""
        default = cls()
        dataset = environment.get("HEADROLES_DATASET", "").strip()
        if dataset and not REPO.fullmatch(dataset):
            raise InvalidInputError(f"HEADROLES_DATASET must be a dataset repo, organisation/name, but is {dataset[:100]!r}.")
        revision = environment.get("HEADROLES_REVISION", "").strip() or default.revision
        if not BRANCH.fullmatch(revision):
            raise InvalidInputError(f"HEADROLES_REVISION must be a branch or a commit, but is {revision[:100]!r}.")
        root_path = environment.get("GRADIO_ROOT_PATH", "")  # gradio reads it itself
        if not ROOT_PATH.fullmatch(root_path):
            raise InvalidInputError(
                f"GRADIO_ROOT_PATH must be a path as /headroles or a whole address as https://example.org/headroles, "
                f"but is {root_path[:100]!r}."
            )
        mcp = _switch(environment, "HEADROLES_MCP")
        if mcp and importlib.util.find_spec("mcp") is None:
            raise InvalidInputError("HEADROLES_MCP=1 needs what `pip install 'gradio[mcp]'` installs.")
        return cls(
            memory_bytes=_memory(environment.get("HEADROLES_MEMORY_GB", "")),
            any_model=_switch(environment, "HEADROLES_ANY_MODEL"),
            home=_home(environment.get("HEADROLES_HOME", "")),
            records=_records(environment.get("HEADROLES_RECORDS", "")),
            dataset=dataset,
            revision=revision,
            workers=_count(environment, "HEADROLES_WORKERS", default.workers, least=1),
            max_waiting=_count(environment, "HEADROLES_QUEUE", default.max_waiting),
            prompts_a_minute=_count(environment, "HEADROLES_RATE", default.prompts_a_minute),
            seconds_a_minute=_count(environment, "HEADROLES_SECONDS", default.seconds_a_minute),
            mcp=mcp,
            trust_proxy=_switch(environment, "HEADROLES_TRUST_PROXY", default="SPACE_ID" in environment),
            host=environment.get("GRADIO_SERVER_NAME", "").strip().strip("[]") or default.host,
            port=_port(environment.get("GRADIO_SERVER_PORT", "").strip()),
        )


def read_settings() -> Settings:
    """What the environment says; ends the process with one sentence when that is wrong.

    To be called before gradio is imported, which reads some of it itself and has no sentences, and which does not start where no
    temporary folder takes a byte: a full disk is no reason not to serve what needs none.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = os.environ.get("TMPDIR", "/tmp")
    try:
        return Settings.from_environment()
    except InvalidInputError as error:
        sys.exit(str(error))


def _memory(value: str) -> int:
    if not value:
        return default_budget()
    try:
        memory_bytes = int(float(value) * GIGABYTE)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(f"HEADROLES_MEMORY_GB must be a number above 0, but is {value[:100]!r}.") from error
    if memory_bytes < LEAST_BYTES:
        least = f"{LEAST_BYTES / GIGABYTE:g} at least, which the model that ships with headroles needs"
        raise InvalidInputError(f"HEADROLES_MEMORY_GB must be {least}, but is {value[:100]!r}.")
    return memory_bytes


def _home(value: str) -> Path:
    if not value:
        return DEFAULT_HOME
    home = Path(os.path.expanduser(value))
    with contextlib.suppress(OSError):  # where it may not be looked at, nothing is kept, which costs no visitor anything
        there = next((path for path in (home, *home.parents) if path.exists()), home.parent)
        if not there.is_dir():
            raise InvalidInputError(f"HEADROLES_HOME must be a folder, but {str(there)[:200]} is none.")
    return home


def _records(value: str) -> Path | None:
    if not value:
        return None
    folder = Path(os.path.expanduser(value))
    if not folder.is_dir():
        raise InvalidInputError(f"HEADROLES_RECORDS must be a folder of records, but {value[:200]!r} is none.")
    return folder


def _port(value: str) -> int | None:
    if not value:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", value) or not 1 <= int(value) <= 65_535:
        raise InvalidInputError(f"GRADIO_SERVER_PORT must be a whole number from 1 to 65535, but is {value[:100]!r}.")
    return int(value)


def _physical_memory() -> int:
    try:
        import psutil
    except ModuleNotFoundError:  # the core alone: it loads no model, so nobody asks for the budget
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return psutil.virtual_memory().total


def _switch(environment: Mapping[str, str], name: str, default: bool = False) -> bool:
    value = environment.get(name, "")
    if value not in ("", "0", "1"):
        raise InvalidInputError(f"{name} must be 0 or 1, but is {value[:100]!r}.")
    return value == "1" if value else default


def _count(environment: Mapping[str, str], name: str, default: int, least: int = 0) -> int:
    value = environment.get(name, "")
    if not value:
        return default
    if not re.fullmatch(r"[0-9]{1,5}", value) or int(value) < least:
        raise InvalidInputError(f"{name} must be a whole number from {least} to 99999, but is {value[:100]!r}.")
    return int(value)
