"""What a record says of a role's heads taken out on the probe texts: measured with its control, checked, and told."""

from dataclasses import replace

import pytest
import torch

from headroles.core.readings.verdicts import read_heads, read_roles
from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_builder import with_effects
from headroles.core.records.role_effects import RoleEffect
from headroles.core.roles.roles import get_measured_role
from headroles.errors import JobCancelledError, UnsupportedModelError
from headroles.models.loading.loader import LoadedModel
from headroles.models.probes.probe_texts import ProbeSizes, repeated_sequences
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.scoring.role_effects import role_effects
from headroles.render.api.schema import RoleEffectResult, analysis_result
from headroles.render.page.cards import render_panel
from headroles.render.wording.causes import describe_role_effect
from tests.conftest import REPEATING
from tests.fixtures.architectures import build

SIZES = ProbeSizes(repeat_length=20, effects=3)


@pytest.fixture(scope="module")
def reader(tiny) -> PatternReader:
    return PatternReader(LoadedModel(tiny.name, tiny.model, tiny.tokenizer, tiny.revision, lock=tiny.lock))


@pytest.fixture(scope="module")
def effects(reader, record) -> dict[str, RoleEffect]:
    return role_effects(reader, record, SIZES)


def test_repeats_are_lost_without_the_induction_heads_and_the_control_text_is_not(effects):
    induction = effects["induction"]
    assert induction.loss_increase > 4 > 1 > abs(induction.control_text)
    assert (induction.texts, induction.tokens, len(induction.controls)) == (3, "called", 20)
    assert effects["previous_token"].tokens == "all"
    assert effects["previous_token"].control_text is None


def test_the_rise_is_the_difference_of_the_losses_that_hooks_by_hand_give(effects, reader, record, fresh_tiny):
    heads = record.top_heads("induction")
    model, rows = fresh_tiny.model, repeated_sequences(reader.loaded, ProbeSizes(3, 20))

    def losses() -> torch.Tensor:
        with torch.no_grad():
            logits = model(input_ids=rows).logits
        return torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), rows[:, 1:], reduction="none")

    before = losses()
    for layer, block in enumerate(model.gpt_neox.layers):
        gone = [head.index for head in heads if head.layer == layer]

        def silence(_, args, gone=gone):
            mixed = args[0].unflatten(-1, (8, -1)).clone()
            mixed[:, :, gone] = 0
            return (mixed.flatten(-2),)

        block.attention.dense.register_forward_pre_hook(silence)
    # after a token that came before, and whose continuation is therefore known: all of the second copy but its first
    called = slice(len(reader.loaded.bos) + 20, None)
    rise = (losses() - before)[:, called].mean()
    assert effects["induction"].loss_increase == pytest.approx(float(rise), abs=1e-3)


def test_the_same_seed_gives_the_same_effects_and_progress_can_end_the_work(reader, record, effects):
    shares: list[float] = []
    small = record.model_copy(update={"categories": {"induction": record.categories["induction"]}})
    assert role_effects(reader, small, SIZES, shares.append) == {"induction": effects["induction"]}
    assert shares == sorted(shares)
    assert shares[-1] == 1.0

    def stop(_: float) -> None:
        raise JobCancelledError("stopped")

    with pytest.raises(JobCancelledError):
        role_effects(reader, record, SIZES, stop)


def test_a_model_whose_output_side_is_unknown_says_so(tiny, record):
    reader = PatternReader(LoadedModel("r", build("openai-gpt"), tiny.tokenizer, "r"))
    with pytest.raises(UnsupportedModelError, match="^What the heads of r .* write cannot be read"):
        role_effects(reader, record, SIZES)


def test_a_record_with_effects_comes_back_as_it_was_and_is_shown(effects, record, reader):
    made = with_effects(record, effects)
    assert HeadCategories.model_validate_json(made.to_json()) == made
    attention = reader.read(reader.loaded.encode(REPEATING))
    heads = read_heads(attention, made)
    reading = next(one for one in read_roles(heads, made) if one.role == get_measured_role("induction"))
    assert reading.effect == effects["induction"]
    without = record.model_copy(update={"effects": None})
    assert without.get_effect(get_measured_role("induction")) is None


def test_cards_and_answers_tell_a_published_effect(effects, explorer):
    analysis = explorer.analyze("headroles-tiny", REPEATING)
    roles = tuple(replace(reading, effect=effects.get(reading.role.name)) for reading in analysis.roles)
    told = replace(analysis, roles=roles)
    assert describe_role_effect(effects["induction"]) in render_panel(told)
    answered = {role["key"]: role["effect"] for role in analysis_result(told).model_dump()["roles"]}
    assert answered["induction"] == RoleEffectResult.of(effects["induction"]).model_dump()
    assert answered["other"] is None


@pytest.mark.parametrize(
    "changes",
    [
        {"rise": float("nan")},
        {"rise": 9.0},
        {"interval": [1.0]},
        {"texts": 0},
        {"controls": [0.0] * 21},
        {"tokens": "some"},
        {"x": 1},
    ],
)
def test_an_effect_that_is_none_is_refused(changes):
    good = {"texts": 3, "heads": 2, "tokens": "all", "rise": 0.5, "interval": [0.4, 0.6], "controls": [0.1]}
    RoleEffect.model_validate(good)
    with pytest.raises(ValueError):  # noqa: PT011, pydantic's own
        RoleEffect.model_validate({**good, **changes})


def test_the_sentence_names_the_interval_and_the_controls():
    effect = RoleEffect(
        texts=10,
        heads=8,
        tokens="called",
        loss_increase=4.1,
        interval=[3.9, 4.3],
        controls=[0.1] * 19 + [0.4],
        control_text=-0.02,
    )
    assert describe_role_effect(effect) == (
        "On 10 probe texts, without its 8 heads, the mean loss of tokens that the role foretells changes by +4.10 nats "
        "(+3.90 to +4.30), without 20 sets of as many others, of the same layers where these have enough, by +0.10 to +0.40: "
        "matters. Where nothing repeats, they are worth −0.02."
    )
