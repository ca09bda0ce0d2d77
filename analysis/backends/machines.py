"""The machines that models are analysed on, as far as an estimate has to know: cores, memory and price."""

import re
from dataclasses import dataclass

import torch
from huggingface_hub import HfApi

from headroles.errors import InvalidInputError
from headroles.settings import GIGABYTE, Settings

from ..hub_errors import asking_hub

UNIT_SECONDS = {"second": 1, "minute": 60, "hour": 3600}


@dataclass(frozen=True)
class Machine:
    """What one model has to itself.

    Attributes:
        name: of the flavor on the Hub; empty for one's own machines.
        cores: of its processor.
        memory_bytes: for its process; 0 if unknown.
        gpu_bytes: memory of one GPU, since the analysis takes no more; 0 without one.
        dollars_a_second: its price; None if unknown.
    """

    name: str = ""
    cores: int = 1
    memory_bytes: int = 0
    gpu_bytes: int = 0
    dollars_a_second: float | None = None


def local_machine() -> Machine:
    """This machine."""
    return Machine(cores=torch.get_num_threads(), memory_bytes=Settings.from_environment().memory_bytes)


def rented_machine(name: str) -> Machine:
    """A machine that the Hub rents out, as it describes it now.

    Raises:
        InvalidInputError: where the Hub has no machine of this name; lists those it has.
        HubError: where the Hub does not say.
    """
    with asking_hub("what its jobs run on is not known"):
        machines = {machine.name: machine for machine in HfApi().list_jobs_hardware()}
        if (found := machines.get(name)) is not None:
            gpu = found.accelerator and _gigabytes(found.accelerator.vram) // _number(found.accelerator.quantity)
            unit = UNIT_SECONDS.get(found.unit_label)
            cost = found.unit_cost_usd / unit if unit else None
            return Machine(name, _number(found.cpu), _gigabytes(found.ram), gpu or 0, cost)
    raise InvalidInputError(f"The Hub has no machine {name} for jobs; it has {', '.join(sorted(machines))[:500]}.")


def _number(text: str) -> int:
    """The number that "2 vCPU" begins with."""
    if not (match := re.match(r"(\d{1,6})\b", text)):
        raise ValueError(text)
    return int(match[1])


def _gigabytes(text: str) -> int:
    """Bytes of "16 GB"."""
    return _number(text) * GIGABYTE
