"""Every head scored in the roles that need what heads write: mean direct effects on seeded texts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from headroles.core.roles.measurement import Capture
from headroles.core.roles.roles import MeasuredRole, measured_roles
from headroles.errors import UnsupportedModelError
from headroles.models.interventions.ablator import open_outputs
from headroles.models.interventions.successor_weights import successor_hits
from headroles.models.loading.loader import LoadedModel
from headroles.models.probes.output_probes import OutputProbe, name_probes, repeat_probes, series_probes
from headroles.models.reading.output_reader import OutputReader
from headroles.models.reading.pattern_reader import PatternReader

PROBES: Mapping[str, Callable[[LoadedModel, int, int], list[OutputProbe]]] = MappingProxyType(
    {"names": name_probes, "series": series_probes, "repeats": repeat_probes}
)


@dataclass(frozen=True)
class OutputScores:
    """What each text gives every head, by role name: of the scores, and of the second numbers of the roles that have one."""

    scores: dict[str, Float[Tensor, "text layer head"]]
    seconds: dict[str, Float[Tensor, "text layer head"]]


def output_roles() -> tuple[MeasuredRole, ...]:
    """The roles that only what a head writes can show."""
    return tuple(role for role in measured_roles() if role.measure.needs == "outputs")


def score_outputs(
    reader: PatternReader, texts: int, seed: int = 0, on_progress: Callable[[float], None] = lambda _: None
) -> OutputScores:
    """Each role's value of every head on each of its texts, on the CPU; the score is the mean over the texts.

    Empty for a model whose output side cannot be read; a role is left out where the model's vocabulary has no words for it.

    Args:
        reader: of the model.
        texts: of each kind, at most.
        seed: draws the texts.
        on_progress: called before each text with the share done, 0 to 1; what it raises ends the work.
    """
    try:
        outputs = open_outputs(reader)
    except UnsupportedModelError:
        return OutputScores({}, {})
    kinds = {kind: make(reader.loaded, texts, seed) for kind, make in PROBES.items()}
    total, done = sum(map(len, kinds.values())), 0
    effects: dict[str, list[Float[Tensor, "layer head"]]] = {kind: [] for kind in kinds}
    for kind, probes in kinds.items():
        for probe in probes:
            on_progress(done / total)
            effects[kind].append(probe_effect(outputs, probe))
            done += 1
    roles, on_texts = output_roles(), {kind: torch.stack(found) for kind, found in effects.items() if found}
    scores = {role.name: _measured(role, on_texts[role.measure.probes]) for role in roles if role.measure.probes in on_texts}
    if (firsts := successor_hits(outputs)) is not None:
        on_texts["weights"] = firsts
    seconds = {
        role.name: _measured(role, on_texts[second.probes])
        for role in roles
        if role.name in scores and (second := role.measure.second) and second.probes in on_texts
    }
    return OutputScores(scores, seconds)


def _measured(role: MeasuredRole, effects: Float[Tensor, "text layer head"]) -> Float[Tensor, "text layer head"]:
    return role.measure(Capture(effects=effects)).values


def probe_effect(outputs: OutputReader, probe: OutputProbe) -> Float[Tensor, "layer head"]:
    """Every head's direct effect on the probe's target: through its key alone, or beyond that on the other text."""
    written = _written(outputs, probe.token_ids, probe.target)
    if probe.key is not None:
        return written[:, :, probe.key].cpu()
    written = written.sum(-1)
    return (written if probe.contrast is None else written - _written(outputs, probe.contrast, probe.target).sum(-1)).cpu()


def _written(outputs: OutputReader, token_ids: Sequence[int], target: int) -> Float[Tensor, "layer head key"]:
    return outputs.read(token_ids).by_key(outputs.tokens_to_residual_directions([target]))[..., 0]
