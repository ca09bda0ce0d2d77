"""What is said of a ablation: where its effect lies among control sets, and how those are drawn."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headroles.core.heads import Head
from headroles.core.outputs.ablation import (
    CONTROLS,
    LEAST_EFFECT,
    Ablation,
    AblationEffect,
    are_of_same_layers,
    classify_effect,
    draw_control_sets,
)
from headroles.core.outputs.next_tokens import NextToken

EVERY = [Head(layer, index) for layer in range(4) for index in range(8)]
HEADS = st.lists(st.sampled_from(EVERY), min_size=1, max_size=32, unique=True)


def made(fall: float, controls: list[float], heads: tuple[Head, ...] = (Head(2, 2), Head(3, 1))) -> Ablation:
    drawn = draw_control_sets(heads, [head for head in EVERY if head not in heads], len(controls)) if controls else []
    word = NextToken(5, " queen", 0.5, 0.5 * 2.718281828**-fall)
    return Ablation(
        model="m", prompt="p", tokens=("a", "b", "c"), heads=heads, role="induction", method="zero", seed=0, query=2,
        top_token=word, before=(word,), after=(word,), losses_before=(1.0, 2.0), losses_after=(1.0, 2.0 + fall),
        scored_positions=(2,), effect=AblationEffect(fall, fall), cumulative=(AblationEffect(fall, fall),),
        control_sets=tuple(drawn),
        controls=tuple(AblationEffect(each, each) for each in controls), control_text=None, direct=fall, total=fall,
    )  # fmt: skip


@given(HEADS, HEADS, st.integers(0, 5))
def test_control_sets_hold_as_many_other_heads_all_different_and_none_that_is_spared(heads, spared, seed):
    others = [head for head in EVERY if head not in {*heads, *spared}]
    found = draw_control_sets(heads, others, seed=seed)
    assert len(set(found)) == len(found) <= CONTROLS
    assert found == draw_control_sets(heads, others, seed=seed)
    wanted, free = Counter(head.layer for head in heads), Counter(head.layer for head in others)
    for control in found:
        assert len(set(control)) == len(heads)
        assert not {*control} & {*heads, *spared}
        if all(free[layer] >= number for layer, number in wanted.items()):
            assert are_of_same_layers(heads, control)
        drawn = Counter(head.layer for head in control)
        assert all(drawn[layer] >= min(number, free[layer]) for layer, number in wanted.items())
    assert bool(found) == (len(others) >= len(heads))


def test_what_a_layer_lacks_is_drawn_from_layers_that_do_not_feed_these_heads_where_there_are_enough():
    heads = [Head(2, index) for index in range(6)]
    sets = draw_control_sets(heads, [head for head in EVERY if head not in heads])
    assert len(sets) == CONTROLS
    assert all(head.layer >= 2 for control in sets for head in control)
    last = [Head(3, index) for index in range(6)]
    assert {
        head.layer for control in draw_control_sets(last, [head for head in EVERY if head not in last]) for head in control
    } > {3}


@given(HEADS)
def test_all_sets_there_are_are_found_where_they_are_few(heads):
    others = [Head(heads[0].layer, index) for index in range(8) if Head(heads[0].layer, index) != heads[0]]
    found = draw_control_sets(heads[:1], others)
    assert sorted(found) == sorted((head,) for head in others)


@given(st.floats(-5, 5), st.lists(st.floats(-5, 5), max_size=20))
def test_heads_matter_only_by_more_than_every_control_set_and_by_enough_to_be_seen(effect, controls):
    verdict = classify_effect(effect, controls)
    assert (verdict == "matters") == (len(controls) >= 5 and effect >= LEAST_EFFECT and effect > max(controls))
    if effect < LEAST_EFFECT:
        assert verdict in ("hardly anything", "surer without")


@pytest.mark.parametrize(
    ("direct", "total", "gap"),
    [
        (2.0, 0.3, "less lost"),
        (2.0, 6.0, "more lost"),
        (-0.2, 1.0, "indirect"),
        (2.0, 1.9, None),
        (0.01, 0.02, None),
    ],
)
def test_the_gap_between_direct_and_total_effect_has_a_state(direct, total, gap):
    assert replace(made(1.0, [0.0] * 20), direct=direct, total=total).gap == gap
