"""What the operator can set, by environment variables, each checked when it is read."""

import contextlib
import importlib.util
import math
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from headroles.errors import InvalidInputError

GIGABYTE = 1024**3
# for the libraries, the pattern cache and the activations of forwards under way
RESERVE_BYTES = int(2.5 * GIGABYTE)
LEAST_BYTES = GIGABYTE // 16  # without which not even the model that ships with headroles could be read
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
# what the Hub takes as the name of a repo: of at most 96 characters after the slash, and neither `--` nor `..` in it
REPO = re.compile(
    r"\A(?!.*(--|\.\.|\.git$))(?=[^/]{1,96}/[^/]{1,96}$)[A-Za-z0-9_]([\w.-]*\w)?/[A-Za-z0-9_]([\w.-]*\w)?\Z", re.ASCII
)
BRANCH = re.compile(r"\A(?!.*\.\.)[\w][\w./-]{0,199}\Z", re.ASCII)
ROOT_PATH = re.compile(r"\A(https?://[\w.:\[\]-]+)?(/[\w.~%-]+)*/?\Z", re.ASCII)
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


def _read_switch(value: object) -> object:
    if value not in ("0", "1", False, True):
        raise ValueError
    return value


def _check_mcp(is_on: bool) -> bool:
    if is_on and importlib.util.find_spec("mcp") is None:
        raise InvalidInputError("HEADROLES_MCP=1 needs what `pip install 'gradio[mcp]'` installs.")
    return is_on


def _read_gigabytes(value: object) -> object:
    """Bytes from the text of a variable, which is in gigabytes."""
    if not isinstance(value, str):
        return value
    gigabytes = float(value)
    if not math.isfinite(gigabytes) or gigabytes * GIGABYTE < LEAST_BYTES:
        raise ValueError
    return int(gigabytes * GIGABYTE)


def _check_home(home: Path) -> Path:
    home = Path(os.path.expanduser(home))
    with contextlib.suppress(OSError):  # where it may not be looked at, nothing is kept, which costs no visitor anything
        existing = next((path for path in (home, *home.parents) if path.exists()), home.parent)
        if not existing.is_dir():
            raise ValueError
    return home


def _check_folder(folder: Path) -> Path:
    folder = Path(os.path.expanduser(folder))
    if not folder.is_dir():
        raise ValueError
    return folder


def _plain_host(host: str) -> str:
    """An IPv6 address without its brackets."""
    return host.strip("[]")


Count = Annotated[int, Field(ge=0, le=99_999, description="a whole number from 0 to 99999")]
Switch = Annotated[bool, BeforeValidator(_read_switch), Field(description="0 or 1")]
Text = Annotated[str, StringConstraints(strip_whitespace=True)]


class Settings(BaseSettings, frozen=True):  # pyright: ignore[reportGeneralTypeIssues]
    """How one server of headroles is run: what is not given is read from the environment, and else has its default.

    A field's description says what its variable may be, in the words that complete "HEADROLES_… must be".

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
        root_path: the path or address below which a proxy shows the page (`GRADIO_ROOT_PATH`); gradio reads it itself.
    """

    model_config = SettingsConfigDict(
        env_prefix="HEADROLES_", env_ignore_empty=True, populate_by_name=True, validate_default=False
    )

    memory_bytes: Annotated[int, BeforeValidator(_read_gigabytes)] = Field(
        default_factory=default_budget,
        validation_alias="HEADROLES_MEMORY_GB",
        description=f"a number from {LEAST_BYTES / GIGABYTE:g} on, which the model that ships with headroles needs",
    )
    any_model: Switch = False
    home: Annotated[Path, AfterValidator(_check_home), Field(description="a folder, or the path of a new one")] = DEFAULT_HOME
    records: Annotated[Annotated[Path, AfterValidator(_check_folder)] | None, Field(description="a folder of records")] = None
    dataset: Annotated[Text, Field(pattern=REPO, description="a dataset repo, organisation/name")] = ""
    revision: Annotated[Text, Field(pattern=BRANCH, description="a branch or a commit")] = "main"
    workers: Annotated[int, Field(ge=1, le=99_999, description="a whole number from 1 to 99999")] = 8
    max_waiting: Count = Field(default=64, validation_alias="HEADROLES_QUEUE")
    prompts_a_minute: Count = Field(default=240, validation_alias="HEADROLES_RATE")
    # a quarter of what all cores have
    seconds_a_minute: Count = Field(default=15 * (os.cpu_count() or 1), validation_alias="HEADROLES_SECONDS")
    mcp: Annotated[Switch, AfterValidator(_check_mcp)] = False
    trust_proxy: Switch = Field(default_factory=lambda: "SPACE_ID" in os.environ)
    host: Annotated[Text, AfterValidator(_plain_host), Field(min_length=1)] = Field(
        default="127.0.0.1", validation_alias="GRADIO_SERVER_NAME", description="an address"
    )
    port: Annotated[int, Field(ge=1, le=65_535)] | None = Field(
        default=None, validation_alias="GRADIO_SERVER_PORT", description="a whole number from 1 to 65535"
    )
    root_path: Annotated[str, Field(pattern=ROOT_PATH)] = Field(
        default="",
        validation_alias="GRADIO_ROOT_PATH",
        description="a path as /headroles or a whole address as https://example.org/headroles",
    )

    @classmethod
    def from_environment(cls) -> "Settings":
        """What the environment says.

        Raises:
            InvalidInputError: for the first variable that is wrong; names it, its value, and what it may be.
        """
        try:
            return cls()
        except ValidationError as error:
            raise InvalidInputError(_first_mistake(error)) from error


def _first_mistake(error: ValidationError) -> str:
    mistake = error.errors()[0]
    name = str(mistake["loc"][0])
    field = next(field for key, field in Settings.model_fields.items() if name in (key, field.validation_alias))
    variable = field.validation_alias or f"HEADROLES_{name.upper()}"
    return f"{variable} must be {field.description}, but is {str(mistake['input'])[:100]!r}."


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


def _physical_memory() -> int:
    try:
        import psutil
    except ModuleNotFoundError:  # the core alone: it loads no model, so nobody asks for the budget
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return psutil.virtual_memory().total
