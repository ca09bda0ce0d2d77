"""What is said of an ablation, beside its control heads."""

from dataclasses import replace

import pytest

from headroles.core.heads import Head
from headroles.render.wording.causes import describe_gap, describe_losses, describe_next_token
from headroles.render.wording.phrases import precise_percent
from tests.core.outputs.test_ablation import made


@pytest.mark.parametrize(
    ("fall", "controls", "said"),
    [
        (2.0, [0.1] * 20, "so here they matter more than any of these."),
        (0.5, [0.1] * 19 + [0.6], "so here they matter no more than others."),
        (0.01, [0.0] * 20, "so here hardly anything depends on them."),
        (-0.5, [0.0] * 20, "and the model is surer without them."),
        (2.0, [0.1] * 3, "too few to say whether that is much."),
        (2.0, [], "The model has too few other heads to take out instead, so nothing says whether that is much."),
    ],
)
def test_a_verdict_is_told_with_what_it_is_held_against(fall, controls, said):
    told_ = describe_next_token(made(fall, controls))
    assert told_.startswith("Without these 2 heads, the model gives “·queen” ")
    assert said in told_
    assert ("Most is lost without L" in told_) == ("no more than others" in said)
    if controls:
        assert f"Without {len(controls)} sets of 2 other heads of the same layers it gives it" in told_


def test_one_head_is_told_by_its_name_and_tokens_that_got_harder_are_listed():
    ablation = made(1.0, [0.0] * 7, heads=(Head(2, 2),))
    assert describe_next_token(ablation) == (
        "Without L2H2, the model gives “·queen” 18.4% instead of 50.0%. Without any one of 7 other heads of the same layers it "
        "gives it 50.0% to 50.0%, so here it matters more than any of these."
    )
    assert ablation.loss_increases == {2: 1.0}
    assert "the mean loss changes by +1.00 nats" in describe_losses(ablation)


def test_sets_that_had_to_be_filled_from_other_layers_are_said_to_be():
    heads = tuple(Head(2, index) for index in range(5))
    assert "of the same layers, and of others where these have too few, it gives it" in describe_next_token(
        made(1.0, [0.0] * 20, heads)
    )


@pytest.mark.parametrize(
    ("direct", "total", "said"),
    [
        (2.0, 0.3, "others stepped in"),
        (2.0, 6.0, "later layers build on"),
        (-0.2, 1.0, "do not write this token"),
        (2.0, 1.9, ""),
        (0.01, 0.02, ""),
    ],
)
def test_the_gap_between_direct_and_total_effect_is_named(direct, total, said):
    gap = describe_gap(replace(made(1.0, [0.0] * 20), direct=direct, total=total))
    assert said in gap
    assert bool(said) == bool(gap)


@pytest.mark.parametrize(
    ("share", "said"), [(0.976, "97.6%"), (0.0004, "<0.1%"), (0.0, "0.0%"), (1.0, "100.0%"), (0.004, "0.4%")]
)
def test_chances_are_told_to_a_tenth_of_a_percent(share, said):
    assert precise_percent(share) == said
