"""The training runs that ship with headroles, by the model whose they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from headroles.core.registry import EMBEDDED_FOLDER, EMBEDDED_MODEL
from headroles.core.training import Stretch, TrainingRun, read_training
from headroles.errors import InvalidRecordError, NoTrainingRunError


@dataclass(frozen=True)
class RunFile:
    """Where a run was recorded, and what the model read on the way; a test holds that against what trained it."""

    path: Path
    stretches: tuple[Stretch, ...] = ()


RUNS: Mapping[str, RunFile] = MappingProxyType(
    {
        EMBEDDED_MODEL: RunFile(
            EMBEDDED_FOLDER / "training.jsonl",
            (
                Stretch(0, "random tokens, of 64 different ones, each that has come before said twice"),
                Stretch(500, "random strings that repeat themselves, of the same 64 tokens"),
                Stretch(1200, "random strings of 512 different tokens"),
                Stretch(1450, "random strings of all tokens"),
                Stretch(1800, "prose, and a third such strings still"),
                Stretch(2700, "longer pieces of prose"),
                Stretch(3300, "prose, and phrases of it that come again"),
            ),
        )
    }
)


def find_run(model: str) -> TrainingRun:
    """The recorded run of a model.

    Raises:
        NoTrainingRunError: when there is none; names the models that have one.
        InvalidRecordError: when it is broken.
    """
    if model not in RUNS:
        raise NoTrainingRunError(
            f"Nobody has recorded the training of {str(model)[:100]!r}; there is a recorded run of {', '.join(RUNS)}."
        )
    return _read_once(model)


@lru_cache
def _read_once(model: str) -> TrainingRun:
    file = RUNS[model]
    try:
        return read_training(file.path, model, file.stretches)
    except OSError as error:
        raise InvalidRecordError(f"The training run of {model} could not be read ({error.strerror}).") from error
