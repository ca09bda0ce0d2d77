"""A record's verdicts tried on texts that its calibration did not use: what is seen that should be, and what should not.

By role: on how many texts that repeat a passage it is seen, and how many of its top heads; on how many of their null twins, by
length; how well the strongest excess of each top head tells the two apart (AUC); how many heads that are not known for the role
are seen on a null text; and whether the role is seen on the prompt that the page suggests for it on this model. With
`--untrained` the same architecture with fresh random weights is analysed and tried in its place. Exit code: 0, 1 when an aim is
missed, 2 when the model cannot be tried.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import AutoModelForCausalLM

from headroles.core.readings.detection import detect, detect_heads, known_heads
from headroles.core.records.calibration import Triggered
from headroles.core.records.head_categories import HeadCategories
from headroles.core.roles.roles import MeasuredRole
from headroles.errors import InvalidRecordError, NoHeadCategoriesError
from headroles.models.loading.loader import LoadedModel, load_model
from headroles.models.probes.calibration_texts import LENGTHS, make_pairs
from headroles.models.probes.sentences import FOR_TRIALS
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.scoring.calibration import PairExcess, read_pairs
from headroles.models.scoring.sweep import analyze_here
from headroles.render.wording.phrases import percent

from .runs import locate

SEED = 4_000_000  # of the texts; no analysis uses it, and nothing was chosen by them
RECALL, HEADS_RECALL, FALSE, DISCOVERED, UNTRAINED = 0.98, 0.9, 0.05, 1.0, 0.02  # the aims
HEADER = (
    *("role", "seen", "by tokens", "top heads", "others"),
    *("seen on null texts, by tokens", "others", "AUC of top heads", "own prompt"),
)


@dataclass(frozen=True)
class Trial:
    """How one role's verdicts did.

    Attributes:
        recall, heads: shares of the positive texts on which the role is seen, and of its top heads there.
        by_length: the first of them, and the mean attention that its best head gives the expected keys at its strongest token, by
            tokens of the text: a head that does not look so far back is rightly not seen.
        others: heads that are seen without being known for it, a positive text.
        false: share of the null texts on which the role is seen, by their length in tokens.
        discovered: heads that are seen without being known for it, a null text.
        auc: of each top head, best first: how often its strongest excess is larger on a positive text than on a null one.
        own_prompt: whether it is seen on the prompt that the record suggests for it; None where no head is known for it.
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
        name, said = self.role.display_name, []
        if untrained:
            if max(self.false.values()) > UNTRAINED or self.recall > UNTRAINED:
                said.append(f"{name} is seen in an untrained network on more than {percent(UNTRAINED)} of texts")
        elif self.own_prompt is not None:
            if self.recall < RECALL or self.heads < HEADS_RECALL:
                least = min(self.by_length, key=lambda length: self.by_length[length][0])
                rate, attention = self.by_length[least]
                said.append(
                    f"{name} is seen on {percent(self.recall)} of repeats, and {percent(self.heads)} of its heads; least often "
                    f"of {least} tokens, {percent(rate)}: its best head gives the expected keys {percent(attention)} at most"
                )
            if not self.own_prompt:
                said.append(f"{name} is not seen on its own prompt")
            often = {length: rate for length, rate in self.false.items() if rate > FALSE}
            said += [f"{name} is seen on {percent(rate)} of null texts of {length} tokens" for length, rate in often.items()]
        if self.discovered > DISCOVERED:
            said.append(f"{self.discovered:.1f} heads a null text are seen as {name}")
        return said


def run(model: str, record: HeadCategories | None, texts: int, is_untrained: bool) -> tuple[str, int]:
    """The report on a model with its record, or on its untrained twin with one that is made now, and the exit code.

    Raises:
        HeadRolesError: when the model cannot be read, or has no record.
    """
    loaded = load_model(model, locate(model))
    if is_untrained:
        reader = PatternReader(untrained(loaded))
        record = analyze_here(reader)
    elif record is None:
        raise NoHeadCategoriesError(f"There is no record of {model} here; analyse it first.")
    else:
        reader = PatternReader(loaded)
    return report(try_out(reader, record, texts), is_untrained)


def try_out(reader: PatternReader, record: HeadCategories, texts: int) -> list[Trial]:
    """One trial for each triggered role that the record is calibrated for.

    Args:
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
    """A model of the same config and tokenizer that has learned nothing."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(loaded.model.config).eval()
    return LoadedModel(f"{loaded.name}, untrained", model, loaded.tokenizer, f"seed{seed}")


def report(trials: Sequence[Trial], is_untrained: bool) -> tuple[str, int]:
    """The table, the aims that are missed, and the exit code."""
    rows = [HEADER, *map(_row, trials)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows]
    missed = [f"missed: {said}" for trial in trials for said in trial.missed(is_untrained)]
    return "\n".join([*lines, *missed]), int(bool(missed))


def _trial(reader: PatternReader, record: HeadCategories, role: MeasuredRole, shown: Iterable[tuple[int, PairExcess]]) -> Trial:
    known, calibration = known_heads(record, role), record.calibrations[role.name]
    assert isinstance(calibration, Triggered)
    found = [(length, one) for length, one in shown if one.tokens]
    positive = [detect_heads(one.positive, known, calibration, length) for length, one in found]
    null = [(length, *detect_heads(one.null, known, calibration, length)) for length, one in found]
    lengths = sorted({length for length, _ in found})
    return Trial(
        role=role,
        recall=_mean(is_role for _, is_role in positive),
        heads=_mean(float(heads[known].float().mean()) if known.any() else 0.0 for heads, _ in positive),
        by_length={
            at: (
                _mean(is_role for (length, _), (_, is_role) in zip(found, positive) if length == at),
                _mean(float(one.attention[known].amax()) for length, one in found if length == at) if known.any() else 0.0,
            )
            for at in lengths
            if at in LENGTHS
        },
        others=_mean(int(heads[~known].sum()) for heads, _ in positive),
        false={length: _mean(is_role for at, _, is_role in null if at == length) for length in lengths if length in LENGTHS},
        discovered=_mean(int(heads[~known].sum()) for _, heads, _ in null),
        auc=_auc([one for _, one in found], known),
        own_prompt=_shows(reader, record, role) if known.any() else None,
    )


def _shows(reader: PatternReader, record: HeadCategories, role: MeasuredRole) -> bool:
    """Whether the role is seen on the text that the page offers for it; not where there is none."""
    prompt = record.suggested_prompt(role)
    return bool(prompt) and detect(role, reader.read(reader.loaded.encode(prompt)), record).role


def _auc(shown: Sequence[PairExcess], known: Bool[Tensor, "layer head"]) -> tuple[float, ...]:
    """Mann and Whitney's, of the strongest excess of each known head."""
    positive, null = (torch.stack([side(one).amax(-1)[known] for one in shown]) for side in (_positive, _null))
    above = positive[:, None] > null[None]
    ties = positive[:, None] == null[None]
    return tuple((above.float() + ties.float() / 2).mean((0, 1)).tolist())


def _positive(shown: PairExcess) -> Float[Tensor, "layer head place"]:
    return shown.positive


def _null(shown: PairExcess) -> Float[Tensor, "layer head place"]:
    return shown.null


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0


def _row(trial: Trial) -> tuple[str, ...]:
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
        {None: "-", True: "seen", False: "not seen"}[trial.own_prompt],
    )
