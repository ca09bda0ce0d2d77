"""The HTML of two analyses side by side: every change in words, every head a button, and no text of a user ever markup."""

import html.parser
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headroles.core.readings.analysis import Analysis, RecordSource
from headroles.core.readings.comparison import DEPTH_BINS, compare_models, compare_prompts
from headroles.core.readings.verdicts import read_heads, read_roles
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.roles import ROLES, get_measured_role, measured_roles
from headroles.core.text.tokens import visible_text
from headroles.models.probes.probe_texts import ProbeSizes
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.scoring.sweep import analyze_model
from headroles.render.html import ASSETS
from headroles.render.page.compare_models import render_model_comparison
from headroles.render.page.compare_texts import render_prompt_comparison
from headroles.render.wording.states import CHANGE_MARKS, MARKS
from tests.conftest import PLAIN, REPEATING
from tests.core.readings.test_comparison import made_up, silenced

HOSTILE = "<img src=x onerror=alert(1)> ${alert(1)} {{7*7}} {0} \"'></li><script>alert(2)</script> &lt;b&gt;"
LONG = "organisation/" + "x" * 287
TAGS = {"div", "p", "section", "h3", "span", "small", "ol", "li", "bdi", "b", "button", "svg", "path", "polygon", "circle"} | {
    "rect", "line", "polyline", "g", "table", "caption", "thead", "tbody", "tr", "th", "td"
}  # fmt: skip
VOID = {"path", "polygon", "circle", "rect", "line", "polyline"}


class Page(html.parser.HTMLParser):
    """Elements as (tag, attributes), rows as texts of cells, and all text; fails on a tag that closes what is not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text, self._open = "", []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [found for name, found in self.elements if name == tag and attributes.items() <= found.items()]


@pytest.fixture(scope="module")
def plain(explorer) -> Analysis:
    return explorer.analyze(EMBEDDED_MODEL, PLAIN)


@pytest.fixture(scope="module")
def repeating(explorer) -> Analysis:
    return explorer.analyze(EMBEDDED_MODEL, REPEATING)


def test_every_change_of_a_role_is_said_in_words_and_by_a_mark(plain, repeating):
    page = Page(render_prompt_comparison(compare_prompts(plain, repeating)))
    rows = {row[0].strip(): row[1:] for row in page.rows[1:]}
    assert list(rows) == [role.display_name for role in measured_roles()]
    assert rows["Induction"][0].startswith(f"{MARKS['not applicable']} not applicable")
    assert re.match(rf"{MARKS['seen']} seen L\dH\d >?\d+%", rows["Induction"][1])
    assert rows["Induction"][2] == f"{CHANGE_MARKS['turns on']} turns on"
    assert rows["First Token"][2] == f"{MARKS['as usual']} as usual on both"
    back = Page(render_prompt_comparison(compare_prompts(repeating, plain)))
    assert {row[0].strip(): row[3] for row in back.rows[1:]}["Induction"] == f"{CHANGE_MARKS['turns off']} turns off"
    assert "Not applicable: the text gives the role no occasion" in page.text
    assert len(page.all("p", role="status")) == 1


def test_every_changed_head_can_be_opened_on_both_texts(plain, repeating):
    compared = compare_prompts(plain, repeating)
    page = Page(render_prompt_comparison(compared))
    opened = [
        (button["data-layer"], button["data-head"], button["data-role"], button["data-side"])
        for button in page.all("button", **{"class": "hr-open"})
    ]
    assert opened == [
        (str(change.a.head.layer), str(change.a.head.index), change.role.name, side) for change in compared.heads for side in "ab"
    ]
    assert len(opened) > 2
    assert all(button["type"] == "button" for button in page.all("button"))
    first = compared.heads[0]
    assert f"Open {first.a.head.label} on text B" in page.text
    assert f"▲ +{first.evidence * 100:.0f} points" in page.text


def test_nothing_changed_is_said_plainly(repeating):
    page = Page(render_prompt_comparison(compare_prompts(repeating, repeating)))
    assert "A and B are the same text, so nothing changes." in page.text
    assert "None: no head's evidence differs by 5 points or more." in page.text
    assert not page.all("button")


def test_a_role_without_expected_keys_shows_no_chance(plain, repeating):
    compared = compare_prompts(plain, repeating)
    drawn = render_prompt_comparison(compared)
    rows = re.findall(r"<li style=.*?</li>", drawn, re.S)
    assert {change.role.name for change in compared.heads} >= {"delimiter", "induction"}
    for change, row in zip(compared.heads, rows, strict=True):
        sides = ((compared.a, change.a), (compared.b, change.b))
        reach = sum(read.baseline is not None and text.role(change.role).applicable for text, read in sides)
        assert row.count("hr-chance") == (reach if get_measured_role(change.role).measure.beats_uniform else 0)


def test_a_census_has_a_row_a_model_and_a_cell_a_slice(repeating):
    b = replace(made_up(10, 3, 1, "another"), prompt=REPEATING)
    compared = compare_models(repeating, b)
    page = Page(render_model_comparison(compared))
    assert len(page.all("th", scope="col")) == 3 + DEPTH_BINS
    assert len(page.all("th", scope="rowgroup")) == len(ROLES)
    rows = [row for row in page.rows if row[0] in ("A", "B")]
    assert len(rows) == 2 * len(ROLES)
    for role, (row_a, row_b) in zip(compared.roles, zip(rows[::2], rows[1::2])):
        assert row_b[3:] == [str(count) for count in role.b.counts]
        assert [cell for cell in row_a[3:] if cell != "no layer"] == [str(role.a.counts[index]) for index in (1, 3, 5, 7)]
        assert row_a[3:].count("no layer") == 4
        assert row_a[1].startswith(f"{role.a.total} ")
        for row, reading in ((row_a, compared.a.role(role.role)), (row_b, compared.b.role(role.role))):
            assert row[2] == f"{MARKS[reading.state]} {reading.state}"
    assert "A dash: no layer of that model lies there." in page.text
    assert "models of different depth line up" in page.text


def test_the_strongest_head_of_each_role_can_be_opened_on_both_models(repeating):
    compared = compare_models(repeating, replace(made_up(10, 3, 1, "another"), prompt=REPEATING))
    page = Page(render_model_comparison(compared))
    opened = [
        (button["data-side"], button["data-role"], button["data-layer"], button["data-head"])
        for button in page.all("button", **{"class": "hr-open"})
    ]
    sides = [(role.role.name, side) for role in compared.roles for side in "ab"]
    strongest = [(side, name, getattr(compared, side).role(name).strongest) for name, side in sides]
    assert opened == [
        (side, name, str(head.head.layer), str(head.head.index)) for side, name, head in strongest if head is not None
    ]
    assert len(opened) >= 5


def test_two_deep_models_leave_no_gap():
    page = Page(render_model_comparison(compare_models(made_up(12, 2, 0, "a"), made_up(8, 2, 1, "b"))))
    assert "no layer" not in page.text


def test_a_model_analysed_here_stands_beside_the_embedded_one(repeating, random_model, one_thread):
    loaded = random_model("gpt_neox")
    reader = PatternReader(loaded)
    record = analyze_model(reader, ProbeSizes(repeated_sequences=2, repeat_length=8, sentences=2, calibration=0))
    attention = reader.read(loaded.encode(REPEATING))
    table = read_heads(attention, record)
    other = Analysis(
        *(loaded.name, REPEATING, attention.tokens, RecordSource("analysed here", record.analysis_date, record.revision)),
        *(record.num_layers, record.num_heads, read_roles(table, record), table),
    )
    page = Page(render_model_comparison(compare_models(repeating, other)))
    assert "random-gpt_neox" in page.text
    assert "3 layers × 4 heads" in page.text


@pytest.mark.parametrize("text", [HOSTILE, "\x00 \u202e abc", "😀 e\u0301", "日本語"])
def test_a_users_text_is_never_markup(text):
    tokens = (text, *text)
    a, b = made_up(3, 2, 0, text, text, tokens), made_up(3, 2, 1, text, "another", tokens)
    other = made_up(5, 2, 2, LONG, text, tokens)
    for drawn in (render_prompt_comparison(compare_prompts(a, b)), render_model_comparison(compare_models(a, other))):
        page = Page(drawn)
        assert {tag for tag, _ in page.elements} <= TAGS
        assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
        assert all(visible_text(token) in page.text for token in tokens)
    assert LONG in page.text


@given(st.tuples(st.integers(1, 48), st.integers(1, 4)), st.tuples(st.integers(1, 48), st.integers(1, 4)), st.integers(0, 999))
def test_any_two_analyses_can_be_drawn(shape: tuple[int, int], other: tuple[int, int], seed: int):
    a = made_up(*shape, seed)
    Page(render_prompt_comparison(compare_prompts(a, made_up(*shape, seed + 1))))
    Page(render_model_comparison(compare_models(a, made_up(*other, seed + 1, "n"))))


def test_a_model_without_heads_of_a_role_says_so(plain, repeating):
    none = tuple(map(silenced, repeating.roles))
    page = Page(render_prompt_comparison(compare_prompts(plain, replace(repeating, roles=none))))
    assert all(row[2] == f"{MARKS['not seen']} not seen no such head" for row in page.rows[1:])


def test_an_inactive_role_is_never_told_by_colour_alone():
    a, b = made_up(2, 2, 0, "a"), made_up(2, 2, 0, "b")
    a, b = (replace(side, roles=tuple(map(silenced, side.roles))) for side in (a, b))
    page = Page(render_model_comparison(compare_models(a, b)))
    states = [row[2] for row in page.rows if row[0] in ("A", "B")]
    assert states == [f"{MARKS['not seen']} not seen"] * (2 * len(measured_roles())) + [f"{MARKS['not a role']} not a role"] * 2


def test_every_class_of_the_sheet_is_drawn(plain, repeating):
    sheet = (ASSETS / "compare.css").read_text("utf-8")
    drawn = [
        render_prompt_comparison(compare_prompts(plain, repeating)),
        render_prompt_comparison(compare_prompts(plain, plain)),
        render_model_comparison(compare_models(made_up(4, 2, 0, "a"), made_up(4, 2, 0, "b"))),
    ]
    classes = {
        name for html in drawn for _, attributes in Page(html).elements for name in (attributes.get("class") or "").split()
    }
    assert set(re.findall(r"\.((?:hr|is|has)-[a-z-]+)", sheet)) <= classes
