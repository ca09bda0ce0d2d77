"""The steps from a model to its record: patterns through TransformerLens where it can, the rest through PyVene."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import cast

from tqdm import tqdm

from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_builder import with_effects
from headroles.errors import UnsupportedModelError
from headroles.models.loading.loader import LoadedModel
from headroles.models.probes.probe_texts import ProbeSizes, make_probes
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.scoring.role_effects import role_effects
from headroles.models.scoring.sweep import calibrated, make_record, score_here, score_weights, scored_by_outputs


def make(load: Callable[[], LoadedModel], sizes: ProbeSizes, batch: int, device: str) -> HeadCategories:
    """A model's record: patterns through TransformerLens where it can, what else the sizes ask for through PyVene.

    It is loaded again for PyVene, since TransformerLens puts modules of its own into a model; of the two one is in memory at a
    time, so nobody else may hold what `load` gives.

    Args:
        batch: texts in one forward.

    Raises what `load` raises, and HeadRolesError where the model cannot be scored.
    """
    try:
        record = analyze(load(), sizes, batch, device)
    except UnsupportedModelError:
        record = None
    if record and not (sizes.calibration or sizes.effects or sizes.outputs):
        return record
    reader = open_reader(load(), device)
    made = record or analyze_without_lens(reader, sizes, batch)
    made = calibrate(reader, read_outputs(reader, made, sizes), sizes)
    return take_out(reader, made, sizes) if sizes.effects else made


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
