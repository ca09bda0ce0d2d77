"""The cards: what is active is filled, what is grey says why."""

import dataclasses
import html
import re

from markupsafe import escape

from headroles.core.heads import Head
from headroles.core.readings.analysis import RecordSource
from headroles.core.readings.analyze import analyze_attention
from headroles.core.records.record_builder import with_prompts
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.roles import ROLES
from headroles.render.page.cards import render_panel
from headroles.render.wording.bars import figures
from headroles.render.wording.states import MARKS
from tests.conftest import PLAIN, REPEATING
from tests.fixtures.known import known

SOURCE = RecordSource("embedded", "2026-01-01", "r")


def card(panel: str, role: str) -> str:
    return known(re.search(rf'<section class="[^"]*" data-role="{role}".*?</section>', panel, re.S)).group()


def test_a_card_is_filled_on_a_repeat_and_grey_with_a_reason_and_an_offer_without(explorer):
    active = card(render_panel(explorer.analyze(EMBEDDED_MODEL, REPEATING)), "induction")
    grey = card(render_panel(explorer.analyze(EMBEDDED_MODEL, "She opened a door and saw my small garden.")), "induction")
    assert "is-active" in active
    assert f"{MARKS['seen']} <span>seen</span>" in active
    assert "data-try" not in active
    assert "is-grey" in grey
    assert f"{MARKS['not applicable']} <span>not applicable</span>" in grey
    assert "Not visible here: no token of your text comes back" in grey
    assert 'data-try="induction"' in grey


def silent(reader_of, record, suggested: str, prompt: str = PLAIN) -> str:
    attention = reader_of._use(EMBEDDED_MODEL, lambda reader: reader.read(reader.loaded.encode(prompt)))
    analysis = analyze_attention(prompt, attention, with_prompts(record, {"induction": suggested}), SOURCE)
    return card(render_panel(analysis), "induction")


def test_a_card_offers_what_the_record_suggests_as_text_and_never_what_stands_there(explorer, record):
    hostile = "<img src=x onerror=alert(1)> ${alert(1)} \"'"
    shown = silent(explorer, record, hostile)
    assert f'data-try="induction" data-prompt="{escape(hostile)}"' in shown
    assert "<img" not in shown
    assert "data-try" not in silent(explorer, record, PLAIN)
    assert "None of the texts" not in silent(explorer, record, hostile) + silent(explorer, record, PLAIN)


def test_a_card_says_where_none_of_the_texts_shows_the_role_and_offers_none(explorer, record):
    shown = silent(explorer, record, "")
    assert "None of the texts that are made to show it does so on this model." in shown
    assert "data-try" not in shown


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
    head = Head(3, 0)
    analysis = explorer.analyze(EMBEDDED_MODEL, REPEATING)
    duplicate = analysis.role("duplicate_token")
    readings = dataclasses.replace(duplicate, heads=(dataclasses.replace(duplicate.heads[0], head=head), *duplicate.heads[1:]))
    roles = tuple(readings if reading.role.name == "duplicate_token" else reading for reading in analysis.roles)
    known = "known from Wang et al. 2022 (IOI): duplicate token head"
    as_gpt2 = render_panel(dataclasses.replace(analysis, model="gpt2", roles=roles))
    assert as_gpt2.count(known) == card(as_gpt2, "duplicate_token").count(known) == 1
    assert "hr-known" not in render_panel(dataclasses.replace(analysis, roles=roles))
