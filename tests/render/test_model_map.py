"""The map: a button for every head, named, in the shape of its role and filled by what it does here."""

import dataclasses
import re

import pytest

from headroles.core.head_readings import HeadTable
from headroles.core.heads import Head
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles import OTHER, RESTING_ROLE, ROLES, measured_roles
from headroles.render.model_map import render_map
from tests.conftest import REPEATING
from tests.fixtures.known import known
from tests.fixtures.outline import Outline


@pytest.fixture(scope="module")
def analysis(explorer):
    return explorer.analyze(EMBEDDED_MODEL, REPEATING)


def test_every_head_is_a_named_button_with_its_role_and_filling(analysis):
    outline = Outline(render_map(analysis))
    cells = outline.find(role="gridcell")
    assert [(int(cell["data-layer"]), int(cell["data-head"])) for cell in cells] == [
        (head.layer, head.index) for head in analysis.heads.heads()
    ]
    for head, cell in zip(analysis.heads.heads(), cells):
        role = analysis.heads.primary_role(head)
        assert cell["data-role"] == role.name
        assert cell["aria-label"].startswith(f"{head.label}: {role.display_name}")
        filling = float(known(re.search(r"--here:([\d.]+)", cell["style"]))[1])
        reading = analysis.heads.main_reading(head)
        assert (reading is None) == (role == OTHER)
        evidence = 1 if reading is None else max(reading.excess, 0) if reading.is_triggered else reading.activation
        assert filling == pytest.approx(evidence, abs=0.005)
        assert ("is-resting" in cell["class"]) == (role == RESTING_ROLE and not known(reading).is_unusual)


def test_the_legend_filters_by_role_and_counts_all_heads(analysis):
    drawn = render_map(analysis)
    assert [button["data-filter"] for _, button in Outline(drawn).elements if "data-filter" in button] == list(ROLES)
    assert sum(int(count) for count in re.findall(r"<small>(\d+) heads?", drawn)) == analysis.num_layers * analysis.num_heads


def test_every_role_has_a_shape_of_its_own_that_the_cells_refer_to(analysis):
    drawn = render_map(analysis)
    assert len({role.shape for role in ROLES.values()}) == len(ROLES)
    assert set(re.findall(r'href="#(hr-\w+)"', drawn)) <= set(re.findall(r'<symbol id="(hr-\w+)"', drawn))


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
    outline = Outline(drawn)
    assert len(outline.find(role="gridcell")) == layers * heads
    assert ("hr-map-wide" in drawn) is (heads > 16)
    assert f"{Head(layers - 1, heads - 1).label}:" in drawn
    assert len(drawn) < 400 * layers * heads + 8_000
