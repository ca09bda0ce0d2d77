"""From a place to the page's parts: only what changed is drawn anew, and every download comes."""

from dataclasses import replace

import pytest

from headroles.core.heads import Head
from headroles.core.roles import ROLES
from headroles.errors import InvalidInputError
from headroles.render.exports import DOWNLOADS
from headroles.server.drawing import download, draw_twin, visit
from headroles.server.place import Place
from tests.fixtures.known import known


def test_a_first_visit_draws_all_and_opens_a_head_that_is_active(explorer):
    here, parts = visit(explorer, Place())
    analysis = explorer.analyze(here.model, here.prompt)
    assert {"text", "map", "panel", "view", "twin", "by_prompt", "by_model"} == set(parts)
    assert next(reading for reading in analysis.role(known(here.role).name).heads if reading.head == here.head).is_active


def test_another_head_draws_its_page_alone_and_another_tab_nothing(explorer):
    here, _ = visit(explorer, Place())
    _, parts = visit(explorer, replace(here, head=Head(0, 1), role=None), here)
    assert set(parts) == {"view", "twin"}
    assert set(visit(explorer, replace(here, tab="learn"), here)[1]) == set()


def test_another_text_keeps_the_head_and_draws_the_comparison_anew(explorer):
    here, _ = visit(explorer, Place(other_prompt="Once upon a time"))
    there, parts = visit(explorer, replace(here, prompt="one two one two"), here)
    assert there.head == here.head
    assert "From A to B" in parts["by_prompt"]


def test_a_role_that_is_asked_for_opens_its_strongest_head(explorer):
    here, _ = visit(explorer, Place(role=ROLES["duplicate_token"]))
    assert (here.head, known(here.role).name) == (Head(1, 2), "duplicate_token")


def test_the_twin_is_empty_for_a_role_without_a_suggested_text(explorer):
    assert draw_twin(explorer, Place(head=Head(2, 7), role=ROLES["other"])) == ""
    assert ROLES["induction"].display_name in draw_twin(explorer, Place(head=Head(2, 2)))


@pytest.mark.parametrize("name", DOWNLOADS)
def test_every_download_comes_with_a_name_of_its_kind(explorer, name):
    made = download(explorer, Place(prompt="one two one two"), name)
    assert made.name.endswith(name.split(".")[1])
    assert made.content


def test_an_unknown_download_is_refused_with_those_there_are(explorer):
    with pytest.raises(InvalidInputError, match=r"There is no download 'x'; there are heatmap.png"):
        download(explorer, Place(), "x")
