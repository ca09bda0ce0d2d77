"""The README's promises: its examples run as they stand, its front matter is the Space's, its commands exist."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from analysis.readme import with_models
from headroles.core.registry import EMBEDDED_MODEL, MODELS
from headroles.core.roles import ROLES
from headroles.explorer import Explorer
from headroles.server.endpoints import ENDPOINTS, EXAMPLE_URL, example_text
from tests.fixtures.api_server import serve_api

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.S)


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


def test_the_python_example_runs_as_it_stands(capsys):
    exec(compile(EXAMPLES[0], "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "Induction True" in printed
    assert "0.9" in printed


@pytest.fixture(scope="module")
def url(explorer: Explorer) -> Iterator[str]:
    with serve_api(explorer) as address:
        yield address


def example(language: str, file: str, url: str) -> str:
    """An example of the README, which is the one that the page shows, on the running server."""
    text = example_text(file)
    assert f"```{language}\n{text}```" in README
    assert EXAMPLE_URL in text
    return text.replace(EXAMPLE_URL, url)


def run(program: str, *arguments: str) -> str:
    """What a program prints. Where it is not installed the test is skipped, but not in CI."""
    if shutil.which(program) is None:
        if os.environ.get("CI"):
            pytest.fail(f"In CI the examples must run, and there is no {program} here.")
        pytest.skip(f"no {program} on this machine")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True, timeout=120).stdout


def test_the_client_example_runs_as_it_stands(url, capsys):
    exec(compile(example("python", "python.py", url), "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert all(f"{role} True" in printed for role in ("previous_token", "induction"))
    assert re.search(r"^L\dH\d is mainly an induction head", printed, re.M)


@pytest.mark.processes
def test_the_javascript_example_runs_as_it_stands(url):
    printed = run("node", "--input-type=module", "--eval", example("js", "javascript.js", url))
    assert all(f"{role} true" in printed for role in ("previous_token", "induction"))


@pytest.mark.processes
def test_the_javascript_example_says_why_a_call_was_refused(url):
    script = example("js", "javascript.js", url).partition('call("analyze"')[0]
    printed = run(
        "node", "--input-type=module", "--eval", script + 'call("analyze", "gpt5", "x").catch((e) => console.log(e.message));'
    )
    assert printed.startswith("There is no model 'gpt5' here")


@pytest.mark.processes
def test_the_shell_example_runs_as_it_stands(url):
    assert shutil.which("curl") or not os.environ.get("CI")
    printed = run("bash", "-euc", example("sh", "shell.sh", url)).strip().splitlines()
    assert printed[-2] == "event: complete"
    assert json.loads(printed[-1].removeprefix("data: "))[0]["api_version"] == "1"


def test_it_names_every_endpoint_with_its_arguments():
    for name, arguments, _ in ENDPOINTS:
        assert f"| `/{name}` | `{arguments}` |" in README or (not arguments and f"| `/{name}` | |" in README)


def test_every_command_it_names_exists():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"^make (\w+)", README, re.M):
        assert re.search(rf"^{target}:", makefile, re.M), target
    for module in re.findall(r"python -m (analysis[\w.]*)", README):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def test_its_commands_come_first_and_every_role_is_named():
    assert README.index("make demo") < README.index("make test") < README.index("\npip install")
    assert all(f"| {role.display_name} |" in README for role in ROLES.values())


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_its_links_lead_somewhere(target):
    assert target.startswith("http") or (ROOT / target).exists()


def test_what_it_says_of_models_is_the_registrys():
    assert with_models(README) == README, "run `python -m analysis.readme`"
    assert all(f"| {name} |" in README for name in MODELS)


def test_it_names_every_setting():
    source = (ROOT / "headroles" / "settings.py").read_text("utf-8")
    assert set(re.findall(r"HEADROLES_[A-Z_]+", source)) == set(re.findall(r"HEADROLES_[A-Z_]+", README))
