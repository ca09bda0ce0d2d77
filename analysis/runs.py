"""One model's run: what is asked of it, where it comes from, and the outcome with its record."""

import resource
import sys
import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_files import record_file_name, write_record
from headroles.core.registry import MODELS
from headroles.errors import HeadRolesError, InvalidInputError, ModelLoadError, panics_as_errors
from headroles.hub.gguf import is_gguf
from headroles.hub.packages import model_source
from headroles.hub.repository import RepositoryFacts, check_size, inspect
from headroles.models.loading.loader import LoadedModel, load_model
from headroles.models.probes.probe_texts import ProbeSizes, fitting_repeat_length
from headroles.settings import Settings

from .finished import is_finished, there
from .making import make


@dataclass(frozen=True)
class Plan:
    """What is asked of every model of a run.

    Attributes:
        out: the folder of the records.
        batch: texts in one forward.
        dtype: of the weights; scores are float32 whatever it is.
        again: whether finished records are made again.
        name: what the one model is called in its record; empty for what `name_of` says.
        limit: seconds that one model may take; None for any time.
        offline: whether the Hub is known to be away, so that nobody waits for it.
    """

    out: Path
    sizes: ProbeSizes = field(default_factory=ProbeSizes)
    batch: int = 10
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    again: bool = False
    name: str = ""
    limit: float | None = None
    offline: bool = False

    def called(self, name_or_path: str) -> str:
        """The name of a model in its record."""
        return self.name or name_of(name_or_path)

    def path_of(self, name_or_path: str) -> Path:
        """The file of a model's record."""
        return self.out / record_file_name(self.called(name_or_path))


@dataclass(frozen=True)
class Outcome:
    """How one model's analysis ended.

    Attributes:
        peak_bytes: the most memory that its process took, on CUDA what its tensors took there; None when nobody could say.
        record: what was written, or was there already; None when it failed.
        reason: one sentence on why it failed.
    """

    model: str
    status: Literal["written", "skipped", "failed"]
    seconds: float
    peak_bytes: int | None = None
    record: HeadCategories | None = None
    reason: str = ""


def name_of(name_or_path: str) -> str:
    """What a model is called in its record, unless it is said: its name, or what its folder or its GGUF file is called."""
    path = Path(name_or_path)
    if name_or_path in MODELS or not (path.is_dir() or is_gguf(path)):
        return name_or_path
    return path.resolve().name if path.is_dir() else path.stem


def locate(name_or_path: str) -> str | Path:
    """Where a model comes from: the registry, a folder, a file, or the hub. Raises ModelLoadError for one not fetched yet."""
    if name_or_path in MODELS:
        return model_source(MODELS[name_or_path], Settings.from_environment().home)
    path = Path(name_or_path)
    return path.resolve() if path.is_dir() or is_gguf(path) else name_or_path


def is_remote(name_or_path: str) -> bool:
    """Whether a model comes from the Hub, as far as its name tells."""
    name, _ = split_revision(name_or_path)
    try:
        return isinstance(locate(name), str)
    except ModelLoadError:  # of a package that was not fetched
        return False


def facts_of(name_or_path: str, plan: Plan) -> RepositoryFacts:
    """What is known of a model before anything large is read; of `NAME@REVISION` that of the revision.

    Raises HeadRolesError as `inspect` does, and where what has no revisions is asked for one.
    """
    name, revision = split_revision(name_or_path)
    source = locate(name)
    if not revision:
        return inspect(source, ask_hub=not plan.offline)
    if not isinstance(source, str):
        raise InvalidInputError(f"{name} lies on this machine and has no revision {revision}; only a repository on the Hub has.")
    return inspect(source, revision, ask_hub=not plan.offline)


def facts_seen(name_or_path: str, plan: Plan) -> RepositoryFacts | None:
    """What can be seen of a model from here; None where that is nothing, and then whoever tries says why."""
    try:
        return facts_of(name_or_path, plan)
    except HeadRolesError:
        return None


def split_revision(name_or_path: str) -> tuple[str, str]:
    """The name or path, and the revision behind an `@`; empty where none is asked for, as of a folder whose name has one."""
    path = Path(name_or_path)
    if path.is_dir() or is_gguf(path):
        return name_or_path, ""
    name, _, revision = name_or_path.partition("@")
    return name, revision


def run_here(name_or_path: str, plan: Plan) -> Outcome:
    """Makes one model's record, or keeps the finished one, and says how it went; only Ctrl-C gets through."""
    return kept(attempt(name_or_path, plan, there(plan.path_of(name_or_path))), plan)


def attempt(name_or_path: str, plan: Plan, old: HeadCategories | None) -> Outcome:
    """What `run_here` says, its record not written yet: whoever asked for it does that, wherever this ran.

    Args:
        old: the record that is there, if one is.
    """
    started = time.monotonic()
    name = plan.called(name_or_path)
    status, record, reason = "failed", None, ""
    try:
        with panics_as_errors(name):
            status, record = _make_or_keep(name, facts_of(name_or_path, plan), plan, old)
    except HeadRolesError as error:
        reason = str(error)
    except (MemoryError, torch.OutOfMemoryError):
        reason = f"{name} does not fit into the memory of {plan.device}; try --batch 1 or --dtype bfloat16."
    except OSError as error:
        reason = f"The files of {name} could not be read: {error}."
    except Exception as error:  # a bug, or a library's; the other models must not suffer from it
        traceback.print_exc()
        reason = f"{name} met an unexpected {type(error).__name__}: {_first_line(error)}"
    return Outcome(name, status, time.monotonic() - started, _peak_bytes(plan.device), record, reason)


def kept_already(name_or_path: str, plan: Plan, facts: RepositoryFacts, old: HeadCategories) -> Outcome | None:
    """The outcome of a model whose record is surely finished, before anybody loads it; None where it has to be tried."""
    started, name = time.monotonic(), plan.called(name_or_path)
    try:
        finished = not plan.again and is_finished(old, name, facts, plan.sizes, plan.dtype)
    except HeadRolesError:  # whoever tries says it
        return None
    return Outcome(name, "skipped", time.monotonic() - started, None, old) if finished else None


def kept(outcome: Outcome, plan: Plan) -> Outcome:
    """The outcome once its record, if it is a new one, stands in its file."""
    if outcome.status != "written" or outcome.record is None:
        return outcome
    try:
        write_record(outcome.record, plan.out / record_file_name(outcome.model))
    except OSError as error:
        return replace(
            outcome, status="failed", record=None, reason=f"The record of {outcome.model} could not be written: {error}."
        )
    return outcome


def check_room(facts: RepositoryFacts, plan: Plan) -> None:
    """Raises ModelTooLargeError where the weights do not fit into this machine, or into the GPU that they go on to."""
    check_size(facts, Settings.from_environment().memory_bytes, plan.dtype.itemsize)
    if torch.device(plan.device).type == "cuda":
        _, total = torch.cuda.mem_get_info(plan.device)
        check_size(facts, total, plan.dtype.itemsize, f"on {plan.device}")


def check_registered(loaded: LoadedModel) -> None:
    """Raises ModelLoadError when the model has not the layers, heads or BOS that its registry entry, if it has one, says."""
    info = MODELS.get(loaded.name)
    if info is None:
        return
    identity = loaded.identity
    found = _shape(identity.num_layers, identity.num_heads, identity.prepend_bos)
    registered = _shape(info.num_layers, info.num_heads, info.prepend_bos)
    if found != registered:
        raise ModelLoadError(f"{loaded.name} has {found}, but its registry entry says {registered}; mend the entry first.")


def _make_or_keep(
    name: str, facts: RepositoryFacts, plan: Plan, old: HeadCategories | None
) -> tuple[Literal["written", "skipped"], HeadCategories]:
    _check_letters(name, old)

    def load() -> LoadedModel:
        loaded = load_model(name, facts, plan.dtype)
        check_registered(loaded)
        return loaded

    if old and not plan.again:
        finished = is_finished(old, name, facts, plan.sizes, plan.dtype)
        if finished is None:
            finished = fitting_repeat_length(load(), plan.sizes.repeat_length) == old.recipe.repeat_length
        if finished:
            return "skipped", old
    check_room(facts, plan)  # before anything is downloaded
    return "written", _with_size(make(load, plan.sizes, plan.batch, plan.device), facts)


def _with_size(record: HeadCategories, facts: RepositoryFacts) -> HeadCategories:
    """The record with the architecture and size of its model, where the registry does not tell them."""
    if record.model_name in MODELS or not facts.parameters:
        return record
    return record.model_copy(update={"model_type": facts.model_type, "parameters": facts.parameters})


def _check_letters(name: str, old: HeadCategories | None) -> None:
    """Raises InvalidInputError where the file of the model's record is that of a model with other capitals."""
    if old and old.model_name != name and old.model_name.casefold() == name.casefold():
        raise InvalidInputError(
            f"{record_file_name(name)} holds the roles of {old.model_name}, and this disk does not tell capitals from small "
            f"letters; give {name} another folder."
        )


def _peak_bytes(device: str) -> int:
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # a new process starts from its parent's peak, so this is its own only as long as the parent loads no model
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _shape(num_layers: int, num_heads: int, prepend_bos: bool) -> str:
    return f"{num_layers} layers of {num_heads} heads and {'a' if prepend_bos else 'no'} BOS"


def _first_line(error: Exception) -> str:
    return (str(error).strip().split("\n")[0])[:200]
