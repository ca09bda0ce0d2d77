"""Every example of the documents runs and prints what stands below it; every command exists and takes these arguments."""

import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.command_line import parse
from analysis.hub_query import PREFIX
from headroles.explorer import Explorer
from tests.fixtures.api_server import serve_api
from tests.fixtures.documents import BLOCKS, COMMANDS, EXAMPLE_URL, EXTRAS, LINES, PAGES, PROGRAMS, ROOT, prints
from tests.fixtures.patience import PATIENCE

pytestmark = pytest.mark.processes

SHOWN = ROOT / "headroles" / "assets" / "examples"  # what the page shows to programmers


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
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True, timeout=PATIENCE).stdout


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
    assert {block.language for block in BLOCKS} == {"python", "js", "sh", "bash", "html", "nginx"}
    assert all(block.output.strip("\n. ") for block in PROGRAMS)
    assert {block.page for block in PROGRAMS} >= {"README.md", "docs/package.md", "docs/programmers.md"}


def test_a_digit_or_a_line_more_is_not_what_a_page_states():
    assert prints("a 0.9\n", "a 0.9\n")
    assert prints("a 0.9 ...\n", "a 0.9 and more\n")
    for printed in ("a 0.95\n", "a 10.9\n", "a 0.9\nb\n", "b\na 0.9\n", "a 0.8\n", ""):
        assert not prints("a 0.9\n", printed)


def test_the_page_of_the_server_shows_the_examples_of_the_documents():
    shown = {path.read_text("utf-8") for path in SHOWN.iterdir()}
    assert shown < {block.code for block in BLOCKS if block.page == "docs/programmers.md"}
    assert len(shown) == 3


def test_the_javascript_example_says_why_a_call_was_refused(url):
    script = (
        (ROOT / "headroles" / "assets" / "examples" / "javascript.js")
        .read_text("utf-8")
        .replace(EXAMPLE_URL, url)
        .partition('call("analyze"')[0]
    )
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
    elif program == "docker":
        made_from = {"build": "Dockerfile", "run": "Dockerfile", "compose": "compose.yaml"}
        assert (ROOT / made_from[arguments[0]]).is_file()
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
            parse(arguments)
    elif "--models" in arguments and not any(word.startswith(PREFIX) for word in arguments):
        place = arguments.index("--models") + 1
        with tempfile.NamedTemporaryFile("w", suffix=arguments[place]) as names:  # a list of the reader's own
            names.write("org/model\n")
            names.flush()
            parse([*arguments[:place], names.name, *arguments[place + 1 :]])
    else:
        parse(arguments, search=lambda query: ["org/model"])
