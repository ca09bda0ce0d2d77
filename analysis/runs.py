"""Models analysed one after the other, each in a process of its own, and the table of how it went."""

import multiprocessing
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal, cast

import torch
from tqdm import tqdm

from headroles.core.bootstrap import MIN_TEXTS
from headroles.core.record_files import read_record, record_file_name, write_record
from headroles.core.record_making import with_effects
from headroles.core.records import HeadCategories
from headroles.core.registry import MODELS
from headroles.core.roles import Role, measured_roles
from headroles.core.scoring import roles_of_patterns
from headroles.errors import (
    HeadRolesError,
    InvalidInputError,
    InvalidRecordError,
    ModelLoadError,
    UnsupportedModelError,
    panics_as_errors,
)
from headroles.hub.gguf import is_gguf
from headroles.hub.packages import source_of
from headroles.hub.repository import check_size, inspect
from headroles.models.capture import PatternReader
from headroles.models.loading import LoadedModel, load_model
from headroles.models.output_scores import roles_of_outputs
from headroles.models.probes import ProbeSizes, make_probes
from headroles.models.role_effects import role_effects
from headroles.models.sweep import calibrated, make_recipe, make_record, score_here, score_weights, scored_by_outputs
from headroles.settings import Settings

MEGABYTE = 1024**2
SECONDS_TO_TIDY_UP = 10


@dataclass(frozen=True)
class Plan:
    """What is asked of every model of a run.

    Attributes:
        out: the folder of the records.
        batch: texts in one forward.
        dtype: of the weights; scores are float32 whatever it is.
        again: whether finished records are made again.
        name: what the one model is called in its record; empty for what `name_of` says.
    """

    out: Path
    sizes: ProbeSizes = field(default_factory=ProbeSizes)
    batch: int = 10
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    again: bool = False
    name: str = ""


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
        return source_of(MODELS[name_or_path], Settings.from_environment().home)
    path = Path(name_or_path)
    return path.resolve() if path.is_dir() or is_gguf(path) else name_or_path


def run_each(models: Sequence[str], plan: Plan) -> Iterator[Outcome]:
    """The outcome of each model as it ends; one alone runs in this process, several each in their own."""
    run = run_here if len(models) == 1 else run_apart
    return (run(model, plan) for model in models)


def run_apart(name_or_path: str, plan: Plan) -> Outcome:
    """The outcome of `run_here` in a process of its own, whose end, however violent, is not that of this one."""
    started = time.monotonic()
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run_and_send, args=(name_or_path, plan, sender), daemon=True)
    try:
        process.start()
        sender.close()  # so that the child's end is the end of the pipe
        outcome = receiver.recv()
        process.join(SECONDS_TO_TIDY_UP)
        return outcome
    except EOFError:
        process.join()
        name, seconds = plan.name or name_of(name_or_path), time.monotonic() - started
        return Outcome(name, "failed", seconds, reason=f"The process of {name} {_how_it_died(process.exitcode)}")
    finally:
        if process.pid is not None:  # else Ctrl-C came before it began
            process.kill()  # after Ctrl-C, or when a library does not let go
            process.join()
        receiver.close()


def run_here(name_or_path: str, plan: Plan) -> Outcome:
    """Makes one model's record, or keeps the finished one, and says how it went; only Ctrl-C gets through."""
    started = time.monotonic()
    name = plan.name or name_of(name_or_path)
    status, record, reason = "failed", None, ""
    try:
        with panics_as_errors(name):
            status, record = _make_or_keep(name, locate(name_or_path), plan)
    except HeadRolesError as error:
        reason = str(error)
    except (MemoryError, torch.OutOfMemoryError):
        reason = f"{name} does not fit into the memory of {plan.device}; try --batch 1 or --dtype bfloat16."
    except OSError as error:
        reason = f"The record of {name} could not be read or written: {error}."
    except Exception as error:  # a bug, or a library's; the other models must not suffer from it
        traceback.print_exc()
        reason = f"{name} met an unexpected {type(error).__name__}: {_first_line(error)}"
    return Outcome(name, status, time.monotonic() - started, _peak_bytes(plan.device), record, reason)


def analyze(loaded: LoadedModel, sizes: ProbeSizes, batch: int, device: str) -> HeadCategories:
    """A model's record through TransformerLens, with a progress bar over the batches.

    Raises UnsupportedModelError where TransformerLens cannot read the model, which is of no other use afterwards either way.
    """
    from .lens import head_weights, open_bridge, score_model  # slow to import: not for the help, nor to hand out work

    probes = list(make_probes(loaded, sizes, batch))
    bridge = open_bridge(loaded, device)
    sweep = score_model(bridge, loaded, tqdm(probes, desc=loaded.name, unit="batch"))
    of_weights = score_weights(head_weights(bridge, loaded.layers))
    return make_record(loaded, sweep, sizes, version("transformer-lens"), of_weights)


def open_reader(loaded: LoadedModel, device: str) -> PatternReader:
    """PyVene on a model that was moved to the device."""
    loaded.model.to(device)  # type: ignore[arg-type]
    return PatternReader(loaded)


def analyze_without_lens(reader: PatternReader, sizes: ProbeSizes, batch: int) -> HeadCategories:
    """The same through PyVene, as the page does it; what stands in weights is not scored."""
    probes = list(make_probes(reader.loaded, sizes, batch))
    with shown_progress(reader.loaded.name, len(probes), "batch") as show:
        sweep = score_here(reader, probes, show)
    return make_record(reader.loaded, sweep, sizes)


def calibrate(reader: PatternReader, record: HeadCategories, sizes: ProbeSizes) -> HeadCategories:
    """The record with its calibration, through PyVene, as the page reads texts."""
    with shown_progress(f"{reader.loaded.name}, verdicts", 100, "%") as show:
        return calibrated(reader, record, sizes, show)


def read_outputs(reader: PatternReader, record: HeadCategories, sizes: ProbeSizes) -> HeadCategories:
    """The record with the roles that are scored by what heads write, through PyVene."""
    with shown_progress(f"{reader.loaded.name}, what heads write", 100, "%") as show:
        return scored_by_outputs(reader, record, sizes, show)


def take_out(reader: PatternReader, record: HeadCategories, sizes: ProbeSizes) -> HeadCategories:
    """The record with what is lost without each role's heads; as it is where what the model writes cannot be read."""
    try:
        with shown_progress(f"{reader.loaded.name}, heads taken out", 100, "%") as show:
            return with_effects(record, role_effects(reader, record, sizes, show))
    except UnsupportedModelError as error:
        print(f"note: {error}", file=sys.stderr)
        return record


@contextmanager
def shown_progress(name: str, steps: int, unit: str) -> Iterator[Callable[[float], None]]:
    """A bar, and what to call with the share that is done."""
    with tqdm(total=steps, desc=name, unit=unit) as bar:
        yield lambda share: cast(None, bar.update(round(share * steps) - bar.n))


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


def table(outcomes: Sequence[Outcome]) -> str:
    """One aligned line a model: what it took, the best head of every measured role, and how it ended."""
    header = ("model", "seconds", "peak MB", *(role.name for role in measured_roles()), "status")
    rows = [header, *map(_row, outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    numbers = {1, 2}
    lines = (
        (f"{cell:>{width}}" if column in numbers else f"{cell:<{width}}" for column, (cell, width) in enumerate(zip(row, widths)))
        for row in rows
    )
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _run_and_send(name_or_path: str, plan: Plan, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both processes; the parent ends this one
    sender.send(run_here(name_or_path, plan))


def _make_or_keep(name: str, source: str | Path, plan: Plan) -> tuple[Literal["written", "skipped"], HeadCategories]:
    facts = inspect(source)
    check_size(facts, Settings.from_environment().memory_bytes, plan.dtype.itemsize)  # before anything is downloaded
    loaded = load_model(name, facts, plan.dtype)
    check_registered(loaded)
    path = plan.out / record_file_name(name)
    there = _there(path)
    if there and there.model_name != name and there.model_name.casefold() == name.casefold():
        raise InvalidInputError(
            f"{path.name} holds the roles of {there.model_name}, and this disk does not tell capitals from small letters; "
            f"give {name} another folder."
        )
    if there and not plan.again and _is_finished(there, loaded, plan.sizes):
        return "skipped", there
    record = _made(loaded, partial(load_model, name, facts, plan.dtype), plan)
    write_record(record, path)
    return "written", record


def _made(loaded: LoadedModel, load_again: Callable[[], LoadedModel], plan: Plan) -> HeadCategories:
    """The record through TransformerLens where it can, calibrated through PyVene.

    It is loaded again for PyVene, since TransformerLens puts modules of its own into a model.
    """
    try:
        record = analyze(loaded, plan.sizes, plan.batch, plan.device)
    except UnsupportedModelError:
        record = None
    if record and not (plan.sizes.calibration or plan.sizes.effects or plan.sizes.outputs):
        return record
    del loaded
    reader = open_reader(load_again(), plan.device)
    made = record or analyze_without_lens(reader, plan.sizes, plan.batch)
    made = calibrate(reader, read_outputs(reader, made, plan.sizes), plan.sizes)
    return take_out(reader, made, plan.sizes) if plan.sizes.effects else made


def _there(path: Path) -> HeadCategories | None:
    """The record in a file; one that is broken or cannot be read is as good as none, since it is replaced or put aside."""
    try:
        return read_record(path)
    except (OSError, InvalidRecordError):
        return None


def _is_finished(record: HeadCategories, loaded: LoadedModel, sizes: ProbeSizes) -> bool:
    """Whether it scores every role of this very model by this very recipe, or all but the weights' where PyVene read it.

    One of before scores had intervals is not.
    """
    reader = record.recipe.transformer_lens and version("transformer-lens")
    wanted = make_recipe(loaded, sizes, reader)
    # which of those that are scored by what heads write a model has words for, the recipe does not say
    left_open = roles_of_outputs()
    roles = tuple(role for role in measured_roles() if role not in left_open) if reader else roles_of_patterns()
    scored = tuple(role for role in record.scored_roles if role not in left_open)
    same = (record.model_name, record.revision, record.recipe) == (loaded.name, loaded.revision, wanted)
    return same and scored == roles and not _lacks_intervals(record)


def _lacks_intervals(record: HeadCategories) -> bool:
    """Whether a score that texts could give an interval has none; of weights, or of one text alone, there is none."""
    texts = {"repeats": record.recipe.repeated_sequences, "sentences": record.recipe.sentences}
    roles = [role for role in record.scored_roles if texts.get(role.measure.probes, 0) >= MIN_TEXTS]
    return any(record.interval(role, head) is None for role in roles for head in record.top_heads(role))


def _peak_bytes(device: str) -> int:
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # a new process starts from its parent's peak, so this is its own only as long as the parent loads no model
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _how_it_died(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"was killed by {signal.Signals(-exit_code).name}; often that means that the memory ran out."
    return f"ended early, with exit code {exit_code}."


def _shape(num_layers: int, num_heads: int, prepend_bos: bool) -> str:
    return f"{num_layers} layers of {num_heads} heads and {'a' if prepend_bos else 'no'} BOS"


def _row(outcome: Outcome) -> tuple[str, ...]:
    peak = "-" if outcome.peak_bytes is None else f"{outcome.peak_bytes / MEGABYTE:.0f}"
    best = (_best_head(outcome.record, role) for role in measured_roles())
    status = {"written": "written", "skipped": "skipped: up to date", "failed": f"failed: {outcome.reason}"}[outcome.status]
    if outcome.record and outcome.record.recipe.transformer_lens is None:
        status += ", read through PyVene, since TransformerLens cannot"
    return (outcome.model, f"{outcome.seconds:.1f}", peak, *best, status)


def _best_head(record: HeadCategories | None, role: Role) -> str:
    if record is None or role not in record.scored_roles:
        return "-"
    best = max(record.heads(), key=lambda head: record.score(role, head))
    return f"{best.label} {record.score(role, best):.3f}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().split("\n")[0])[:200]
