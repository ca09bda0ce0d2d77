"""From a place to the page's parts: only what changed is drawn anew, and every download comes."""

import json
import re
from dataclasses import replace

import pytest

from headroles.core.heads import Head
from headroles.core.registry import EMBEDDED_MODEL, MODELS
from headroles.core.roles.roles import ROLES
from headroles.errors import InvalidInputError
from headroles.explorer import Explorer
from headroles.render.files.exports import DOWNLOADS
from headroles.server.page.page_data import PageData
from headroles.server.page.page_state import AblationTarget, PageState
from headroles.server.page.parts import FILES, PARTS, changed_parts, download, draw_later, first_visit, visit
from headroles.settings import Settings
from tests.fixtures.known import known


def test_a_first_visit_draws_all_and_opens_a_head_that_is_active(explorer):
    data, parts = visit(explorer, PageState())
    here = data.state
    analysis = explorer.analyze(here.model, here.prompt)
    assert (
        list(parts)
        == list(PARTS)
        == [*("text", "next", "panel", "causes", "map", "view", "twin", "edits", "lessons_here", "by_prompt", "by_model")]
    )
    assert next(reading for reading in analysis.role(known(here.role).name).heads if reading.head == here.head).is_active


def test_another_head_draws_its_page_alone_and_another_tab_nothing(explorer):
    data, _ = visit(explorer, PageState())
    here = data.state
    _, parts = visit(explorer, replace(here, head=Head(0, 1), role=None), here)
    assert set(parts) == {"view", "twin"}
    assert set(visit(explorer, replace(here, tab="learn"), here)[1]) == set()


def test_another_text_keeps_the_head_and_draws_the_comparison_anew(explorer):
    data, _ = visit(explorer, PageState(other_prompt="Once upon a time"))
    here = data.state
    data, parts = visit(explorer, replace(here, prompt="one two one two"), here)
    there = data.state
    assert there.head == here.head
    assert "From A to B" in parts["by_prompt"]


def test_a_role_that_is_asked_for_opens_its_strongest_head(explorer):
    data, _ = visit(explorer, PageState(role=ROLES["duplicate_token"]))
    here = data.state
    assert (here.head, known(here.role).name) == (Head(1, 2), "duplicate_token")


def test_the_twin_is_empty_for_a_role_without_a_suggested_text(explorer):
    assert draw_later(explorer, PageData(PageState(head=Head(2, 7), role=ROLES["other"])), {"twin"}) == {"twin": ""}
    assert ROLES["induction"].display_name in draw_later(explorer, PageData(PageState(head=Head(2, 2))))["twin"]


def test_a_change_of_the_text_is_offered_later_and_only_where_a_role_is_not_seen(explorer):
    seen = PageState(prompt="I know that you know that it is late", head=Head(2, 2))
    assert draw_later(explorer, PageData(seen), {"edits", "text"}) == {"edits": ""}
    plain = PageState(prompt="She opened a door and saw my small garden.", head=Head(2, 2))
    assert "data-prompt=" in draw_later(explorer, PageData(plain), {"edits"})["edits"]


@pytest.mark.parametrize("name", DOWNLOADS)
def test_every_download_comes_with_a_name_of_its_kind(explorer, name):
    made = download(explorer, PageState(prompt="one two one two"), name)
    assert made.name.endswith(name.split(".")[1])
    assert made.content


def test_an_unknown_download_is_refused_with_those_there_are(explorer):
    with pytest.raises(InvalidInputError, match=r"There is no download 'x'; there are heatmap.png"):
        download(explorer, PageState(), "x")


def test_the_page_starts_with_every_part_of_its_first_place_and_the_twin_too(explorer):
    here, parts = first_visit(explorer)
    assert here == visit(explorer, PageState())[0].state
    assert all(parts[name] for name in PARTS if not name.startswith("by_") and name not in ("edits", "causes"))
    assert parts == {**visit(explorer, PageState())[1], **draw_later(explorer, PageData(here))}


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"prompt": "one two"}, set(PARTS) - {"lessons_here"}),
        ({"model": "gpt2"}, set(PARTS)),
        ({"head": Head(0, 1)}, {"view", "twin"}),
        ({"role": ROLES["diffuse"]}, {"view", "twin"}),
        ({"other_prompt": "one two"}, {"by_prompt"}),
        ({"other_model": "gpt2"}, {"by_model"}),
        ({"tab": "learn"}, set()),
    ],
    ids=lambda value: "-".join(sorted(value)),
)
def test_a_part_is_drawn_anew_when_what_it_follows_changed_and_only_then(change, names):
    here = PageState(head=Head(1, 1))
    assert {part.name for part in changed_parts(replace(here, **change), here)} == names
    assert {part.name for part in changed_parts(here, None)} == set(PARTS)


def test_asking_for_the_role_of_the_head_that_is_open_draws_nothing_anew(explorer):
    data, _ = visit(explorer, PageState(role=ROLES["duplicate_token"]))
    here = data.state
    data, parts = visit(explorer, replace(here, head=None), here)
    there = data.state
    assert (there, dict(parts)) == (here, {})


@pytest.fixture
def two_models(monkeypatch) -> Explorer:
    """The embedded model, also under the name `twin`."""
    own = Explorer(Settings())
    twin = replace(MODELS[EMBEDDED_MODEL], name="twin")
    monkeypatch.setattr("headroles.explorer.get_model_info", lambda name: twin if name == "twin" else MODELS[name])
    record, source = own._store.find(own._use(EMBEDDED_MODEL, lambda reader: reader.loaded.identity))
    monkeypatch.setattr(own._store, "find", lambda _: (record, source))
    return own


def test_whatever_the_page_asks_each_text_is_measured_once_on_each_model(two_models, measured):
    """The first visit, both comparisons, heads, the way back, and every download."""
    place = PageState(prompt="one two one two", other_prompt="Once upon a time", other_model="twin")
    data, parts = visit(two_models, place)
    here = data.state
    assert parts["by_prompt"]
    assert parts["by_model"]
    draw_later(two_models, data, {"twin"})
    for name in DOWNLOADS:
        download(two_models, here, name)
    data, _ = visit(two_models, replace(here, head=Head(0, 1), role=None), here)
    there = data.state
    data, _ = visit(two_models, replace(there, prompt=there.other_prompt, other_prompt=there.prompt), there)
    swapped = data.state
    visit(two_models, here, swapped)
    assert sorted(model for model, _ in measured) == [EMBEDDED_MODEL] * 3 + ["twin"] * 2
    assert len(set(measured)) == len(measured)  # two texts on both models, and the suggested one that the head's twin shows


def test_the_saved_page_holds_the_parts_in_the_order_of_the_table_and_those_that_have_something_to_say(explorer):
    page = download(explorer, PageState(prompt="one two one two", other_prompt="Once upon a time"), "page.html").content.decode()
    names = re.findall(r'<div data-part="(\w+)">', page)
    assert names == ["text", "next", "panel", "map", "view", "by_prompt"]
    assert f"from a record of {explorer.categories(EMBEDDED_MODEL).analysis_date}." in page


def test_every_download_that_the_page_offers_is_made_by_somebody():
    assert list(FILES) == list(DOWNLOADS)


def test_heads_that_are_taken_out_are_drawn_saved_and_written_into_the_file(explorer):
    place = PageState(out=AblationTarget(ROLES["induction"]), method="mean")  # type: ignore[arg-type]
    data, parts = visit(explorer, place)
    here = data.state
    assert parts["causes"] == ""
    drawn = draw_later(explorer, PageData(here), {"causes"})["causes"]
    for said in ("Looks", "Writes", "Matters", "Without these", "its mean", 'aria-pressed="true">its mean', "20 sets of"):
        assert said in drawn
    assert drawn in download(explorer, place, "page.html").content.decode()
    result = json.loads(download(explorer, place, "analysis.json").content)
    assert (result["effects"]["role"], result["ablation"]["method"]) == ("induction", "mean")
    assert "ablation" not in json.loads(download(explorer, PageState(), "analysis.json").content)


def test_a_set_without_a_role_says_that_nothing_was_asked_of_where_it_looks(explorer):
    drawn = draw_later(explorer, PageData(PageState(out=AblationTarget(heads=(Head(0, 1), Head(3, 2))))), {"causes"})["causes"]
    assert "not asked: they stand for no role" in drawn
    assert "without the role" not in drawn  # there is none to be taken out of their patterns
    assert "L0H1, L3H2" in drawn


def test_only_what_is_taken_out_changes_with_it():
    place = PageState(head=Head(2, 2))
    assert [part.name for part in changed_parts(replace(place, out=AblationTarget(heads=(Head(2, 2),))), place)] == ["causes"]


@pytest.mark.parametrize("text", ["<b>bold</b> & <b>bold</b> &", "a\u202eb a\u202eb", "\ud800 x \ud800 x"])
def test_hostile_texts_are_text_in_what_is_said_of_causes(text, explorer):
    drawn = draw_later(explorer, PageData(PageState(prompt=text, out=AblationTarget(heads=(Head(2, 2),)))), {"causes"})["causes"]
    assert "<b>bold" not in drawn
    assert "\u202e" not in drawn
