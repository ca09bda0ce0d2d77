"""Where a score lies: on a role's card, on a head's page and for programs; and as before where a record does not tell."""

import html
import re

import pytest

from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_files import record_file_name, write_record
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.scoring import pattern_roles
from headroles.explorer import Explorer
from headroles.hub.record_store import load_head_categories
from headroles.render.api.schema import categories_result
from headroles.render.page.cards import render_panel
from headroles.render.page.head_page import render_head
from headroles.render.page.model_map import render_map
from headroles.settings import Settings
from tests.conftest import REPEATING
from tests.core.records.test_head_categories import without_intervals
from tests.fixtures.known import known
from tests.fixtures.map_cells import cells_of


@pytest.fixture(scope="module")
def older(tmp_path_factory) -> Explorer:
    """The embedded model with its record as it was before scores had intervals."""
    home, records = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("records")
    record = without_intervals(load_head_categories(EMBEDDED_MODEL, Settings(home=home)))
    write_record(record, records / record_file_name(EMBEDDED_MODEL))
    return Explorer(Settings(home=home, records=records))


def told(record: HeadCategories, role: str) -> str:
    """The score of a role's best head, and between what it lies."""
    head = record.top_heads(role)[0]
    low, high = known(record.interval(role, head))
    return f"{record.score(role, head):.2f} ({low:.2f} to {high:.2f})"


def test_a_card_tells_a_screen_reader_between_what_each_score_lies(explorer, record):
    panel = html.unescape(render_panel(explorer.analyze(EMBEDDED_MODEL, REPEATING)))
    roles = [role for role in pattern_roles() if record.top_heads(role)]
    for role in roles:
        assert f"; {told(record, role.name)} on the probe texts" in panel
    heads = sum(len(record.top_heads(role)) for role in roles)
    assert panel.count(" on the probe texts") == heads == panel.count(") on the probe texts")


def test_a_heads_page_tells_it_beside_the_score_of_each_role_that_the_head_stands_for(explorer, record):
    head = record.top_heads("induction")[0]
    drawn = render_head(explorer.view_head(EMBEDDED_MODEL, REPEATING, head))
    assert f"<td>{told(record, 'induction')}</td>" in drawn
    assert f"<td>{record.score('diffuse', head):.2f}</td>" in drawn  # no diffuse head, and so without one
    assert "its 95% interval over such texts" in re.sub("<[^>]*>", "", drawn)


def test_the_map_keeps_to_the_score_alone(explorer, record):
    head = record.top_heads("induction")[0]
    (cell,) = [
        cell
        for cell in cells_of(render_map(explorer.analyze(EMBEDDED_MODEL, REPEATING)))
        if (cell.layer, cell.head) == (head.layer, head.index)
    ]
    assert f"(score {record.score('induction', head):.2f})" in cell.told


def test_programs_get_low_and_high_of_every_top_head(record):
    roles = {role["key"]: role for role in categories_result(record).model_dump()["roles"]}
    for role in record.scored_roles:
        for head, found in zip(record.top_heads(role), roles[role.name]["top_heads"], strict=True):
            assert found["interval"] == list(known(record.interval(role, head)))
    assert categories_result(record).model_dump()["api_version"] == "2"


def test_a_record_without_intervals_is_shown_as_it_was(older):
    record = older.categories(EMBEDDED_MODEL)
    head = record.top_heads("induction")[0]
    score = f"{record.score('induction', head):.2f}"
    analysis = older.analyze(EMBEDDED_MODEL, REPEATING)
    assert analysis.source.kind == "local"
    assert f"; {score} on the probe texts" in html.unescape(render_panel(analysis))
    assert f"<td>{score}</td>" in render_head(older.view_head(EMBEDDED_MODEL, REPEATING, head))
    found = [top for role in categories_result(record).model_dump()["roles"] for top in role["top_heads"]]
    assert found
    assert all(top["interval"] is None for top in found)
