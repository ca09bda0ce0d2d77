"""The steps from a model to its record: patterns through TransformerLens where possible, everything else through PyVene."""

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
from headroles.models.scoring.sweep import add_calibration, add_output_scores, make_record, score_patterns, score_weights


def run_pipeline(load: Callable[[], LoadedModel], sizes: ProbeSizes, batch: int, device: str) -> HeadCategories:
    """Makes a model's record: patterns through TransformerLens where possible, everything else through PyVene.

    The model is loaded again for PyVene, since TransformerLens puts modules of its own into it. Only one copy is in memory at a
    time, so the caller must not keep what `load` returns.

    Args:
        load: loads the model.
        sizes: how many texts.
        batch: texts in one forward pass.
        device: as torch names it.

    Raises:
        HeadRolesError: where the model cannot be loaded or scored.
    """
    try:
        record = score_with_lens(load(), sizes, batch, device)
    except UnsupportedModelError:
        record = None
    if record and not (sizes.calibration or sizes.effects or sizes.outputs):
        return record
    reader = load_reader(load(), device)
    made = record or score_with_pyvene(reader, sizes, batch)
    made = calibrate_verdicts(reader, add_output_roles(reader, made, sizes), sizes)
    return add_effects(reader, made, sizes) if sizes.effects else made


def score_with_lens(loaded: LoadedModel, sizes: ProbeSizes, batch: int, device: str) -> HeadCategories:
    """Scores patterns and weights through TransformerLens, with a progress bar; the model cannot be used otherwise afterwards.

    Args:
        loaded: the model.
        sizes: how many texts.
        batch: texts in one forward pass.
        device: as torch names it.

    Raises:
        UnsupportedModelError: where TransformerLens cannot read the model.
    """
    from .bridge import head_weights, open_bridge, score_model  # slow to import: not for the help, nor to hand out work

    probes = list(make_probes(loaded, sizes, batch))
    bridge = open_bridge(loaded, device)
    sweep = score_model(bridge, loaded, tqdm(probes, desc=loaded.name, unit="batch"))
    of_weights = score_weights(head_weights(bridge, loaded.layers))
    return make_record(loaded, sweep, sizes, version("transformer-lens"), of_weights)


def load_reader(loaded: LoadedModel, device: str) -> PatternReader:
    """Opens PyVene on the model, moved to the device.

    Args:
        loaded: the model.
        device: as torch names it.
    """
    loaded.model.to(device)  # type: ignore[arg-type]
    return PatternReader(loaded)


def score_with_pyvene(reader: PatternReader, sizes: ProbeSizes, batch: int) -> HeadCategories:
    """Scores patterns through PyVene, as the page does; roles that are read from weights are not scored.

    Args:
        reader: of the model.
        sizes: how many texts.
        batch: texts in one forward pass.
    """
    probes = list(make_probes(reader.loaded, sizes, batch))
    with progress_bar(reader.loaded.name, len(probes), "batch") as show:
        sweep = score_patterns(reader, probes, show)
    return make_record(reader.loaded, sweep, sizes)


def calibrate_verdicts(reader: PatternReader, record: HeadCategories, sizes: ProbeSizes) -> HeadCategories:
    """Adds the calibration of the verdicts, through PyVene, as the page reads texts.

    Args:
        reader: of the model.
        record: of the model.
        sizes: how many texts.
    """
    with progress_bar(f"{reader.loaded.name}, verdicts", 100, "%") as show:
        return add_calibration(reader, record, sizes, show)


def add_output_roles(reader: PatternReader, record: HeadCategories, sizes: ProbeSizes) -> HeadCategories:
    """Adds the roles that are scored by what heads write, through PyVene.

    Args:
        reader: of the model.
        record: of the model.
        sizes: how many texts.
    """
    with progress_bar(f"{reader.loaded.name}, what heads write", 100, "%") as show:
        return add_output_scores(reader, record, sizes, show)


def add_effects(reader: PatternReader, record: HeadCategories, sizes: ProbeSizes) -> HeadCategories:
    """Adds what ablating each role's heads loses; returns the record as it is where outputs cannot be read.

    Args:
        reader: of the model.
        record: of the model.
        sizes: how many texts.
    """
    try:
        with progress_bar(f"{reader.loaded.name}, heads ablated", 100, "%") as show:
            return with_effects(record, role_effects(reader, record, sizes, show))
    except UnsupportedModelError as error:
        print(f"note: {error}", file=sys.stderr)
        return record


@contextmanager
def progress_bar(name: str, steps: int, unit: str) -> Iterator[Callable[[float], None]]:
    """Shows a bar, and yields a function that moves it to a share from 0 to 1.

    Args:
        name: what stands before the bar.
        steps: its length.
        unit: of a step.
    """
    with tqdm(total=steps, desc=name, unit=unit) as bar:
        yield lambda share: cast(None, bar.update(round(share * steps) - bar.n))
