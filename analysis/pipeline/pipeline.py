"""The steps from a model to its record: patterns through TransformerLens where it can, the rest through PyVene."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import cast

from tqdm import tqdm

from headroles.core.record_making import with_effects
from headroles.core.records import HeadCategories
from headroles.errors import UnsupportedModelError
from headroles.models.capture import PatternReader
from headroles.models.loading import LoadedModel
from headroles.models.probes import ProbeSizes, make_probes
from headroles.models.role_effects import role_effects
from headroles.models.sweep import calibrated, make_record, score_here, score_weights, scored_by_outputs


def run_pipeline(load: Callable[[], LoadedModel], sizes: ProbeSizes, batch: int, device: str) -> HeadCategories:
    """A model's record: patterns through TransformerLens where it can, what else the sizes ask for through PyVene.

    It is loaded again for PyVene, since TransformerLens puts modules of its own into a model; of the two one is in memory at a
    time, so nobody else may hold what `load` gives.

    Args:
        batch: texts in one forward.

    Raises what `load` raises, and HeadRolesError where the model cannot be scored.
    """
    try:
        record = score_with_lens(load(), sizes, batch, device)
    except UnsupportedModelError:
        record = None
    if record and not (sizes.calibration or sizes.effects or sizes.outputs):
        return record
    reader = load_reader(load(), device)
    made = record or score_with_pyvene(reader, sizes, batch)
    made = add_calibration(reader, add_output_roles(reader, made, sizes), sizes)
    return add_effects(reader, made, sizes) if sizes.effects else made


def score_with_lens(loaded: LoadedModel, sizes: ProbeSizes, batch: int, device: str) -> HeadCategories:
    """A model's record through TransformerLens, with a progress bar over the batches.

    Raises UnsupportedModelError where TransformerLens cannot read the model, which is of no other use afterwards either way.
    """
    from .bridge import head_weights, open_bridge, score_model  # slow to import: not for the help, nor to hand out work

    probes = list(make_probes(loaded, sizes, batch))
    bridge = open_bridge(loaded, device)
    sweep = score_model(bridge, loaded, tqdm(probes, desc=loaded.name, unit="batch"))
    of_weights = score_weights(head_weights(bridge, loaded.layers))
    return make_record(loaded, sweep, sizes, version("transformer-lens"), of_weights)


def load_reader(loaded: LoadedModel, device: str) -> PatternReader:
    """PyVene on a model that was moved to the device."""
    loaded.model.to(device)  # type: ignore[arg-type]
    return PatternReader(loaded)


def score_with_pyvene(reader: PatternReader, sizes: ProbeSizes, batch: int) -> HeadCategories:
    """The same through PyVene, as the page does it; what stands in weights is not scored."""
    probes = list(make_probes(reader.loaded, sizes, batch))
    with progress_bar(reader.loaded.name, len(probes), "batch") as show:
        sweep = score_here(reader, probes, show)
    return make_record(reader.loaded, sweep, sizes)


def add_calibration(reader: PatternReader, record: HeadCategories, sizes: ProbeSizes) -> HeadCategories:
    """The record with its calibration, through PyVene, as the page reads texts."""
    with progress_bar(f"{reader.loaded.name}, verdicts", 100, "%") as show:
        return calibrated(reader, record, sizes, show)


def add_output_roles(reader: PatternReader, record: HeadCategories, sizes: ProbeSizes) -> HeadCategories:
    """The record with the roles that are scored by what heads write, through PyVene."""
    with progress_bar(f"{reader.loaded.name}, what heads write", 100, "%") as show:
        return scored_by_outputs(reader, record, sizes, show)


def add_effects(reader: PatternReader, record: HeadCategories, sizes: ProbeSizes) -> HeadCategories:
    """The record with what is lost without each role's heads; as it is where what the model writes cannot be read."""
    try:
        with progress_bar(f"{reader.loaded.name}, heads taken out", 100, "%") as show:
            return with_effects(record, role_effects(reader, record, sizes, show))
    except UnsupportedModelError as error:
        print(f"note: {error}", file=sys.stderr)
        return record


@contextmanager
def progress_bar(name: str, steps: int, unit: str) -> Iterator[Callable[[float], None]]:
    """A bar, and what to call with the share that is done."""
    with tqdm(total=steps, desc=name, unit=unit) as bar:
        yield lambda share: cast(None, bar.update(round(share * steps) - bar.n))
