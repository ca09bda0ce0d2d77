"""What can be pressed around the result: links and downloads carry the place, and nothing unescaped."""

from headroles.render.page.toolbar import render_download, render_tools
from tests.fixtures.outline import Outline


def test_the_links_and_downloads_carry_the_place_and_nothing_unescaped():
    outline = Outline(render_tools("model=a&prompt=%3Cb%3E", {"scores.csv": "Scores <CSV>"}))
    assert outline.find(data_query="model=a&prompt=%3Cb%3E")
    assert outline.find(class_="hr-back")[0]["href"] == "?model=a&prompt=%3Cb%3E"
    assert outline.find(data_download="scores.csv")
    assert "Scores <CSV>" in outline.text


def test_a_file_that_is_asked_for_again_is_another_one_for_the_script():
    first, second = (render_download("a.csv", "text/csv", b"1,2", number) for number in (1, 2))
    assert first != second
    assert Outline(first).find(download="a.csv")[0]["href"] == "data:text/csv;base64,MSwy"
