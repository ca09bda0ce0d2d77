"""The cards: what is active is filled, what is grey says why."""

import dataclasses
import html
import re

from headroles.core.heads import Head
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles import ROLES
from headroles.render.bars import figures
from headroles.render.cards import render_panel
from headroles.render.wording import MARKS
from tests.conftest import REPEATING
from tests.fixtures.known import known


def card(panel: str, role: str) -> str:
    return known(re.search(rf'<section class="[^"]*" data-role="{role}".*?</section>', panel, re.S)).group()


def test_a_card_is_filled_on_a_repeat_and_grey_with_a_reason_and_an_offer_without(explorer):
    active = card(render_panel(explorer.analyze(EMBEDDED_MODEL, REPEATING)), "induction")
    grey = card(render_panel(explorer.analyze(EMBEDDED_MODEL, "She opened a door and saw my small garden.")), "induction")
    assert "is-active" in active
    assert f"{MARKS['seen']} seen" in active
    assert "data-try" not in active
    assert "is-grey" in grey
    assert f"{MARKS['not applicable']} not applicable" in grey
    assert "Not visible here: no token of your text comes back" in grey
    assert 'data-try="induction"' in grey


def test_every_role_has_a_card_and_every_top_head_a_button_with_its_numbers(explorer, record):
    analysis = explorer.analyze(EMBEDDED_MODEL, REPEATING)
    panel = render_panel(analysis)
    for role in ROLES.values():
        shown = card(panel, role.name)
        assert shown.count('class="hr-head"') == len(record.top_heads(role))
        for reading in analysis.role(role.name).heads:
            assert f'data-layer="{reading.head.layer}" data-head="{reading.head.index}"' in shown
            assert f">{html.escape(figures(reading))}</span>" in shown
    assert "is-neutral" in card(panel, "other")
    assert "What do the words and marks mean?" in panel


def test_a_head_that_the_literature_names_says_so_in_its_card(explorer):
    """The embedded model's own readings, shown under the name of a model that something is published of."""
    head = Head(5, 5)
    analysis = explorer.analyze(EMBEDDED_MODEL, REPEATING)
    induction = analysis.role("induction")
    readings = dataclasses.replace(induction, heads=(dataclasses.replace(induction.heads[0], head=head), *induction.heads[1:]))
    roles = tuple(readings if reading.role.name == "induction" else reading for reading in analysis.roles)
    known = "known from Wang et al. 2022 (IOI) and ARENA: induction head"
    as_gpt2 = render_panel(dataclasses.replace(analysis, model="gpt2", roles=roles))
    assert as_gpt2.count(known) == card(as_gpt2, "induction").count(known) == 1
    assert "hr-known" not in render_panel(dataclasses.replace(analysis, roles=roles))
