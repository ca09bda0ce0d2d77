"""What visitors download: true to the analysis, harmless wherever it is opened, and the same each time."""

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import cast
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from headroles.core.heads import Head
from headroles.core.readings.analysis import Analysis, HeadView
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.roles import ROLES, measured_roles
from headroles.errors import InvalidInputError
from headroles.render.api.schema import analysis_result
from headroles.render.files import exports
from headroles.render.files.exports import (
    COLUMNS,
    DOWNLOADS,
    FORMULA_STARTS,
    MAX_NAME_CHARACTERS,
    POLICY,
    analysis_json,
    heatmap_file,
    map_file,
    scores_csv,
    standalone_page,
)
from headroles.render.html import STYLES
from headroles.render.wording.head_sentences import describe_head_view
from tests.conftest import REPEATING

HOSTILE = "</title></style></script><img src=x onerror=alert(1)> ]]> -- $x^2$ & \x00 \ud800 中"


@pytest.fixture(scope="module")
def analysis(explorer) -> Analysis:
    return explorer.analyze(EMBEDDED_MODEL, REPEATING)


@pytest.fixture(scope="module")
def view(explorer) -> HeadView:
    return explorer.view_head(EMBEDDED_MODEL, REPEATING, Head(2, 2), ROLES["induction"])


def table(analysis: Analysis) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(scores_csv(analysis).content.decode(), newline="")))


def test_the_table_has_one_row_a_head_and_measured_role_with_what_the_analysis_says(analysis):
    rows = table(analysis)
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == analysis.num_layers * analysis.num_heads * len(measured_roles())
    for row in rows:
        head, role = Head(int(row["layer"]), int(row["head"])), ROLES[row["role"]]
        reading = analysis.heads.reading(role, head)
        said = tuple(float(row[name]) if row[name] else None for name in ("score", "activation", "chance"))
        assert said == (reading.score, reading.activation, reading.chance)
        assert row["is_active"] == str(reading.is_active).lower()
        assert row["primary_role"] == analysis.heads.primary_role(head).name
        assert row["model"] == analysis.model
    assert len({(row["layer"], row["head"], row["role"]) for row in rows}) == len(rows)


def test_the_tables_lines_end_as_rfc_4180_says(analysis):
    content = scores_csv(analysis).content
    assert content.count(b"\n") == content.count(b"\r\n") == len(table(analysis)) + 1


FORMULAS = (
    "=1+1",
    "+1",
    "-1",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\n=1",
    '=HYPERLINK("http://x","a,b")\n',
    "＝1+1",
    "＋1",
    "－1",
    "＠A1",
    "'=1",
)


@pytest.mark.parametrize("name", FORMULAS)
def test_no_model_name_is_a_spreadsheets_formula(analysis, name):
    assert {row["model"] for row in table(replace(analysis, model=name))} == {f"'{name}"}


@pytest.mark.parametrize("name", [*FORMULAS, "org/model", "", "a=1", "it's", "''", '"=1', "a;=1+1", "a\ud800"])
def test_taking_a_leading_apostrophe_off_gives_the_name_back(analysis, name):
    found = {row["model"].removeprefix("'") for row in table(replace(analysis, model=name))}
    assert found == {name.replace("\ud800", "?")}  # a lone surrogate has no UTF-8 form


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["a;=1+1", 'a";=1+1', "a\t=1+1", "a,=1+1", "a\r\n=1+1", 'a"\r\n"=1+1'])
def test_no_cell_is_a_formula_whatever_a_spreadsheet_splits_lines_at(analysis, name, delimiter):
    text = scores_csv(replace(analysis, model=name)).content.decode()
    cells = [cell for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) for cell in row]
    assert len(cells) > 100
    assert not [cell for cell in cells if cell.startswith(FORMULA_STARTS) and not re.fullmatch(r"-[\d.e-]+", cell)]


def test_numbers_stay_numbers_in_the_table(analysis):
    assert not re.search(r"(^|,)\"?'", scores_csv(analysis).content.decode(), re.M)  # no cell begins with one
    lines = scores_csv(analysis).content.decode().splitlines()
    beginning = r'"headroles-tiny",0,0,"\w+","\w+",[\d.e-]+,[\d.e-]+,[\d.e-]+,"(true|false)"'
    assert re.fullmatch(beginning + r',"",[\d.e-]+,"(true|false)","L0H0 [^"]+\."', lines[1])  # always on: no excess
    assert re.fullmatch(beginning + r',-?[\d.e-]+,"","false","L0H0 [^"]+\."', lines[2])  # induction, which a text triggers
    row = next(iter(analysis.rows()))
    rows = [{**row, "score": -0.3, "activation": -0.3, "chance": None}]
    negative = SimpleNamespace(model="m", heads=analysis.heads, has_sink=analysis.has_sink, rows=lambda: rows)
    assert scores_csv(cast(Analysis, negative)).content.decode().splitlines()[1].split(",")[5:8] == ["-0.3", "-0.3", '""']


def test_the_json_is_what_the_api_answers(analysis):
    told = replace(analysis, prompt="中文 😀")
    content = analysis_json(told).content.decode()
    assert json.loads(content) == analysis_result(told).model_dump()
    assert "中文 😀" in content


def test_a_lone_surrogate_survives_in_json(analysis):
    assert json.loads(analysis_json(replace(analysis, prompt="a\ud800b")).content)["prompt"] == "a\ud800b"


def test_pictures_are_of_the_kind_they_say_and_described(analysis, view):
    for file in (heatmap_file(view, "png"), map_file(analysis, "png", view.head)):
        assert file.media_type == "image/png"
        assert Image.open(io.BytesIO(file.content)).format == "PNG"
    for file, told in ((heatmap_file(view, "svg"), describe_head_view(view)), (map_file(analysis, "svg"), "layers down")):
        assert file.media_type == "image/svg+xml"
        title, description = ElementTree.fromstring(file.content)[:2]
        assert view.model in (title.text or "")
        assert told in (description.text or "")


def test_file_names_say_model_and_head(analysis, view):
    named = replace(view, model="org/model")
    assert heatmap_file(named, "png").name == "headroles-org__model-L2H2-induction.png"
    assert heatmap_file(named, "svg").name == "headroles-org__model-L2H2-induction.svg"
    assert map_file(analysis, "png").name == "headroles-headroles-tiny-map.png"
    assert scores_csv(analysis).name == "headroles-headroles-tiny-scores.csv"
    assert analysis_json(analysis).name == "headroles-headroles-tiny-analysis.json"


@given(st.text())
def test_any_title_gives_a_file_name_that_every_system_takes(title):
    name = standalone_page(title, "").name
    assert re.fullmatch(r"headroles-[A-Za-z0-9._-]*page\.html", name)
    assert len(name) <= MAX_NAME_CHARACTERS + 30


@pytest.mark.parametrize("kind", ["gif", "", "PNG", None, "x" * 1000])
def test_an_unknown_kind_is_refused_with_the_kinds_there_are(analysis, view, kind):
    for save in (heatmap_file, map_file):
        with pytest.raises(InvalidInputError, match=r"no picture of kind .{0,60}; the kinds are png, svg, pdf\.$"):
            save(view if save is heatmap_file else analysis, kind)


def test_a_map_of_a_head_outside_the_model_is_refused(analysis):
    with pytest.raises(InvalidInputError, match="L99H0"):
        map_file(analysis, "png", Head(99, 0))


def test_hostile_names_and_prompts_stay_text_in_every_picture(analysis, view):
    hostile = replace(analysis, model="m" + HOSTILE, prompt=HOSTILE)
    for file in (map_file(hostile, "svg"), heatmap_file(replace(view, model=HOSTILE), "svg")):
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(file.content).iter()}
        assert not tags & {"script", "img", "a", "foreignObject", "metadata"}
        assert "onerror" in file.content.decode()
    assert map_file(hostile, "png").content.startswith(b"\x89PNG")


class Reader(HTMLParser):
    """Which tags a page has, with their attributes, and the text of each kind of tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self._open = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data):
        self.text[self._open] = self.text.get(self._open, "") + data


def page(title: str = "m: text", body: str = "<div data-part='x'>hello</div>", date: str = "2026-02-16") -> str:
    return standalone_page(title, body, date).content.decode()


def test_a_page_refers_to_nothing_outside_itself():
    html = page()
    assert not re.search(r"https?:|@import|url\(|(?:src|href)=", re.sub(r'"http://www\.w3\.org/[^"]*"', "", html))
    assert [tag for tag, _ in Reader(html).tags if tag in ("link", "iframe", "img", "base", "object")] == []


def test_a_page_says_what_it_is_and_allows_itself_nothing_more():
    read = Reader(page())
    assert ("html", {"lang": "en"}) in read.tags
    assert ("meta", {"http-equiv": "Content-Security-Policy", "content": POLICY}) in read.tags
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in read.tags
    assert read.text["title"].strip() == "m: text"
    assert "Made with headroles, from a record of 2026-02-16." in read.text["p"]
    assert "Made with headroles." in page(date="")


def test_a_hostile_title_stays_text():
    read = Reader(page(HOSTILE))
    assert "img" not in [tag for tag, _ in read.tags]
    assert read.text["title"].strip().startswith("</title></style></script><img src=x")


def test_no_asset_can_end_its_own_tag(tmp_path, monkeypatch):
    for name in ("saved.css", "a.css"):
        (tmp_path / name).write_text("a::after { content: '</style><b>'; } /* </STYLE > */", "utf-8")
    for name in ("saved.js", "panel.js"):
        (tmp_path / name).write_text("const a = '</script><i>', b = '<!-- <script>', c = `</SCRIPT >`;", "utf-8")
    monkeypatch.setattr(exports, "ASSETS", tmp_path)
    monkeypatch.setattr(exports, "STYLES", (tmp_path / "a.css",))
    html = page()
    tags = [tag for tag, _ in Reader(html).tags]
    assert (tags.count("style"), tags.count("script")) == (1, 2)
    assert not {"b", "i"} & set(tags)
    assert r"'\x3c/script><i>', b = '\x3c!-- \x3cscript>'" in html
    assert r"content: '<\/style><b>'" in html


def test_every_variable_of_the_style_sheets_has_a_value_in_light_and_dark():
    sheets = "\n".join(path.read_text("utf-8") for path in STYLES)
    # with a fallback a variable may be missing; those of the page's own elements stand in their style attributes
    used = set(re.findall(r"var\((--[\w-]+)\)", sheets))
    own = set(re.findall(r"(--[\w-]+)\s*:", sheets))
    source = "\n".join(path.read_text("utf-8") for path in (exports.ASSETS / "templates").glob("*.html"))
    inline = set(re.findall(r"(--[\w-]+):\{", source))
    light, dark = (exports.ASSETS / "saved.css").read_text("utf-8").split(".dark {")
    assert used
    scripted = set(re.findall(r"setProperty\('(--[\w-]+)'", (exports.ASSETS / "panel.js").read_text("utf-8")))
    for name in used - own - inline - scripted:
        assert f"{name}:" in light
        assert name.startswith("--font") or f"{name}:" in dark


def test_the_script_runs_for_every_part_with_no_one_to_answer_it():
    read = Reader(page())
    assert "(function (element, trigger) {" in read.text["script"]
    assert "prefers-color-scheme: dark" in read.text["script"]


def test_downloads_are_named_as_their_files_end():
    sheets = [f"{name}.{kind}" for name in ("sheet", "model") for kind in ("pdf", "png", "svg")]
    atlas = ["atlas.pdf", "atlas.png", "atlas.svg", "atlas.csv"]
    pictures = ["heatmap.png", "heatmap.svg", "map.png", "map.svg", *sheets]
    assert list(DOWNLOADS) == [*pictures, "scores.csv", "analysis.json", "training.csv", "training.json", *atlas, "page.html"]
    assert len(set(DOWNLOADS.values())) == len(DOWNLOADS)
