"""What the work goes to, as far as an estimate has to know: cores, memory, and what a second of it costs."""

import re
from dataclasses import dataclass

import torch
from huggingface_hub import HfApi

from headroles.errors import HubError, InvalidInputError
from headroles.hub.http import HTTPError, describe_error
from headroles.settings import GIGABYTE, Settings

UNIT_SECONDS = {"second": 1, "minute": 60, "hour": 3600}


@dataclass(frozen=True)
class Machine:
    """What one model has to itself.

    Attributes:
        name: that of the flavor, on the Hub; empty for machines of one's own.
        cores: of its processor.
        memory_bytes: of its process; 0 where nobody knows.
        gpu_bytes: of the memory of one of its GPUs, since the analysis takes no more; 0 without one.
        dollars_a_second: what it costs; None where that is not asked, or nobody says it.
    """

    name: str = ""
    cores: int = 1
    memory_bytes: int = 0
    gpu_bytes: int = 0
    dollars_a_second: float | None = None


def this_machine() -> Machine:
    return Machine(cores=torch.get_num_threads(), memory_bytes=Settings.from_environment().memory_bytes)


def flavor(name: str) -> Machine:
    """A machine that the Hub rents out, as it describes it now.

    Raises:
        InvalidInputError: that names those which there are, where this is none.
        HubError: where the Hub does not tell.
    """
    try:
        there = {each.name: each for each in HfApi().list_jobs_hardware()}
        if (found := there.get(name)) is not None:
            gpu = found.accelerator and _gigabytes(found.accelerator.vram) // _number(found.accelerator.quantity)
            unit = UNIT_SECONDS.get(found.unit_label)
            cost = found.unit_cost_usd / unit if unit else None
            return Machine(name, _number(found.cpu), _gigabytes(found.ram), gpu or 0, cost)
    except (HTTPError, OSError) as error:
        raise HubError(f"The Hub {describe_error(error)}, so what its jobs run on is not known.") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise HubError("The Hub gives a broken answer, so what its jobs run on is not known.") from error
    raise InvalidInputError(f"The Hub has no machine {name} for jobs; it has {', '.join(sorted(there))[:500]}.")


def _number(text: str) -> int:
    """The number that "2 vCPU" begins with."""
    if not (match := re.match(r"(\d{1,6})\b", text)):
        raise ValueError(text)
    return int(match[1])


def _gigabytes(text: str) -> int:
    """Bytes of "16 GB"."""
    return _number(text) * GIGABYTE
