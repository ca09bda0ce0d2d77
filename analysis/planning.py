"""What a run would do, before anything is downloaded or scored: bytes, memory, and which records are finished already."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headroles.errors import HeadRolesError
from headroles.hub.repository import RepositoryFacts, storage_folder
from headroles.hub.weights import weight_bytes
from headroles.settings import GIGABYTE

from .finished import is_finished, there
from .runs import Plan, facts_of

PROCESS_BYTES = GIGABYTE  # of a process that has imported all it needs, and of what a few texts take
UNKNOWN_BYTES = 4 * GIGABYTE  # asked for where the model's size cannot be seen
MEGABYTE = 1024**2


@dataclass(frozen=True)
class Planned:
    """What is known of one model of a run that has not begun.

    Attributes:
        download_bytes: of its weights, as far as they are not on this machine.
        memory_bytes: that the analysis takes, estimated.
        record: whether its record is finished, there but made otherwise or of another revision, or not there.
        reason: why nothing can be said, in one sentence; then the sizes are None.
    """

    name: str
    download_bytes: int | None
    memory_bytes: int | None
    record: Literal["finished", "to be made again", "to be made"]
    reason: str = ""


def planned(name_or_path: str, plan: Plan) -> Planned:
    """What is known of a model; it asks the Hub, unless the plan says that it is away, and downloads nothing."""
    name, old = plan.called(name_or_path), there(plan.path_of(name_or_path))
    unfinished = "to be made again" if old else "to be made"
    try:
        facts = facts_of(name_or_path, plan)
        # where only the model itself could tell, the run asks it
        done = old is not None and not plan.again and is_finished(old, name, facts, plan.sizes, plan.dtype)
    except HeadRolesError as error:
        return Planned(name, None, None, unfinished, str(error))
    return Planned(name, missing_bytes(facts), memory_of(facts, plan), "finished" if done else unfinished)


def missing_bytes(facts: RepositoryFacts) -> int:
    """Bytes of a model's weights that are not on this machine."""
    if facts.path is not None:
        return 0
    here = weight_bytes(storage_folder(facts.source) / "snapshots" / facts.commit)
    return 0 if here == facts.weight_bytes else facts.weight_bytes


def memory_of(facts: RepositoryFacts | None, plan: Plan) -> int:
    """Bytes that an analysis takes: the weights once, half as much again for what is made of them, and the process."""
    if facts is None:
        return UNKNOWN_BYTES
    return PROCESS_BYTES + facts.parameters * plan.dtype.itemsize * 3 // 2


def plan_table(models: Sequence[Planned]) -> str:
    """One line a model, and one for all that is still to be made."""
    ahead = [model for model in models if model.record != "finished"]
    rows = [("model", "download MB", "memory MB", "record")]
    rows += [(model.name, _megabytes(model.download_bytes), _megabytes(model.memory_bytes), model.record) for model in models]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d}" for a, b, c, d in rows]
    total = _megabytes(sum(model.download_bytes or 0 for model in ahead))
    largest = _megabytes(max((model.memory_bytes or 0 for model in ahead), default=0))
    unknown = sum(bool(model.reason) for model in models)
    lines.append(f"{len(ahead)} of {len(models)} to be made: {total} MB to download, {largest} MB of memory at most")
    if unknown:
        lines[-1] += f"; nothing is known of {unknown}"
    return "\n".join(lines)


def _megabytes(number: int | None) -> str:
    return "-" if number is None else f"{number / MEGABYTE:,.0f}"
