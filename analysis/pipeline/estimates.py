"""Estimates what a run would take before anything is downloaded or scored: bytes, memory, time and cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headroles.errors import HeadRolesError
from headroles.hub.repository import RepositoryFacts, storage_folder
from headroles.hub.weights import weight_bytes
from headroles.settings import GIGABYTE

from ..backends.machines import Machine
from ..tables import align
from .runs import AnalysisPlan, find_facts
from .up_to_date import is_up_to_date, read_existing

PROCESS_BYTES = GIGABYTE  # of a process that has imported all it needs, and of what a few texts take
UNKNOWN_BYTES = 4 * GIGABYTE  # asked for where the model's size is unknown
INSTALL_SECONDS = 180  # that a rented machine installs packages before it begins; not measured
# core seconds, as measured for docs/maintainers.md: of any size, and for every million parameters
START = 13.0
PATTERNS = (0.4, 0.073)  # a thousand tokens
ORDINARY, CALIBRATION = (1.0, 0.23), (0.9, 0.11)  # its ordinary texts, and a text of each length and kind
OUTPUTS, EFFECTS = (0.07, 0.009), (0.0, 0.36)  # a text of each role
SENTENCE_TOKENS = 20
MEGABYTE = 1024**2


@dataclass(frozen=True)
class Estimate:
    """What is known of one model of a run that has not begun.

    Attributes:
        name: of the model in its record.
        download_bytes: of its weights, as far as they are not on this machine.
        memory_bytes: that the analysis takes.
        core_seconds: that it takes on one core; see `estimate_core_seconds`.
        record: "finished" if it is up to date, "to be made again" if it is not, "to be made" if there is none.
        reason: why nothing is known, in one sentence; then the sizes are None.
    """

    name: str
    download_bytes: int | None
    memory_bytes: int | None
    core_seconds: float | None
    record: Literal["finished", "to be made again", "to be made"]
    reason: str = ""


def estimate_model(name_or_path: str, plan: AnalysisPlan) -> Estimate:
    """Estimates one model; asks the Hub, unless the plan says that it is away, and downloads nothing.

    Args:
        name_or_path: of the model.
        plan: what is asked of it.
    """
    name, old = plan.record_name(name_or_path), read_existing(plan.record_path(name_or_path))
    unfinished = "to be made again" if old else "to be made"
    try:
        facts = find_facts(name_or_path, plan)
        # where only the model itself could tell, the run asks it
        done = old is not None and not plan.again and is_up_to_date(old, name, facts, plan.sizes, plan.dtype)
    except HeadRolesError as error:
        return Estimate(name, None, None, None, unfinished, str(error))
    record = "finished" if done else unfinished
    return Estimate(name, download_bytes(facts), analysis_bytes(facts, plan), estimate_core_seconds(facts, plan), record)


def download_bytes(facts: RepositoryFacts) -> int:
    """Bytes of a model's weights that are not on this machine."""
    if facts.path is not None:
        return 0
    here = weight_bytes(storage_folder(facts.source) / "snapshots" / facts.commit)
    return 0 if here == facts.weight_bytes else facts.weight_bytes


def analysis_bytes(facts: RepositoryFacts | None, plan: AnalysisPlan) -> int:
    """Bytes that an analysis takes: the weights, half as much again for what is made of them, and the process.

    Args:
        facts: of the model; None if nothing is known.
        plan: what is asked of it.
    """
    if facts is None:
        return UNKNOWN_BYTES
    return PROCESS_BYTES + facts.parameters * plan.dtype.itemsize * 3 // 2


def estimate_core_seconds(facts: RepositoryFacts, plan: AnalysisPlan) -> float:
    """Seconds that one core would take, by a rule from measurements of two models (docs/maintainers.md).

    A start, and for each text a cost that is the same for every model and one for every million parameters. The rule ignores
    width, context and download, and that a GPU takes less.

    Args:
        facts: of the model.
        plan: what is asked of it.
    """
    sizes, millions = plan.sizes, facts.parameters / 1e6
    tokens = sizes.repeated_sequences * 2 * sizes.repeat_length + sizes.sentences * SENTENCE_TOKENS
    calibration = ((int(sizes.calibration > 0), ORDINARY), (sizes.calibration, CALIBRATION))
    read = ((tokens / 1000, PATTERNS), *calibration, (sizes.outputs, OUTPUTS), (sizes.effects, EFFECTS))
    return START + sum(number * (fixed + growing * millions) for number, (fixed, growing) in read)


def estimate_seconds(machine: Machine, model: Estimate) -> float | None:
    """Seconds that a machine takes, if twice the cores halve it; a rented one first installs packages. None if unknown.

    Args:
        machine: to run on.
        model: its estimate.
    """
    if model.core_seconds is None:
        return None
    return model.core_seconds / machine.cores + (INSTALL_SECONDS if machine.name else 0)


def estimate_table(models: Sequence[Estimate], plan: AnalysisPlan, machine: Machine) -> str:
    """A table with one line for each model and a summary; with dollars where the machine has a price.

    Args:
        models: their estimates.
        plan: what is asked of them.
        machine: to run on.
    """
    priced = machine.dollars_a_second is not None
    rows: list[tuple[str, ...]] = [("model", "download MB", "memory MB", "seconds", *(("dollars",) if priced else ()), "record")]
    for model in models:
        seconds = estimate_seconds(machine, model)
        numbers = [_megabytes(model.download_bytes), _megabytes(model.memory_bytes), _shown(seconds, 0)]
        if priced:
            numbers.append(_shown(seconds and seconds * (machine.dollars_a_second or 0), 3))
        rows.append((model.name, *numbers, model.record))
    return "\n".join([*align(rows, right=range(1, len(rows[0]) - 1)), summarize_estimates(models, plan, machine)])


def summarize_estimates(models: Sequence[Estimate], plan: AnalysisPlan, machine: Machine) -> str:
    """The sum of the work ahead, in one line; time and cost are estimates.

    Args:
        models: their estimates.
        plan: what is asked of them.
        machine: to run on.
    """
    ahead = [model for model in models if model.record != "finished"]
    total = _megabytes(sum(model.download_bytes or 0 for model in ahead))
    largest = _megabytes(max((model.memory_bytes or 0 for model in ahead), default=0))
    seconds = sum(estimate_seconds(machine, model) or 0.0 for model in ahead)
    time = f"about {_duration(seconds)} of one machine{' without its GPU' if plan.device != 'cpu' else ''}"
    text = f"{len(ahead)} of {len(models)} to be made: {total} MB to download, {largest} MB of memory at most, {time}"
    if machine.dollars_a_second is not None:
        text += f" for {seconds * machine.dollars_a_second:,.2f} dollars"
    unknown = sum(bool(model.reason) for model in models)
    return f"{text}; nothing is known of {unknown}" if unknown else text


def _shown(number: float | None, places: int) -> str:
    return "-" if number is None else f"{number:,.{places}f}"


def _duration(seconds: float) -> str:
    """Seconds in the unit that a person would use."""
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:,.0f} minutes" if seconds < 7200 else f"{seconds / 3600:,.1f} hours"


def _megabytes(number: int | None) -> str:
    return "-" if number is None else f"{number / MEGABYTE:,.0f}"
