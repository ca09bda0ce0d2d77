"""The map: every head, named, in the shape of its role and filled by what it does here."""

import dataclasses
import re

import pytest

from headroles.core.heads import Head
from headroles.core.readings.head_readings import HeadTable
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.roles import OTHER, RESTING_ROLE, ROLES, measured_roles
from headroles.render.page.model_map import render_map
from headroles.render.wording.bars import figures, score_figures
from tests.conftest import REPEATING
from tests.fixtures.known import known
from tests.fixtures.map_cells import cells_of
from tests.fixtures.outline import Outline


@pytest.fixture(scope="module")
def analysis(explorer):
    return explorer.analyze(EMBEDDED_MODEL, REPEATING)


def test_every_head_is_named_with_its_role_its_numbers_and_filling(analysis):
    cells = cells_of(render_map(analysis))
    assert [(cell.layer, cell.head) for cell in cells] == [(head.layer, head.index) for head in analysis.heads.heads()]
    for head, cell in zip(analysis.heads.heads(), cells):
        role, reading = analysis.heads.primary_role(head), analysis.heads.main_reading(head)
        assert cell.role == role.name
        assert (reading is None) == (role == OTHER)
        told = role.display_name
        if reading is not None:
            told += f" (score {score_figures(reading)}), here {figures(reading)}, {reading.state}"
        assert cell.told == f"{head.label}: {told}"
        evidence = 1 if reading is None else max(reading.excess, 0) if reading.is_triggered else reading.activation
        assert cell.filling == pytest.approx(evidence, abs=0.005)
        assert cell.rests == (role == RESTING_ROLE and not known(reading).is_unusual)
        seen = any(analysis.heads.reading(name, head).is_active for name in ("induction", "duplicate_token"))
        unusual = any(analysis.heads.reading(other, head).is_unusual for other in measured_roles())
        assert cell.state == ("seen" if seen else "unusual" if unusual else "")


def test_deep_models_can_be_looked_at_by_groups_of_layers(analysis):
    assert "hr-layers" not in render_map(analysis)
    deep = dataclasses.replace(analysis, num_layers=30)
    assert re.findall(r'<option value="([^"]*)"', render_map(deep)) == ["", "0-11", "12-23", "24-29"]


def test_the_legend_filters_by_role_and_counts_all_heads(analysis):
    drawn = render_map(analysis)
    assert [button["data-filter"] for _, button in Outline(drawn).elements if "data-filter" in button] == list(ROLES)
    assert sum(int(count) for count in re.findall(r"<small>(\d+) heads?", drawn)) == analysis.num_layers * analysis.num_heads


def test_every_role_has_a_shape_of_its_own_that_the_cells_refer_to(analysis):
    drawn = render_map(analysis)
    assert len({role.shape for role in ROLES.values()}) == len(ROLES)
    assert {f"hr-{cell.role}" for cell in cells_of(drawn)} <= set(re.findall(r'<symbol id="(hr-\w+)"', drawn))


@pytest.mark.parametrize(("layers", "heads"), [(2, 2), (12, 12), (48, 64)])
def test_it_holds_from_the_smallest_to_the_largest_model(analysis, layers, heads):
    cells = tuple((0.5,) * heads for _ in range(layers))
    names = [role.name for role in measured_roles()]
    chance: tuple[float, ...] = (0.1,) * layers
    table = HeadTable(
        scores=dict.fromkeys(names, cells),
        activations=dict.fromkeys(names, cells),
        chances=dict.fromkeys(names, chance),
        active=dict.fromkeys(names, tuple((True,) * heads for _ in range(layers))),
        applicable=dict.fromkeys(names, True),
        primary=tuple(tuple(measured_roles()[(layer + head) % 5] for head in range(heads)) for layer in range(layers)),
    )
    drawn = render_map(dataclasses.replace(analysis, num_layers=layers, num_heads=heads, heads=table))
    cells = cells_of(drawn)
    assert len(cells) == layers * heads
    assert ("hr-map-wide" in drawn) is (heads > 16)
    assert cells[-1].told.startswith(f"{Head(layers - 1, heads - 1).label}:")
    assert len(drawn) < 60_000
