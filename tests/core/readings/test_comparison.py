"""Two analyses side by side: what turns on and off, what changed most, and how many heads lie at which depth."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headroles.core.heads import Head
from headroles.core.readings.analysis import Analysis, RecordSource
from headroles.core.readings.comparison import (
    DEPTH_BINS,
    MAX_CHANGES,
    MIN_CHANGE,
    compare_models,
    compare_prompts,
    depth_slice,
    heads_by_depth,
)
from headroles.core.readings.head_readings import HeadTable, RoleReading
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.roles import OTHER, RESTING_ROLE, ROLES, MeasuredRole, measured_roles
from headroles.errors import InvalidInputError
from headroles.render.wording.comparisons import describe_model_comparison, describe_prompt_comparison
from tests.conftest import PLAIN, REPEATING

Table = tuple[tuple[float, ...], ...]
shapes = st.tuples(st.integers(2, 48), st.integers(1, 6))
seeds = st.integers(0, 10_000)


def made_up(
    layers: int, heads: int, seed: int, model: str = "m", prompt: str = "p", tokens: tuple[str, ...] = ("p",)
) -> Analysis:
    """An analysis with random numbers in every field; no model behind it."""
    draw = random.Random(seed)

    def cells() -> Table:
        return tuple(tuple(draw.random() for _ in range(heads)) for _ in range(layers))

    applicable = {role.name: draw.random() < 0.8 for role in measured_roles()}
    activations = {role.name: cells() if applicable[role.name] else ((0.0,) * heads,) * layers for role in measured_roles()}
    table = HeadTable(
        scores={role.name: cells() for role in measured_roles()},
        activations=activations,
        chances={role.name: tuple(draw.random() for _ in range(layers)) for role in measured_roles()},
        active={name: tuple(tuple(cell > 0.7 for cell in row) for row in rows) for name, rows in activations.items()},
        applicable=applicable,
        primary=tuple(tuple(draw.choice(list(ROLES.values())) for _ in range(heads)) for _ in range(layers)),
    )
    return Analysis(model, prompt, tokens, RecordSource("embedded", "2026-01-01", "r"), layers, heads, read(table), table)


def read(table: HeadTable) -> tuple[RoleReading, ...]:
    """The readings of a table, its heads of score 0.9 and more taken for the top ones."""
    return (
        *(_read_role(role, table) for role in measured_roles()),
        RoleReading(OTHER, "not a role", (), applicable=True),
    )


def silenced(reading: RoleReading) -> RoleReading:
    """The reading of a role that the text could show and no head of the model plays."""
    return replace(reading, heads=(), applicable=True, state="not a role" if reading.role == OTHER else "not seen")


def _read_role(role: MeasuredRole, table: HeadTable) -> RoleReading:
    readings = [table.reading(role, head) for head in table.heads()]
    top = tuple(reading for reading in readings if reading.score is not None and reading.score >= 0.9)
    applicable = table.applicable[role.name]
    silent = "not seen" if applicable else "not applicable"
    return RoleReading(role, "seen" if any(reading.is_active for reading in top) else silent, top, applicable)


def shown(analysis: Analysis, role: str, activations: Table) -> Analysis:
    """The analysis with other activations in one role, in which heads are seen from 0.7 on; no record says what is usual."""
    table = replace(
        analysis.heads,
        activations={**analysis.heads.activations, role: activations},
        active={**analysis.heads.active, role: tuple(tuple(cell > 0.7 for cell in row) for row in activations)},
        applicable={**analysis.heads.applicable, role: True},
    )
    return replace(analysis, prompt="another", heads=table, roles=read(table))


@pytest.mark.parametrize("layers", range(2, 49))
def test_a_layer_lies_in_the_slice_of_its_middle(layers):
    slices = [depth_slice(layer, layers) for layer in range(layers)]
    assert slices == [math.floor((layer + 0.5) / layers * DEPTH_BINS) for layer in range(layers)]
    assert slices == sorted(slices)
    assert [DEPTH_BINS - 1 - index for index in reversed(slices)] == slices or layers % DEPTH_BINS
    assert len(set(slices)) == min(layers, DEPTH_BINS)
    sizes = [slices.count(index) for index in range(DEPTH_BINS)]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("layers", "slices"), [(2, [2, 6]), (4, [1, 3, 5, 7]), (8, list(range(8)))])
def test_known_depths(layers, slices):
    assert [depth_slice(layer, layers) for layer in range(layers)] == slices
    assert [depth_slice(layer, 16) for layer in (0, 1, 14, 15)] == [0, 0, 7, 7]


@given(shapes, shapes, seeds)
def test_a_census_counts_every_head_once(shape_a: tuple[int, int], shape_b: tuple[int, int], seed: int):
    a, b = made_up(*shape_a, seed, "m"), made_up(*shape_b, seed + 1, "n")
    compared = compare_models(a, b)
    assert [census.role for census in compared.roles] == list(ROLES.values())
    for side, analysis in (("a", a), ("b", b)):
        censuses = [getattr(census, side) for census in compared.roles]
        assert sum(census.total for census in censuses) == analysis.num_layers * analysis.num_heads
        assert sum(census.share for census in censuses) == pytest.approx(1)
        assert tuple(map(sum, zip(*(census.counts for census in censuses)))) == heads_by_depth(analysis)
        assert all(len(census.counts) == DEPTH_BINS for census in censuses)
        for census in censuses:
            assert census.total == sum(row.count(census.role) for row in analysis.heads.primary)
    mirrored = compare_models(b, a)
    assert [(c.a, c.b, c.active_a, c.active_b) for c in mirrored.roles] == [
        (c.b, c.a, c.active_b, c.active_a) for c in compared.roles
    ]


@given(shapes, seeds)
def test_swapping_the_texts_mirrors_every_change(shape: tuple[int, int], seed: int):
    a, b = made_up(*shape, seed), made_up(*shape, seed + 1)
    there, back = compare_prompts(a, b), compare_prompts(b, a)
    mirror = {"turns on": "turns off", "turns off": "turns on", "stays on": "stays on", "stays off": "stays off"}
    assert [role.change for role in back.roles] == [mirror[role.change] for role in there.roles]
    assert [(head.role, head.a, head.b, -head.difference, -head.evidence) for head in back.heads] == [
        (head.role, head.b, head.a, head.difference, head.evidence) for head in there.heads
    ]


@given(shapes, seeds)
def test_the_heads_listed_are_those_that_changed_most(shape: tuple[int, int], seed: int):
    a, b = made_up(*shape, seed), made_up(*shape, seed + 1)
    listed = compare_prompts(a, b).heads
    largest = {
        head: max(
            abs(b.heads.reading(role, head).value - a.heads.reading(role, head).value)
            for role in measured_roles()
            if role != RESTING_ROLE  # more or less on a sink is no evidence of anything
        )
        for head in a.heads.heads()
    }
    expected = sorted((change for change in largest.values() if change >= MIN_CHANGE), reverse=True)[:MAX_CHANGES]
    assert [abs(change.evidence) for change in listed] == expected
    assert len({change.a.head for change in listed}) == len(listed)
    for change in listed:
        assert abs(change.evidence) == largest[change.a.head]
        assert change.a == a.heads.reading(change.role, change.a.head)
        assert change.b == b.heads.reading(change.role, change.a.head)


@given(shapes, seeds)
def test_a_text_beside_itself_changes_nothing(shape: tuple[int, int], seed: int):
    same = made_up(*shape, seed)
    compared = compare_prompts(same, same)
    assert not compared.heads
    assert {role.change for role in compared.roles} <= {"stays on", "stays off"}
    assert describe_prompt_comparison(compared) == "A and B are the same text, so nothing changes."


def test_a_small_change_is_not_listed_and_said_to_be_none():
    a = shown(made_up(1, 2, 0), "induction", ((0.5, 0.5),))
    b = replace(shown(a, "induction", ((0.5, 0.54),)), prompt="a third")
    compared = compare_prompts(a, b)
    assert not compared.heads
    assert describe_prompt_comparison(compared).endswith("No head's evidence changes by 5 points or more.")
    listed = compare_prompts(a, shown(a, "induction", ((0.5, 0.56),))).heads
    assert [(change.a.head, change.role.name) for change in listed] == [(Head(0, 1), "induction")]


def test_a_repeat_turns_the_repetition_roles_on_in_the_embedded_model(explorer):
    plain, repeat = explorer.analyze(EMBEDDED_MODEL, PLAIN), explorer.analyze(EMBEDDED_MODEL, REPEATING)
    compared = compare_prompts(plain, repeat)
    changes = {role.role.name: role.change for role in compared.roles}
    assert list(changes) == [role.name for role in measured_roles()]
    assert changes["induction"] == "turns on"
    assert changes["duplicate_token"] == "stays off"  # “king” looks at “king” with 74%, but at 26% whatever comes
    assert changes["previous_token"] == "stays on"
    said = describe_prompt_comparison(compared)
    assert said.startswith("From A to B, Induction turns on")
    assert f"{compared.heads[0].a.head.label} changes most: {compared.heads[0].role.display_name}, " in said


def test_the_sentence_names_what_turns_off_and_what_stays():
    off = made_up(2, 2, 0)
    for role in measured_roles():
        off = shown(off, role.name, ((0.0, 0.0),) * 2)
    scored = replace(off.heads, scores={role.name: ((1.0, 1.0),) * 2 for role in measured_roles()})
    off = replace(off, heads=scored, roles=read(scored))
    one = replace(shown(off, "induction", ((0.9, 0.0), (0.0, 0.0))), prompt="one")
    two = replace(shown(one, "diffuse", ((0.0, 0.0), (0.8, 0.0))), prompt="two")

    def says(a: Analysis, b: Analysis) -> str:
        return describe_prompt_comparison(compare_prompts(a, b))

    assert says(off, one) == "From A to B, Induction turns on. L0H0 changes most: Induction, 0% in A and 90% in B."
    assert says(two, off) == ("From A to B, Induction and Diffuse turn off. L0H0 changes most: Induction, 90% in A and 0% in B.")
    assert says(one, two) == (
        "From A to B, Diffuse turns on; Induction stays on. L1H0 changes most: Diffuse, 0% in A and 80% in B."
    )
    assert says(off, replace(off, prompt="more")).startswith("From A to B, no role turns on or off; none is seen on either text.")


def test_a_model_comparison_says_how_many_heads_are_named_and_what_is_active_where(explorer):
    tiny = explorer.analyze(EMBEDDED_MODEL, REPEATING)
    silent = replace(tiny, model="other", roles=tuple(map(silenced, tiny.roles)))
    compared = compare_models(tiny, silent)
    said = describe_model_comparison(compared)
    total = tiny.num_layers * tiny.num_heads
    named = total - next(role.a.total for role in compared.roles if role.role.name == "other")
    assert said.startswith(f"{named} of A's {total} heads (")
    assert said.endswith("On this text Induction is seen in A alone.")  # what is always on is seen in none
    nowhere = compare_models(replace(silent, model="another"), silent)
    assert describe_model_comparison(nowhere).endswith("On this text no role that a text calls for is seen in either.")


@pytest.mark.parametrize(
    "other",
    [
        made_up(2, 3, 0, model="n"),
        made_up(3, 2, 0),
        replace(made_up(2, 3, 0), source=RecordSource("embedded", "2026-01-01", "another revision")),
    ],
)
def test_two_texts_need_the_same_model(other):
    with pytest.raises(InvalidInputError, match="run both texts on the same model"):
        compare_prompts(made_up(2, 3, 0), other)


def test_two_models_need_the_same_text_and_must_differ():
    a = made_up(2, 3, 0)
    with pytest.raises(InvalidInputError, match="run both on one text"):
        compare_models(a, made_up(2, 3, 0, model="n", prompt="another"))
    with pytest.raises(InvalidInputError, match="A and B are both m; choose two different models"):
        compare_models(a, made_up(3, 3, 1))
