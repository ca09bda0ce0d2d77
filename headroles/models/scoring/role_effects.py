"""What a model loses without the heads of each role, on the probe texts that score the role."""

from collections.abc import Callable, Sequence

import torch

from headroles.core.heads import Head
from headroles.core.records.bootstrap import mean_interval
from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.role_effects import RoleEffect
from headroles.core.roles.roles import MeasuredRole
from headroles.models.interventions.ablation_runs import AblationRequest, control_ids, mean_loss_increase
from headroles.models.interventions.ablator import Ablator, draw_control_heads, open_ablator
from headroles.models.probes.probe_texts import ProbeSizes, encoded_sentences, repeated_sequences
from headroles.models.reading.batches import TokenIds
from headroles.models.reading.pattern_reader import PatternReader


def role_effects(
    reader: PatternReader, record: HeadCategories, sizes: ProbeSizes, on_progress: Callable[[float], None] = lambda _: None
) -> dict[str, RoleEffect]:
    """The effect of every role that has heads, by role name.

    Args:
        reader: of the model.
        record: with the heads of each role.
        sizes: `effects` says on how many texts, two or more, `seed` which.
        on_progress: called before each text and after the last with the share done, 0 to 1; what it raises ends the work.

    Raises:
        UnsupportedModelError: when what the model writes cannot be read.
    """
    ablator, roles = open_ablator(reader), [role for role in record.scored_roles if record.top_heads(role)]
    found: dict[str, RoleEffect] = {}
    for done, role in enumerate(roles):
        heads = record.top_heads(role)
        texts = _texts(ablator, role, sizes)
        sets = [(), heads, *draw_control_heads(reader.loaded, heads, seed=sizes.seed)]
        rises = []
        for number, token_ids in enumerate(texts):
            on_progress((done + number / len(texts)) / len(roles))
            rises.append(_loss_increases(ablator, token_ids, sets, role, heads))
        found[role.name] = _effect(torch.tensor(rises), len(heads), role, sizes.seed)
        if role.measure.is_triggered:
            controls = [control_ids(reader.loaded, token_ids, sizes.seed + at) for at, token_ids in enumerate(texts)]
            # the losses that count stand where they stood in the text that repeats
            there = [
                _loss_increases(ablator, control, [(), heads], role, heads, looked_like)[0]
                for control, looked_like in zip(controls, texts)
            ]
            found[role.name] = found[role.name].model_copy(update={"control_text": round(sum(there) / len(there), 4)})
    on_progress(1.0)
    return found


def _texts(ablator: Ablator, role: MeasuredRole, sizes: ProbeSizes) -> list[TokenIds]:
    if role.measure.probes == "repeats":
        asked = ProbeSizes(sizes.effects, sizes.repeat_length, seed=sizes.seed)
        return [tuple(row) for row in repeated_sequences(ablator.loaded, asked).tolist()]
    return encoded_sentences(ablator.loaded, sizes)[: sizes.effects]


def _loss_increases(
    ablator: Ablator,
    token_ids: TokenIds,
    sets: Sequence[Sequence[Head]],
    role: MeasuredRole,
    heads: Sequence[Head],
    repeating_ids: TokenIds | None = None,
) -> list[float]:
    """By how much the mean loss rises without each set but the first, which is empty; 0 where no token counts."""
    looked_at = AblationRequest(repeating_ids or token_ids, tuple(heads), role).scored_positions()
    plain, *without = ablator.run(token_ids, sets, ablator.replacement("zero", token_ids))
    return [mean_loss_increase(plain.losses, after.losses, looked_at) or 0.0 for after in without]


def _effect(rises: torch.Tensor, heads: int, role: MeasuredRole, seed: int) -> RoleEffect:
    """The means over the texts [text, set], and between what the first set's lies."""
    ((low, high),) = mean_interval(rises[:, :1], seed).tolist()
    rise = round(float(rises[:, 0].mean()), 4)
    return RoleEffect(
        texts=len(rises),
        heads=heads,
        tokens="called" if role.measure.is_triggered else "all",
        loss_increase=rise,
        interval=[min(round(low, 4), rise), max(round(high, 4), rise)],
        controls=[round(value, 4) for value in rises[:, 1:].mean(0).tolist()],
    )
