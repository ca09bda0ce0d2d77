"""The atlas tab: its numbers are the atlas', on whatever number of models it stands it says so, and no name in it is markup."""

from xml.etree import ElementTree

import pytest

from headroles.core.readings.comparison import DEPTH_BINS
from headroles.core.roles.roles import get_measured_role
from headroles.core.surveys.atlas import Atlas, build_atlas, compute_spread, spreads_by_depth
from headroles.core.surveys.atlas_entries import make_entry
from headroles.hub.record_store import embedded_records
from headroles.render.api.schema_atlas import atlas_result
from headroles.render.files.exports import atlas_sheet_file
from headroles.render.surveys.atlas import MAX_SHOWN, render_atlas
from headroles.render.surveys.atlas_chart import BOTTOM, LEFT, RIGHT, TOP, atlas_charts, lines_of
from headroles.render.surveys.atlas_text import MAX_NAMED, tell_atlas, tell_families, tell_spread, tell_unusual
from tests.fixtures.known import known
from tests.fixtures.made_up import made_up, with_share
from tests.fixtures.outline import Outline

ROLE = get_measured_role("induction")


@pytest.fixture(scope="module")
def many() -> Atlas:
    return build_atlas([*map(make_entry, made_up()[:-1]), make_entry(with_share(made_up()[-1], ROLE.name, 0.5))])


@pytest.fixture(scope="module")
def shipped() -> Atlas:
    return build_atlas(map(make_entry, embedded_records()))


def test_of_two_models_nothing_is_said_but_what_these_two_have(shipped):
    said = Outline(render_atlas(shipped)).text
    assert said.startswith("2 models of 2 families (gpt_neox, llama): which share of their heads plays which role. So few do not")
    assert "What every family has can be said from 3 families on; here are 2." in said
    assert "Which models are unlike the others can be said from 12 models on; here are 2." in said
    assert "In families" not in said
    low, high = compute_spread(ROLE, shipped.entries).values
    assert tell_spread(compute_spread(ROLE, shipped.entries)) == f"{low:.0%} to {high:.0%}"
    assert all(column.low is None for chart in atlas_charts(shipped) for column in chart.columns)
    assert [len(chart.lines) for chart in atlas_charts(shipped)] == [2] * len(shipped.roles)
    assert list(lines_of(shipped)) == [entry.model for entry in shipped.entries]


def test_of_many_models_it_says_what_is_usual_what_every_family_has_and_which_model_is_far(many):
    assert (
        tell_atlas(many) == "20 models of 4 families (gpt2, gpt_neox, llama, opt): which share of their heads plays which role."
    )
    assert "Copy Suppression" not in tell_families(many)
    assert tell_families(many).startswith("Found in some model of every one of the 4 families: Previous Token, Induction,")
    usual = known(compute_spread(ROLE, many.entries).median)
    assert f"Induction (usual {usual:.0%}): made-up/opt-19 50%" in tell_unusual(many)
    rows = Outline(render_atlas(many)).text
    assert "none seen in opt" in rows
    assert lines_of(many) == {}


def test_every_mark_and_bar_stands_at_its_share(many, shipped):
    for atlas in (many, shipped):
        for chart in atlas_charts(atlas):
            spreads = spreads_by_depth(chart.role, atlas.entries)
            for column, found in zip(chart.columns, spreads, strict=True):
                assert LEFT < column.x < RIGHT
                shares = [found.median] if found.median is not None else sorted(set(found.values), reverse=True)
                marks = [((BOTTOM - y) / (BOTTOM - TOP)) ** 2 for y in column.marks]
                assert marks == pytest.approx(shares, abs=0.002)
                assert (column.low is None) == (found.median is None)
            assert len(chart.told.split(": ", 2)[2].split(", ")) == DEPTH_BINS
    first = atlas_charts(many)[0]
    assert [column.x for column in first.columns] == sorted(column.x for column in first.columns)
    assert len(first.lines) == DEPTH_BINS - 1


def test_every_picture_is_told_in_words_and_tables_can_be_reached_by_keyboard(many):
    outline = Outline(render_atlas(many))
    assert [picture["aria-label"] for picture in outline.find(role="img")] == [chart.told for chart in atlas_charts(many)]
    assert [part["aria-label"] for part in outline.find(role="region", tabindex="0")] == [
        *("Roles", "Families", "Sizes, in parameters", "Models")
    ]


def test_it_stays_small_whatever_many_models_there_are(many):
    entries = [many.entries[0].model_copy(update={"model": f"m{number:04}", "family": f"f{number}"}) for number in range(1000)]
    drawn = render_atlas(build_atlas(entries))
    assert f"{1000 - MAX_SHOWN} more are in the CSV." in drawn
    assert f"and {1000 - MAX_NAMED} more" in tell_atlas(build_atlas(entries))
    assert len(render_atlas(many)) < 60_000


def test_the_result_for_programs_is_the_atlas(many, shipped):
    result = atlas_result(many).model_dump()
    role = next(role for role in result["roles"] if role["key"] == ROLE.name)
    values = compute_spread(ROLE, many.entries).values
    assert role["share"] == {"models": 20, "median": (values[9] + values[10]) / 2, "low": values[0], "high": values[-1]}
    assert role["unusual"] == [{"model": "made-up/opt-19", "share": 0.5}]
    assert role["in_every_family"] is True
    assert list(role["by_family"]) == ["gpt2", "gpt_neox", "llama", "opt"]
    assert len(role["by_depth"]) == DEPTH_BINS
    assert [model["model"] for model in result["models"]] == [entry.model for entry in many.entries]
    few = next(role for role in atlas_result(shipped).model_dump()["roles"] if role["key"] == ROLE.name)
    assert (few["share"]["median"], few["in_every_family"], few["unusual"]) == (None, None, None)


ATTACK = '"><script>alert(1)</script>$x^2$'


def test_no_name_is_markup_on_the_page_or_in_the_sheet(shipped):
    def named(text: str) -> Atlas:
        entries = tuple(entry.model_copy(update={"model": text, "family": text}) for entry in shipped.entries)
        return Atlas(entries, dataset=text, note=text)

    plain, hostile = (Outline(render_atlas(named(text))) for text in ("word", ATTACK))
    assert hostile.tags == plain.tags
    assert len(hostile.elements) == len(plain.elements)
    assert ATTACK in hostile.text
    root = ElementTree.fromstring(atlas_sheet_file(named(ATTACK), "svg").content)
    assert not {element.tag.rpartition("}")[2] for element in root.iter()} & {"script", "a", "foreignObject"}


def test_any_number_of_models_has_a_sheet(many, shipped):
    """Dear to draw: each kind once."""
    assert atlas_sheet_file(many, "pdf").content.startswith(b"%PDF-")
    assert len(atlas_sheet_file(Atlas(many.entries[:1]), "png").content) > 10_000
    assert "2 models of 2 families (gpt_neox, llama)" in atlas_sheet_file(shipped, "svg").content.decode()
