"""What the operator can set, by environment variables, each checked when it is read."""

import contextlib
import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headroles.errors import InvalidInputError

GIGABYTE = 1024**3
# for the libraries, the pattern cache and the activations of forwards under way
RESERVE_BYTES = int(2.5 * GIGABYTE)
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
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
        memory_bytes: for the weights of all loaded models together (`HEADROLES_MEMORY_GB`).
        any_model: whether visitors may name any hub id or folder (`HEADROLES_ANY_MODEL=1`).
        home: where records are kept that were analysed here or came from the dataset (`HEADROLES_HOME`).
        dataset: the dataset repo on the Hub that the roles come from (`HEADROLES_DATASET`); empty for none.
        revision: its branch or commit (`HEADROLES_REVISION`).
        workers: how many requests compute at once (`HEADROLES_WORKERS`).
        max_waiting: how many more may wait for them, 0 for any number (`HEADROLES_QUEUE`).
        prompts_a_minute: how many one visitor may send, 0 for any number (`HEADROLES_RATE`).
        seconds_a_minute: how long one visitor's requests may compute, 0 for any time (`HEADROLES_SECONDS`).
        mcp: whether the endpoints are tools of an MCP server too (`HEADROLES_MCP=1`).
    """

    memory_bytes: int = field(default_factory=default_budget)
    any_model: bool = False
    home: Path = DEFAULT_HOME
    dataset: str = ""
    revision: str = "main"
    workers: int = 8
    max_waiting: int = 64
    prompts_a_minute: int = 240
    seconds_a_minute: int = field(default_factory=lambda: 15 * (os.cpu_count() or 1))  # a quarter of what all cores have
    mcp: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Raises InvalidInputError that names the variable and what it may be."""
        default = cls()
        memory = environment.get("HEADROLES_MEMORY_GB", "")
        try:
            memory_bytes = int(float(memory) * GIGABYTE) if memory else default.memory_bytes
            if memory_bytes <= 0:
                raise ValueError(memory)
        except (ValueError, OverflowError) as error:
            raise InvalidInputError(f"HEADROLES_MEMORY_GB must be a number above 0, but is {memory!r}.") from error
        dataset = environment.get("HEADROLES_DATASET", "").strip()
        if dataset and not re.fullmatch(r"[\w.-]+/[\w.-]+", dataset):
            raise InvalidInputError(f"HEADROLES_DATASET must be a dataset repo, organisation/name, but is {dataset[:100]!r}.")
        home = environment.get("HEADROLES_HOME", "")
        mcp = _switch(environment, "HEADROLES_MCP")
        if mcp and importlib.util.find_spec("mcp") is None:
            raise InvalidInputError("HEADROLES_MCP=1 needs what `pip install 'gradio[mcp]'` installs.")
        return cls(
            memory_bytes=memory_bytes,
            any_model=_switch(environment, "HEADROLES_ANY_MODEL"),
            home=Path(os.path.expanduser(home)) if home else default.home,
            dataset=dataset,
            revision=environment.get("HEADROLES_REVISION", "").strip() or default.revision,
            workers=_count(environment, "HEADROLES_WORKERS", default.workers, least=1),
            max_waiting=_count(environment, "HEADROLES_QUEUE", default.max_waiting),
            prompts_a_minute=_count(environment, "HEADROLES_RATE", default.prompts_a_minute),
            seconds_a_minute=_count(environment, "HEADROLES_SECONDS", default.seconds_a_minute),
            mcp=mcp,
        )


def _physical_memory() -> int:
    try:
        import psutil
    except ModuleNotFoundError:  # the core alone: it loads no model, so nobody asks for the budget
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return psutil.virtual_memory().total


def _switch(environment: Mapping[str, str], name: str) -> bool:
    value = environment.get(name, "")
    if value not in ("", "0", "1"):
        raise InvalidInputError(f"{name} must be 0 or 1, but is {value[:100]!r}.")
    return value == "1"


def _count(environment: Mapping[str, str], name: str, default: int, least: int = 0) -> int:
    value = environment.get(name, "")
    if not value:
        return default
    if not re.fullmatch(r"[0-9]{1,5}", value) or int(value) < least:
        raise InvalidInputError(f"{name} must be a whole number from {least} to 99999, but is {value[:100]!r}.")
    return int(value)
