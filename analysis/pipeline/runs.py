"""The analysis of one model: what is asked of it, how it runs, and the outcome with its record."""

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
from headroles.hub.repository import RepositoryFacts, check_size, inspect
from headroles.models.loading.loader import LoadedModel, load_model
from headroles.models.probes.probe_texts import ProbeSizes, fitting_repeat_length
from headroles.settings import Settings

from .pipeline import run_pipeline
from .sources import default_name, locate_model, split_revision
from .up_to_date import is_up_to_date, read_existing


@dataclass(frozen=True)
class AnalysisPlan:
    """What is asked of every model of a run.

    Attributes:
        out: the folder of the records.
        sizes: how many texts.
        batch: texts in one forward pass.
        device: as torch names it.
        dtype: of the weights; scores are float32 in any case.
        again: whether to make records again that are up to date.
        name: of the one model in its record; empty for its `default_name`.
        limit: seconds that one model may take; None for any time.
        offline: whether the Hub is known to be away, so that nothing waits for it.
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

    def record_name(self, name_or_path: str) -> str:
        """The name of a model in its record."""
        return self.name or default_name(name_or_path)

    def record_path(self, name_or_path: str) -> Path:
        """The file of a model's record."""
        return self.out / record_file_name(self.record_name(name_or_path))


@dataclass(frozen=True)
class Outcome:
    """How one model's analysis ended.

    Attributes:
        model: its name in the record.
        status: "skipped" where the record was up to date.
        seconds: that it took.
        peak_bytes: the most memory that its process took, on CUDA its tensors; None if unknown.
        record: new or up to date; None when it failed.
        reason: why it failed, in one sentence.
    """

    model: str
    status: Literal["written", "skipped", "failed"]
    seconds: float
    peak_bytes: int | None = None
    record: HeadCategories | None = None
    reason: str = ""


def find_facts(name_or_path: str, plan: AnalysisPlan) -> RepositoryFacts:
    """What is known of a model before anything large is read; of `NAME@REVISION` that of the revision.

    Args:
        name_or_path: of the model.
        plan: says whether to ask the Hub.

    Raises:
        HeadRolesError: as `inspect` does, and for a revision of what has none.
    """
    name, revision = split_revision(name_or_path)
    source = locate_model(name)
    if not revision:
        return inspect(source, ask_hub=not plan.offline)
    if not isinstance(source, str):
        raise InvalidInputError(
            f"{name} is on this machine and has no revision {revision}; only repositories on the Hub have revisions."
        )
    return inspect(source, revision, ask_hub=not plan.offline)


def analyze_and_save(name_or_path: str, plan: AnalysisPlan) -> Outcome:
    """Makes one model's record, unless it is up to date; only Ctrl-C gets through as an exception.

    Args:
        name_or_path: of the model.
        plan: what is asked of it.
    """
    return save_record(analyze_model(name_or_path, plan, read_existing(plan.record_path(name_or_path))), plan)


def analyze_model(name_or_path: str, plan: AnalysisPlan, old: HeadCategories | None) -> Outcome:
    """As `analyze_and_save`, without writing the record: the caller does that, wherever this ran.

    Args:
        name_or_path: of the model.
        plan: what is asked of it.
        old: the record that exists; None for none.
    """
    started = time.monotonic()
    name = plan.record_name(name_or_path)
    status, record, reason = "failed", None, ""
    try:
        with panics_as_errors(name):
            status, record = _make_record(name, find_facts(name_or_path, plan), plan, old)
    except HeadRolesError as error:
        reason = str(error)
    except (MemoryError, torch.OutOfMemoryError):
        reason = f"{name} does not fit into the memory of {plan.device}; try --batch 1 or --dtype bfloat16."
    except OSError as error:
        reason = f"The files of {name} could not be read: {error}."
    except Exception as error:  # a bug, or a library's; the other models must not suffer from it
        traceback.print_exc()
        reason = f"{name} met an unexpected {type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
    return Outcome(name, status, time.monotonic() - started, _peak_bytes(plan.device), record, reason)


def skip_up_to_date(name_or_path: str, plan: AnalysisPlan, facts: RepositoryFacts) -> Outcome | None:
    """The outcome of a model whose record is surely up to date, before anything loads it; None where it has to be analysed.

    Args:
        name_or_path: of the model.
        plan: what is asked of it.
        facts: of the model.
    """
    started, name, old = time.monotonic(), plan.record_name(name_or_path), read_existing(plan.record_path(name_or_path))
    try:
        finished = old and not plan.again and is_up_to_date(old, name, facts, plan.sizes, plan.dtype)
    except HeadRolesError:  # the analysis itself will report it
        return None
    return Outcome(name, "skipped", time.monotonic() - started, None, old) if finished else None


def save_record(outcome: Outcome, plan: AnalysisPlan) -> Outcome:
    """Writes a new record to its file; returns the outcome, a failed one where it cannot be written.

    Args:
        outcome: of one model.
        plan: has the folder.
    """
    if outcome.status != "written" or outcome.record is None:
        return outcome
    try:
        write_record(outcome.record, plan.out / record_file_name(outcome.model))
    except OSError as error:
        return replace(
            outcome, status="failed", record=None, reason=f"The record of {outcome.model} could not be written: {error}."
        )
    return outcome


def check_room(facts: RepositoryFacts, plan: AnalysisPlan) -> None:
    """Checks that the weights fit into this machine, and into the GPU that they go to.

    Args:
        facts: of the model.
        plan: what is asked of it.

    Raises:
        ModelTooLargeError: where they do not.
    """
    check_size(facts, Settings.from_environment().memory_bytes, plan.dtype.itemsize)
    if torch.device(plan.device).type == "cuda":
        _, total = torch.cuda.mem_get_info(plan.device)
        check_size(facts, total, plan.dtype.itemsize, f"on {plan.device}")


def check_registered(loaded: LoadedModel) -> None:
    """Checks that a model has the layers, heads and BOS of its registry entry, if it has one.

    Raises:
        ModelLoadError: where it does not.
    """
    info = MODELS.get(loaded.name)
    if info is None:
        return
    identity = loaded.identity
    found = _shape(identity.num_layers, identity.num_heads, identity.prepend_bos)
    registered = _shape(info.num_layers, info.num_heads, info.prepend_bos)
    if found != registered:
        raise ModelLoadError(f"{loaded.name} has {found}, but its registry entry says {registered}; correct the entry first.")


def _make_record(
    name: str, facts: RepositoryFacts, plan: AnalysisPlan, old: HeadCategories | None
) -> tuple[Literal["written", "skipped"], HeadCategories]:
    _check_capitals(name, old)

    def load() -> LoadedModel:
        loaded = load_model(name, facts, plan.dtype)
        check_registered(loaded)
        return loaded

    if old and not plan.again:
        finished = is_up_to_date(old, name, facts, plan.sizes, plan.dtype)
        if finished is None:
            finished = fitting_repeat_length(load(), plan.sizes.repeat_length) == old.recipe.repeat_length
        if finished:
            return "skipped", old
    check_room(facts, plan)  # before anything is downloaded
    return "written", _add_size(run_pipeline(load, plan.sizes, plan.batch, plan.device), facts)


def _add_size(record: HeadCategories, facts: RepositoryFacts) -> HeadCategories:
    """The record with the architecture and size of its model, where the registry does not have them."""
    if record.model_name in MODELS or not facts.parameters:
        return record
    return record.model_copy(update={"model_type": facts.model_type, "parameters": facts.parameters})


def _check_capitals(name: str, old: HeadCategories | None) -> None:
    """Raises InvalidInputError where the file of the record belongs to a model whose name differs in capitals alone."""
    if old and old.model_name != name and old.model_name.casefold() == name.casefold():
        raise InvalidInputError(
            f"{record_file_name(name)} holds the roles of {old.model_name}, and on this disk names that differ only in capitals "
            f"are one file; give {name} another folder."
        )


def _peak_bytes(device: str) -> int:
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # a new process starts from its parent's peak, so this is its own only as long as the parent loads no model
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _shape(num_layers: int, num_heads: int, prepend_bos: bool) -> str:
    return f"{num_layers} layers of {num_heads} heads and {'a' if prepend_bos else 'no'} BOS"
