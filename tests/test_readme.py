"""What the documents promise: examples print what stands below them, commands exist, links lead somewhere, facts are true."""

import html
import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, fields
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml
from gradio_client import Client

from analysis.__main__ import main, parse_analyze, parse_validate
from analysis.readme import PAGES as WITH_MODELS
from analysis.readme import with_models
from headroles.core.bounds import MAX_BATCH_PROMPTS, MAX_PROMPT_TOKENS
from headroles.core.records import MAX_TOP_HEADS, HeadCategories
from headroles.core.registry import ARCHITECTURES, EMBEDDED_MODEL, MODELS
from headroles.core.roles import ROLES, get_role
from headroles.explorer import Explorer
from headroles.models.probes import ProbeSizes
from headroles.server.api_help import ENDPOINTS, EXAMPLE_URL, EXAMPLES, example_text
from headroles.server.place import TABS, Place
from headroles.settings import Settings
from tests.fixtures.api_server import serve_api

ROOT = Path(__file__).parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")))
}
README = PAGES["README.md"]
PYPROJECT = (ROOT / "pyproject.toml").read_text("utf-8")
EXTRAS = set(re.findall(r"^(\w+) = \{ file = ", PYPROJECT, re.M))
COMMANDS = set(re.findall(r'^([\w-]+) = "\w[\w.]*:main"$', PYPROJECT, re.M))


@dataclass(frozen=True)
class Example:
    """A block of a page, and what the block of `text` right below it says that it prints, `...` standing for anything."""

    page: str
    language: str
    code: str
    output: str

    def __str__(self) -> str:
        return f"{self.page}: {self.code.splitlines()[0][:40]}"


BLOCK = re.compile(r"^```(\w*)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.S | re.M)
BLOCKS = [Example(page, *(part or "" for part in found)) for page, text in PAGES.items() for found in BLOCK.findall(text)]
PROGRAMS = [block for block in BLOCKS if block.language in ("python", "js", "sh")]
LINES = [(block.page, line) for block in BLOCKS if block.language == "bash" for line in block.code.splitlines()]
LINKS = [(page, target) for page, text in PAGES.items() for target in re.findall(r"\]\(([^)]+)\)", text)]


def prints(stated: str, printed: str) -> bool:
    """Whether a program printed what its page states, to the letter but for `...`."""
    return OutputChecker().check_output(stated, printed.rstrip() + "\n", ELLIPSIS)


@pytest.fixture(scope="module")
def url(explorer: Explorer) -> Iterator[str]:
    with serve_api(explorer) as address:
        yield address


def run(program: str, *arguments: str) -> str:
    """What a program prints. Where it is not installed the test is skipped, but not in CI."""
    if shutil.which(program) is None:
        if os.environ.get("CI"):
            pytest.fail(f"In CI the examples must run, and there is no {program} here.")
        pytest.skip(f"no {program} on this machine")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True, timeout=120).stdout


def carry_out(language: str, code: str) -> str:
    if language == "js":
        return run("node", "--input-type=module", "--eval", code)
    if language == "sh":
        run("curl", "--version")
        return run("bash", "-euc", code)
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(code, "example", "exec"), {})
    return printed.getvalue()


@pytest.mark.parametrize("example", PROGRAMS, ids=str)
def test_a_program_prints_what_its_page_states(example, request):
    code = example.code
    if EXAMPLE_URL in code:
        code = code.replace(EXAMPLE_URL, request.getfixturevalue("url"))
    printed = carry_out(example.language, code)
    assert prints(example.output, printed), printed


def test_every_program_states_its_output_and_no_output_is_without_a_program():
    assert {block.language for block in BLOCKS} == {"python", "js", "sh", "bash", "html"}
    assert all(block.output.strip("\n. ") for block in PROGRAMS)
    assert {block.page for block in PROGRAMS} >= {"README.md", "docs/package.md", "docs/programmers.md"}


def test_a_digit_or_a_line_more_is_not_what_a_page_states():
    assert prints("a 0.9\n", "a 0.9\n")
    assert prints("a 0.9 ...\n", "a 0.9 and more\n")
    for printed in ("a 0.95\n", "a 10.9\n", "a 0.9\nb\n", "b\na 0.9\n", "a 0.8\n", ""):
        assert not prints("a 0.9\n", printed)


def test_the_page_of_the_server_shows_the_examples_of_the_documents():
    examples = {block.code for block in BLOCKS if block.page == "docs/programmers.md"}
    assert {example_text(file) for file in EXAMPLES.values()} < examples


def test_the_javascript_example_says_why_a_call_was_refused(url):
    script = example_text("javascript.js").replace(EXAMPLE_URL, url).partition('call("analyze"')[0]
    printed = carry_out("js", script + 'call("analyze", "gpt5", "x").catch((e) => console.log(e.message));')
    assert printed.startswith("There is no model 'gpt5' here")


@pytest.mark.slow
@pytest.mark.parametrize("example", [block for block in BLOCKS if block.language == "bash" and block.output], ids=str)
def test_a_command_prints_what_its_page_states(example, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    for line in example.code.splitlines():
        words = shlex.split(line, comments=True)
        assert words[:3] == ["python", "-m", "analysis"]
        assert main(words[3:]) == 0
    assert prints(example.output, printed := capsys.readouterr().out), printed


@pytest.mark.parametrize(("page", "line"), LINES)
def test_every_command_exists_and_takes_these_arguments(page, line):
    words = shlex.split(line, comments=True)
    while "&&" in words:
        check_command(words[: words.index("&&")])
        words = words[words.index("&&") + 1 :]
    check_command(words)


def check_command(words: list[str]) -> None:
    while re.match(r"[A-Z_]+=", words[0]):
        assert words[0].partition("=")[0] in PAGES["docs/maintainers.md"]
        words = words[1:]
    program, arguments = Path(words[0]).name, words[1:]
    if program == "make":
        subprocess.run(["make", "-n", *arguments], cwd=ROOT, check=True, capture_output=True)
    elif program == "pip":
        check_install(arguments)
    elif program in ("python", "python3"):
        check_python(arguments)
    elif program == "headroles-analysis":
        check_analysis(arguments)
    elif program == "headroles":
        assert (program, arguments) == ("headroles", [])
        assert program in COMMANDS
    else:
        assert words[0] in ("export", ".")


def check_install(arguments: list[str]) -> None:
    assert arguments.pop(0) == "install"
    while arguments:
        word = arguments.pop(0)
        if word == "-r":
            assert (ROOT / arguments.pop(0)).is_file()
        else:
            asked = re.fullmatch(r"(?:\.|headroles)(?:\[(\w+)\])?", word)
            assert asked is not None
            assert asked[1] is None or asked[1] in EXTRAS


def check_python(arguments: list[str]) -> None:
    if arguments[0] != "-m":
        assert (ROOT / arguments[0]).is_file()
    elif arguments[1] == "analysis":
        check_analysis(arguments[2:])
    else:
        module = importlib.util.find_spec(arguments[1])
        assert module is not None
        assert module.origin is not None
        source = Path(module.origin).read_text("utf-8")
        assert all(f'"{word}"' in source for word in arguments[2:] if word.startswith("--") and arguments[1] != "venv")


def check_analysis(arguments: list[str]) -> None:
    """What argparse does not know ends the process, and so the test."""
    if arguments == ["--help"]:
        with pytest.raises(SystemExit, match="0"):
            parse_analyze(arguments)
    elif arguments[0] == "validate":
        parse_validate(arguments[1:])
    else:
        parse_analyze(arguments)


@pytest.mark.parametrize(("page", "target"), LINKS)
def test_links_lead_somewhere(page, target):
    if target.startswith("https://"):
        return
    path, _, anchor = target.partition("#")
    found = (ROOT / page).parent / path if path else ROOT / page
    assert found.exists()
    if anchor:
        headings = re.findall(r"^#+ (.*)$", found.read_text("utf-8"), re.M)
        assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_reached_from_the_readme_and_every_picture_is_shown():
    read_on = {page for page in PAGES if page.startswith("docs/")} - {"docs/README.md", "docs/package.md"}
    assert read_on < {target for page, target in LINKS if page == "README.md"}
    listed = {f"docs/{target}" for page, target in LINKS if page == "docs/README.md"} | {"docs/README.md"}
    assert listed == {page for page in PAGES if page.startswith("docs/")}
    shown = {Path(target).name for _, target in LINKS if target.endswith(".png")}
    assert shown == {path.name for path in (ROOT / "docs").glob("*.png")}


def test_the_front_matter_is_what_a_space_needs():
    matter = yaml.safe_load(README.split("---")[1])
    assert matter["sdk"] == "gradio"
    assert (ROOT / matter["app_file"]).is_file()
    assert matter["license"] == "apache-2.0"
    assert len(matter["short_description"]) <= 60
    assert str(matter["python_version"]) in ("3.10", "3.11", "3.12")
    assert re.fullmatch(r"\d+\.\d+\.\d+", str(matter["sdk_version"]))
    assert matter["models"] == [info.source for info in MODELS.values() if info.name != EMBEDDED_MODEL]
    assert all(entry.split()[0] in matter["models"] for entry in matter["preload_from_hub"])


def test_the_readme_is_for_whoever_arrives():
    assert len(README.splitlines()) <= 120
    order = ("![", "\nmake demo", "\nmake test", "\npip install", "```python", "## Where to read on")
    assert sorted(map(README.index, order)) == list(map(README.index, order))


def test_the_page_of_the_package_index_stands_alone():
    assert re.search(r'^readme = "docs/package.md"$', PYPROJECT, re.M)
    page = PAGES["docs/package.md"]
    assert page.startswith("# headroles\n")
    assert not [target for where, target in LINKS if where == "docs/package.md"]
    assert set(re.findall(r"^\| `headroles\[(\w+)\]`", page, re.M)) == EXTRAS


@pytest.mark.parametrize("page", WITH_MODELS)
def test_what_a_page_says_of_models_is_the_registrys(page):
    assert with_models(PAGES[page]) == PAGES[page], "run `python -m analysis.readme`"


def test_the_page_of_models_names_every_model_and_architecture():
    assert all(f"| {name} |" in PAGES["docs/models.md"] for name in MODELS)
    assert f"Architectures: {', '.join(ARCHITECTURES)}." in PAGES["docs/models.md"]


def test_visitors_are_told_of_every_role():
    assert all(f"| {role.display_name} |" in PAGES["docs/visitors.md"] for role in ROLES.values())


def test_the_endpoints_take_and_give_what_programmers_are_told(url):
    rows = dict(re.findall(r"^\| `/(\w+)` \| ?(.*?) ?\| `\{", PAGES["docs/programmers.md"], re.M))
    assert rows.keys() == {name for name, _, _ in ENDPOINTS}
    client = Client(url, verbose=False)
    text, head = "The cat sat on the mat. The cat sat on the", (EMBEDDED_MODEL, "one two one two", 2, 2)
    values = {
        "models": (),
        "categories": (EMBEDDED_MODEL,),
        "analyze": (EMBEDDED_MODEL, text),
        "analyze_batch": (EMBEDDED_MODEL, [text]),
        "compare": (EMBEDDED_MODEL, text, "one two"),
        "pattern": head,
        "heatmap": head,
    }
    for name, arguments, _ in ENDPOINTS:
        assert rows[name] == (f"`{arguments}`" if arguments else "")
        result = client.predict(*values[name], api_name=f"/{name}")
        (told,) = re.findall(rf"^\| `/{name}` .*? \| `\{{(.*?)\}}", PAGES["docs/programmers.md"], re.M)
        assert set(told.split(", ")) == set(result) - {"api_version"}
        assert f'now "{result["api_version"]}"' in PAGES["docs/programmers.md"]


def test_programmers_are_told_the_limits_that_hold():
    told = " ".join(PAGES["docs/programmers.md"].split())
    settings = Settings()
    assert f"{settings.workers} requests work at once, {settings.max_waiting} more wait" in told
    assert f"may send {settings.prompts_a_minute} prompts a minute" in told
    assert f"up to {MAX_BATCH_PROMPTS} prompts in one forward" in told
    assert f"A prompt has at most {MAX_PROMPT_TOKENS} tokens." in told


def test_maintainers_are_told_every_setting_and_what_it_is_unless_set():
    page = PAGES["docs/maintainers.md"]
    source = (ROOT / "headroles" / "settings.py").read_text("utf-8")
    assert set(re.findall(r"HEADROLES_[A-Z_]+", source)) == set(re.findall(r"^\| `(HEADROLES_[A-Z_]+)`", page, re.M))
    told = dict(re.findall(r"^\| `HEADROLES_(\w+)` \|.*\| `([^`]*)` \|$", page, re.M))
    settings = Settings()
    assert told == {
        "ANY_MODEL": str(int(settings.any_model)),
        "REVISION": settings.revision,
        "HOME": str(settings.home).replace(os.path.expanduser("~"), "~"),
        "WORKERS": str(settings.workers),
        "QUEUE": str(settings.max_waiting),
        "RATE": str(settings.prompts_a_minute),
        "MCP": str(int(settings.mcp)),
    }


def test_figures_name_the_command_and_the_commit():
    costs = PAGES["docs/maintainers.md"].partition("## What it costs")[2]
    figures = [text for text in costs.split("\n\n") if re.search(r"\d (ms|MB|kB|times)\b", text)]
    assert figures
    assert all(re.match(r"\*\*`(make|python) .*`\*\*, commit [0-9a-f]{7}: ", text) for text in figures)


def test_the_method_is_the_codes():
    page = PAGES["docs/method.md"]
    rows = re.findall(r"^\| ([\w ]+) \| `(\w+)` \| ([\d.]+) \| ([\d.]+) \| (.*) \|$", page, re.M)
    for display_name, name, threshold, second, source in rows:
        role = get_role(name)
        assert (role.display_name, role.source) == (display_name, source)
        assert (role.threshold, role.diversity_threshold) == (float(threshold), float(second))
    assert {name for _, name, *_ in rows} == set(ROLES) - {"other"}
    assert f"the best {MAX_TOP_HEADS} are kept" in page
    sizes, told = ProbeSizes(), " ".join(page.split())
    assert f"{sizes.repeated_sequences} random strings of {sizes.repeat_length} tokens" in told
    assert f"{sizes.sentences} varied sentences" in told


def test_the_method_names_every_field_of_a_record():
    table = PAGES["docs/method.md"].partition("| field | what it holds |")[2]
    named = {name for cell in re.findall(r"^\| (`.*?`) \|", table, re.M) for name in re.findall(r"`(\w+)`", cell)}
    assert named == set(HeadCategories.model_fields)


def test_the_frame_for_teachers_is_what_the_page_gives_out():
    (frame,) = (block.code for block in BLOCKS if block.language == "html")
    source, attributes = frame.removeprefix('<iframe src="').removesuffix("></iframe>\n").split('" ', 1)
    assert f'" {attributes}></iframe>' in (ROOT / "headroles" / "assets" / "page.js").read_text("utf-8")
    query = dict(parse_qsl(urlsplit(html.unescape(source)).query))
    assert query.pop("embed") == "1"
    assert dict(parse_qsl(Place.from_query(query).query())) == query


def test_teachers_are_told_all_that_an_address_may_name():
    (told,) = re.findall(r"An address may name (.*?);", PAGES["docs/teachers.md"], re.S)
    for name in (*(field.name for field in fields(Place)), *TABS):
        assert f"`{name}`" in told


def test_the_changelog_begins_with_what_is_to_come():
    headings = re.findall(r"^## (.*)$", PAGES["CHANGELOG.md"], re.M)
    assert headings[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\](?: - \d{4}-\d{2}-\d{2})?", heading) for heading in headings[1:])
