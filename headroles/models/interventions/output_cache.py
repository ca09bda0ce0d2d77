"""The output side of a model, opened the first time that somebody asks for it, and once."""

from headroles.models.interventions.ablator import KnockOuts
from headroles.models.reading.output_reader import OutputReader
from headroles.models.reading.pattern_reader import PatternReader


def open_outputs(reader: PatternReader) -> OutputReader:
    """What a model writes. Raises UnsupportedModelError when that cannot be read."""
    return reader.extras.get(OutputReader, lambda: OutputReader(reader))


def open_knock_outs(reader: PatternReader) -> KnockOuts:
    """What is lost without some of a model's heads. Raises as `open_outputs`."""
    return reader.extras.get(KnockOuts, lambda: KnockOuts(open_outputs(reader)))
