"""A whole model scored on the probes: the table that every way of reading patterns fills, and the record made of it."""

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from importlib.metadata import version
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from headroles.core.readings.detection import is_detected
from headroles.core.records.calibration import Triggered
from headroles.core.records.head_categories import HeadCategories, Recipe
from headroles.core.records.record_builder import build_record, with_calibration, with_prompts, with_scores
from headroles.core.roles.measurement import Capture, HeadWeights
from headroles.core.roles.roles import measured_roles
from headroles.core.roles.scoring import measure_heads, pattern_roles
from headroles.models.loading.loader import LoadedModel
from headroles.models.probes.probe_texts import Probe, ProbeSizes, encoded_sentences, fitting_repeat_length, make_probes
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.scoring.calibration import calibrate
from headroles.models.scoring.output_scores import score_outputs

MAX_PATTERN_BYTES = 256 * 1024 * 1024  # of one forward's patterns, when a model is analysed here
MAX_BATCH = 10
SCORING_SHARE = 0.4  # of the time that an analysis takes; calibrating takes the rest


class Sweep:
    """Every measured role's score of every head on every text, in float32 or better on the CPU."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._windows, self._has_sink = loaded.windows, loaded.has_sink
        self._layers = loaded.layers
        # of each role and layer, one table a probe
        self._values: dict[str, dict[int, list[Float[Tensor, "text head"]]]] = {
            role.name: {layer: [] for layer in self._layers} for role in pattern_roles()
        }
        # likewise, in which texts the role can show under that layer's window
        self._can_show: dict[str, dict[int, list[Bool[Tensor, " text"]]]] = {
            name: {layer: [] for layer in self._layers} for name in self._values
        }

    def add(self, probe: Probe, layer: int, patterns: Float[Tensor, "batch head query key"]) -> None:
        """Adds one layer's patterns on a probe; every layer that has one, by its number in the model, once a probe."""
        token_ids, lengths = probe.token_ids.to(patterns.device), probe.lengths.to(patterns.device)
        window, has_sink = self._windows[layer], self._has_sink
        delimiters = None if probe.delimiters is None else probe.delimiters.to(patterns.device)
        for name, measured in measure_heads(patterns, token_ids, lengths, probe.roles, window, has_sink, delimiters).items():
            self._values[name][layer].append(measured.values.cpu())
            self._can_show[name][layer].append(measured.count.cpu() > 0)

    def scores(self) -> dict[str, Float[Tensor, "layer head"]]:
        """Each role's mean over the texts that score it, of the layers that have a pattern, on the CPU.

        A text in which it cannot show, as one without a comma, does not count.
        """
        means: dict[str, Float[Tensor, "layer head"]] = {}
        for name, by_layer in self._values.items():
            # probe by probe, as it always was: another order of adding would change the last digit of a score
            totals = [reduce(torch.add, [part.sum(0) for part in parts]) for parts in by_layer.values()]
            means[name] = torch.stack(totals) / max(1, int(self._scored_texts(name).sum()))
        return means

    def _scored_texts(self, name: str) -> Bool[Tensor, " text"]:
        """The texts in which a role can show in any layer."""
        return torch.stack([torch.cat(parts) for parts in self._can_show[name].values()]).any(0)

    def by_text(self) -> dict[str, Float[Tensor, "text layer head"]]:
        """What the means of `scores` are over: each role's texts in the order of the probes, however many a batch held."""
        return {
            name: torch.stack([torch.cat(parts) for parts in by_layer.values()], dim=1)[self._scored_texts(name)]
            for name, by_layer in self._values.items()
        }


def analyze_model(
    reader: PatternReader,
    sizes: ProbeSizes | None = None,
    on_progress: Callable[[float], None] = lambda _: None,
) -> HeadCategories:
    """The record of a model through PyVene: the offline analysis' probes and scores, without TransformerLens.

    Args:
        reader: of the model.
        sizes: how many texts; by default as the offline analysis.
        on_progress: called before each forward and after the last with the share of texts done, 0 to 1; what it raises ends
            the analysis.
    """
    sizes, loaded = sizes or ProbeSizes(), reader.loaded
    probes = list(make_probes(loaded, sizes, _fitting_batch(loaded, sizes)))
    scoring = SCORING_SHARE if sizes.calibration else 1.0
    record = make_record(loaded, score_patterns(reader, probes, lambda share: on_progress(scoring * share)), sizes)
    record = add_output_scores(reader, record, sizes, lambda share: on_progress(scoring))
    return add_calibration(reader, record, sizes, lambda share: on_progress(scoring + (1 - scoring) * share))


def add_output_scores(
    reader: PatternReader,
    record: HeadCategories,
    sizes: ProbeSizes,
    on_progress: Callable[[float], None] = lambda _: None,
) -> HeadCategories:
    """The record with the roles that only what heads write can show, where the sizes ask for them and the model can be read.

    `on_progress` as in `score_outputs`.
    """
    if not sizes.outputs:
        return record
    found = score_outputs(reader, sizes.outputs, sizes.seed, on_progress)
    return with_scores(record, found.scores, found.seconds)


def add_calibration(
    reader: PatternReader,
    record: HeadCategories,
    sizes: ProbeSizes,
    on_progress: Callable[[float], None] = lambda _: None,
) -> HeadCategories:
    """Adds the calibration of its roles, and prompts on which they show, to a record, where the sizes ask for one.

    Args:
        reader: of the model.
        record: of the same model.
        sizes: how many texts.
        on_progress: as in `calibrate`.
    """
    if not sizes.calibration:
        return record
    made = with_calibration(record, calibrate(reader, record, sizes.calibration, on_progress, seed=sizes.seed))
    return with_prompts(made, find_prompts(reader, made))


def score_patterns(
    reader: PatternReader,
    probes: Sequence[Probe],
    on_progress: Callable[[float], None] = lambda _: None,
) -> Sweep:
    """Every measured role's score of every head on the probes that score it, through PyVene."""
    texts, done = sum(len(probe.token_ids) for probe in probes), 0
    sweep = Sweep(reader.loaded)
    for probe in probes:
        on_progress(done / texts)
        for layer, patterns in zip(reader.loaded.layers, reader.read_layers(probe.token_ids)):
            sweep.add(probe, layer, patterns)
        done += len(probe.token_ids)
    on_progress(1.0)
    return sweep


def score_weights(layers: Iterable[HeadWeights]) -> dict[str, Float[Tensor, "layer head"]]:
    """The score of every head in every role that is read from the weights, on the CPU; one layer is looked at at a time."""
    roles = [role for role in measured_roles() if role.measure.needs == "weights"]
    rows: dict[str, list[Float[Tensor, " head"]]] = {role.name: [] for role in roles}
    for weights in layers if roles else ():
        for role in roles:
            rows[role.name].append(role.measure(Capture(weights=weights)).values[0].cpu())
    return {name: torch.stack(scores) for name, scores in rows.items()}


def make_record(
    loaded: LoadedModel,
    sweep: Sweep,
    sizes: ProbeSizes,
    transformer_lens: str | None = None,
    weight_scores: Mapping[str, Float[Tensor, "layer head"]] = MappingProxyType({}),
) -> HeadCategories:
    """The JSON record of a scored model, dated today.

    Args:
        loaded: the model.
        sweep: with all scores.
        sizes: of the probes that were read.
        transformer_lens: its version where it read the patterns.
        weight_scores: the scores of roles that no text shows, which have no interval.
    """
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    how = make_recipe(loaded, sizes, transformer_lens)
    identity = {"model_name": loaded.name, "revision": loaded.revision}
    scores = {**sweep.scores(), **weight_scores}
    return build_record(scores, **identity, date=today, recipe=how, other_layers=loaded.other_layers, by_text=sweep.by_text())


def make_recipe(loaded: LoadedModel, sizes: ProbeSizes, transformer_lens: str | None = None) -> Recipe:
    """What a record says of how it was made; two records with the same recipe and revision have the same scores."""
    recipe = Recipe(
        transformer_lens=transformer_lens,
        transformers=version("transformers"),
        torch=version("torch").split("+")[0],
        dtype=str(loaded.model.dtype).removeprefix("torch."),
        seed=sizes.seed,
        prepend_bos=loaded.prepend_bos,
        tokenizer_sha256=loaded.tokenizer_sha256,
        repeated_sequences=sizes.repeated_sequences,
        repeat_length=fitting_repeat_length(loaded, sizes.repeat_length),
        sentences=sizes.sentences,
    )
    # said only where there is something to say, so that the record of any other model is what it always was
    special = {"learned_sink": loaded.has_sink, "weights": loaded.weights, "calibration_texts": sizes.calibration or None}
    special |= {"effect_texts": sizes.effects or None, "output_texts": sizes.outputs or None}
    return recipe.model_copy(update={name: value for name, value in special.items() if value})


def _fitting_batch(loaded: LoadedModel, sizes: ProbeSizes) -> int:
    """How many texts one forward takes, so that its patterns stay below MAX_PATTERN_BYTES; one text always."""
    heads = len(loaded.layers) * loaded.identity.num_heads
    repeated = len(loaded.bos) + 2 * fitting_repeat_length(loaded, sizes.repeat_length)
    tokens = max(repeated, *map(len, encoded_sentences(loaded, sizes)))
    return max(1, min(MAX_BATCH, MAX_PATTERN_BYTES // (heads * tokens * tokens * 4)))


def find_prompts(reader: PatternReader, record: HeadCategories) -> dict[str, str]:
    """Finds, for each calibrated role with heads that a text triggers, the first of its prompts on which the role is seen.

    Each prompt is read alone, as a visitor's text is.

    Returns:
        The prompt by role name; empty where the role is seen on none.
    """
    found: dict[str, str] = {}
    for role in record.scored_roles:
        if not isinstance(record.calibrations.get(role.name), Triggered) or not record.top_heads(role):
            continue
        readable = (prompt for prompt in role.prompts if reader.loaded.can_encode(prompt))
        shows = (prompt for prompt in readable if is_detected(role, reader.read(reader.loaded.encode(prompt)), record))
        found[role.name] = next(shows, "")
    return found
