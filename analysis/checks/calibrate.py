"""Tries a record's verdicts on texts that did not calibrate it: what is detected that should be, and what should not.

For each role: on how many texts that repeat a passage it is detected, and how many of its top heads; on how many of their null
twins, by length; how well the strongest excess of each top head tells the two apart (AUC); how many other heads are detected
on a null text; and whether the role is detected on the prompt that the page suggests for it. With `--untrained` the same
architecture with fresh random weights is analysed and tried instead. Exit code: 0, 1 when an aim is missed, 2 when the model
cannot be tried.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor
from transformers import AutoModelForCausalLM

from headroles.core.readings.detection import detect, detect_heads, known_heads
from headroles.core.records.calibration import Triggered
from headroles.core.records.head_categories import HeadCategories
from headroles.core.roles.roles import MeasuredRole
from headroles.errors import InvalidRecordError, NoHeadCategoriesError
from headroles.models.loading.loader import LoadedModel, load_model
from headroles.models.probes.calibration_texts import TEXT_LENGTHS, make_pairs
from headroles.models.probes.sentences import FOR_TRIALS
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.scoring.calibration import PairExcess, read_pairs
from headroles.models.scoring.sweep import analyze_model
from headroles.render.wording.phrases import percent

from ..pipeline.sources import locate_model
from ..tables import align

SEED = 4_000_000  # of the texts; no analysis uses it, and nothing was chosen by them
RECALL, HEADS_RECALL, FALSE, DISCOVERED, UNTRAINED = 0.98, 0.9, 0.05, 1.0, 0.02  # the aims
HEADER = (
    *("role", "detected", "by tokens", "top heads", "others"),
    *("detected on null texts, by tokens", "others", "AUC of top heads", "own prompt"),
)


@dataclass(frozen=True)
class VerdictTrial:
    """How the verdicts of one role did.

    Attributes:
        role: the role.
        recall: share of the positive texts on which the role is detected.
        heads: share of its top heads that are detected there.
        by_length: by tokens of the text, the recall and the mean attention that the best head gives the expected keys at its
            strongest token; a head that does not look so far back is rightly not detected.
        others: heads detected without being known for the role, per positive text.
        false: share of the null texts on which the role is detected, by their length in tokens.
        discovered: heads detected without being known for the role, per null text.
        auc: for each top head, best first: how often its strongest excess is larger on a positive text than on a null one.
        own_prompt: whether it is detected on the prompt that the record suggests for it; None where no head is known for it.
    """

    role: MeasuredRole
    recall: float
    heads: float
    by_length: dict[int, tuple[float, float]]
    others: float
    false: dict[int, float]
    discovered: float
    auc: tuple[float, ...]
    own_prompt: bool | None

    def missed(self, untrained: bool) -> list[str]:
        """The aims that are missed, in words."""
        name, missed = self.role.display_name, []
        if untrained:
            if max(self.false.values()) > UNTRAINED or self.recall > UNTRAINED:
                missed.append(f"{name} is detected in an untrained network on more than {percent(UNTRAINED)} of texts")
        elif self.own_prompt is not None:
            if self.recall < RECALL or self.heads < HEADS_RECALL:
                least = min(self.by_length, key=lambda length: self.by_length[length][0])
                rate, attention = self.by_length[least]
                found = f"{percent(self.recall)} of repeats, and {percent(self.heads)} of its heads"
                worst = f"least often at {least} tokens, {percent(rate)}"
                missed.append(
                    f"{name} is detected on {found}; {worst}: its best head gives the expected keys {percent(attention)}"
                )
            if not self.own_prompt:
                missed.append(f"{name} is not detected on its own prompt")
            often = {length: rate for length, rate in self.false.items() if rate > FALSE}
            missed += [
                f"{name} is detected on {percent(rate)} of null texts of {length} tokens" for length, rate in often.items()
            ]
        if self.discovered > DISCOVERED:
            missed.append(f"{self.discovered:.1f} heads a null text are detected as {name}")
        return missed


def run(model: str, record: HeadCategories | None, texts: int, is_untrained: bool) -> tuple[str, int]:
    """Tries a model with its record, or an untrained copy with a record made now; returns the report and the exit code.

    Args:
        model: its name or path.
        record: of the model; None if there is none.
        texts: pairs of each length and kind.
        is_untrained: whether to try the architecture with fresh random weights.

    Raises:
        HeadRolesError: when the model cannot be read, or has no record.
    """
    loaded = load_model(model, locate_model(model))
    if is_untrained:
        reader = PatternReader(untrained(loaded))
        record = analyze_model(reader)
    elif record is None:
        raise NoHeadCategoriesError(f"There is no record of {model} here; analyse it first.")
    else:
        reader = PatternReader(loaded)
    return report(try_verdicts(reader, record, texts), is_untrained)


def try_verdicts(reader: PatternReader, record: HeadCategories, texts: int) -> list[VerdictTrial]:
    """Tries each triggered role that the record is calibrated for.

    Args:
        reader: of the model.
        record: of the model.
        texts: pairs of each length and kind, as in the calibration.

    Raises:
        InvalidRecordError: when the record has no calibration.
    """
    roles = [role for role in record.scored_roles if isinstance(record.calibrations.get(role.name), Triggered)]
    if not roles:
        raise InvalidRecordError(f"The record of {record.model_name} has no calibration; analyse the model again.")
    pairs = list(make_pairs(reader.loaded, texts, FOR_TRIALS, SEED))
    shown = [(len(pair.positive), by_role) for pair, by_role in read_pairs(reader, pairs, roles)]
    return [_trial(reader, record, role, [(length, found[role.name]) for length, found in shown]) for role in roles]


def untrained(loaded: LoadedModel, seed: int = 0) -> LoadedModel:
    """A model with the same config and tokenizer, and fresh random weights.

    Args:
        loaded: the model.
        seed: of the weights.
    """
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(loaded.model.config).eval()
    return LoadedModel(f"{loaded.name}, untrained", model, loaded.tokenizer, f"seed{seed}")


def report(trials: Sequence[VerdictTrial], is_untrained: bool) -> tuple[str, int]:
    """The table and the aims that are missed, and the exit code.

    Args:
        trials: one for each role.
        is_untrained: whether the model has random weights, for which the aims differ.
    """
    missed = [f"missed: {aim}" for trial in trials for aim in trial.missed(is_untrained)]
    return "\n".join([*align([HEADER, *map(_table_row, trials)]), *missed]), int(bool(missed))


def _trial(
    reader: PatternReader, record: HeadCategories, role: MeasuredRole, pairs: Iterable[tuple[int, PairExcess]]
) -> VerdictTrial:
    known, calibration = known_heads(record, role), record.calibrations[role.name]
    assert isinstance(calibration, Triggered)
    found = [(length, one) for length, one in pairs if one.tokens]
    positive = [detect_heads(one.positive, known, calibration, length) for length, one in found]
    null = [(length, *detect_heads(one.null, known, calibration, length)) for length, one in found]
    lengths = sorted({length for length, _ in found})
    return VerdictTrial(
        role=role,
        recall=_mean(is_role for _, is_role in positive),
        heads=_mean(float(heads[known].float().mean()) if known.any() else 0.0 for heads, _ in positive),
        by_length={
            at: (
                _mean(is_role for (length, _), (_, is_role) in zip(found, positive) if length == at),
                _mean(float(one.attention[known].amax()) for length, one in found if length == at) if known.any() else 0.0,
            )
            for at in lengths
            if at in TEXT_LENGTHS
        },
        others=_mean(int(heads[~known].sum()) for heads, _ in positive),
        false={length: _mean(is_role for at, _, is_role in null if at == length) for length in lengths if length in TEXT_LENGTHS},
        discovered=_mean(int(heads[~known].sum()) for _, heads, _ in null),
        auc=_auc([one for _, one in found], known),
        own_prompt=_is_detected(reader, record, role) if known.any() else None,
    )


def _is_detected(reader: PatternReader, record: HeadCategories, role: MeasuredRole) -> bool:
    """Whether the role is detected on the text that the page offers for it; not where there is none."""
    prompt = record.suggested_prompt(role)
    return bool(prompt) and detect(role, reader.read(reader.loaded.encode(prompt)), record).role


def _auc(pairs: Sequence[PairExcess], known: Bool[Tensor, "layer head"]) -> tuple[float, ...]:
    """Mann and Whitney's, of the strongest excess of each known head."""
    positive, null = (torch.stack([getattr(one, side).amax(-1)[known] for one in pairs]) for side in ("positive", "null"))
    above = positive[:, None] > null[None]
    ties = positive[:, None] == null[None]
    return tuple((above.float() + ties.float() / 2).mean((0, 1)).tolist())


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0


def _table_row(trial: VerdictTrial) -> tuple[str, ...]:
    known = trial.own_prompt is not None
    return (
        trial.role.display_name,
        percent(trial.recall),
        ", ".join(f"{length}: {percent(rate)}" for length, (rate, _) in trial.by_length.items()),
        percent(trial.heads) if known else "none",
        f"{trial.others:.1f}",
        ", ".join(f"{length}: {percent(rate)}" for length, rate in trial.false.items()),
        f"{trial.discovered:.2f}",
        " ".join(f"{auc:.3f}" for auc in trial.auc) or "-",
        {None: "-", True: "detected", False: "not detected"}[trial.own_prompt],
    )
