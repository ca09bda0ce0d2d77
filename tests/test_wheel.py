"""What `pip install` gives: the wheel in an empty environment, with what it asks for and nothing else, far from the checkout."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

import headroles
from headroles.core.records.record_files import read_record
from headroles.core.registry import EMBEDDED_FOLDER, EMBEDDED_MODEL
from tests.fixtures.app_process import find_port
from tests.fixtures.architectures import build
from tests.fixtures.patience import PATIENCE
from tests.fixtures.web import call, read

pytestmark = [pytest.mark.processes, pytest.mark.thorough]

ROOT = Path(__file__).parent.parent
CORE = """
import importlib, os, pkgutil
import headroles, headroles.core
for module in pkgutil.walk_packages(headroles.core.__path__, "headroles.core."):
    importlib.import_module(module.name)
weights = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.1, 0.9, 0.0]]
print(round(headroles.verify_head_activation(weights, [5, 6, 7], {"layer": 0, "head": 0}, "previous_token"), 6))
record = headroles.load_head_categories("headroles-tiny")
patterns = [[weights] * record.num_heads] * record.num_layers
summary = headroles.get_active_head_summary({"token_ids": [5, 6, 7], "patterns": patterns}, "headroles-tiny")
print(summary["previous_token"][0]["activation_score"] == summary["previous_token"][-1]["activation_score"])
try:
    headroles.Explorer
except headroles.HeadRolesError as error:
    print(error)
os.environ["HEADROLES_DATASET"] = "somebody/roles"
try:
    print(headroles.load_head_categories("headroles-tiny") == record, headroles.load_head_categories("gpt2"))
except headroles.HeadRolesError as error:
    print(error)
print([name for name in ("transformers", "huggingface_hub", "gradio", "analysis", "tests") if importlib.util.find_spec(name)])
"""
WHERE = "import headroles, importlib.util as u; print(headroles.__file__); print(u.find_spec('analysis'), u.find_spec('bench'))"


def alone(folder: Path) -> dict[str, str]:
    """Environment variables that tell a process of no folder but the one it runs in, and of no network."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "OMP_NUM_THREADS") if name in os.environ}
    return {**kept, "HOME": str(folder), "HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False"}


def run(command: Sequence[str | Path], folder: Path) -> str:
    """What a command prints."""
    done = subprocess.run(command, cwd=folder, env=alone(folder), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"[-3000:]
    return done.stdout


def tracked() -> list[str]:
    """The files of the project as git knows them, those of this very moment."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from what git tracks, so that nothing gets in that only this machine has."""
    source = tmp_path_factory.mktemp("source")
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "dist", "."], source)
    (built,) = (source / "dist").glob("*.whl")
    return built


def needed(requirement: Requirement) -> dict[str, Requirement]:
    """Every distribution that a requirement leads to, by name; fails where this environment has not what is asked for."""
    found: dict[str, Requirement] = {}
    waiting = [requirement]
    seen = set()
    while waiting:
        wanted = waiting.pop()
        if str(wanted) in seen:
            continue
        seen.add(str(wanted))
        if wanted.name != "headroles":
            version = distribution(wanted.name).version
            assert wanted.specifier.contains(version, prereleases=True), f"{wanted}, but {version} is here"
            found[re.sub(r"[-_.]+", "-", wanted.name).lower()] = wanted
        for text in distribution(wanted.name).requires or ():
            inner = Requirement(text)
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras)):
                waiting.append(inner)
    return found


@pytest.fixture(scope="module")
def install(wheel, tmp_path_factory) -> Callable[[str], Path]:
    """Makes an empty environment with the wheel and one of its extras, and gives its folder of commands.

    What the wheel asks for is not downloaded again: each package it leads to is a link to this environment's own, and no other
    package is there.
    """
    known: dict[str, Path] = {}

    def make(extra: str) -> Path:
        if extra in known:
            return known[extra]
        home = tmp_path_factory.mktemp(f"environment-{extra or 'core'}")
        run([sys.executable, "-m", "venv", "--without-pip", "venv"], home)
        python = home / "venv" / "bin" / "python"
        pip = [sys.executable, "-m", "pip", "--python", python]
        run([*pip, "install", "-q", "--no-deps", "--no-index", wheel], home)
        (site,) = (home / "venv" / "lib").glob("python*/site-packages")
        (metadata,) = site.glob("headroles-*.dist-info")
        requires = re.findall(r"^Requires-Dist: (.*)$", (metadata / "METADATA").read_text("utf-8"), re.M)
        for text in requires:
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                for name in needed(wanted):
                    link(name, site)
        known[extra] = home / "venv" / "bin"
        return known[extra]

    return make


def link(name: str, site: Path) -> None:
    """Links the files of a distribution of this environment, by their topmost folders."""
    found = distribution(name)
    tops = {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}
    for top in tops:
        if not (site / top).exists():
            (site / top).symlink_to(found.locate_file(top))  # pyright: ignore[reportArgumentType]


def test_the_core_asks_for_five_packages_in_the_words_that_the_space_reads(wheel):
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode()
    requires = [Requirement(text) for text in re.findall(r"^Requires-Dist: (.*)$", metadata, re.M)]
    core = {str(wanted) for wanted in requires if wanted.marker is None}
    lines = {line for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines() if not line.startswith("#")}
    assert {Requirement(text).name for text in core} == {"torch", "pydantic", "pydantic-settings", "jaxtyping", "numpy"}
    assert core <= {str(Requirement(line)) for line in lines}
    assert not any(line.startswith("-") for line in lines)  # a Space reads this one file
    assert set(re.findall(r"^Provides-Extra: (.*)$", metadata, re.M)) == {"app", "analysis", "gguf", "jobs", "mcp", "ray", "dev"}


def test_the_wheel_holds_all_that_git_tracks_of_the_package_and_nothing_else(wheel):
    with ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = {name for name in tracked() if name.startswith("headroles/")}
    analysis = {name.replace("analysis/", "headroles_analysis/", 1) for name in tracked() if name.startswith("analysis/")}
    assert held == package | analysis
    assert {"headroles/py.typed", "headroles/core/roles/literature.json", "headroles/tiny/model.safetensors"} < held


def test_there_is_one_version(wheel):
    assert wheel.name.startswith(f"headroles-{headroles.__version__}-")
    assert f"## [{headroles.__version__}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_core_alone_judges_heads_and_says_what_the_rest_needs(install, tmp_path):
    commands = install("")
    first, second, refusal, no_hub, others = run([commands / "python", "-c", CORE], tmp_path).splitlines()
    assert (first, second, others) == ("0.9", "True", "[]")
    assert re.fullmatch(r"Explorer needs \w+, which is not installed: pip install 'headroles\[app\]'\.", refusal)
    assert no_hub.startswith("There are no roles for 'gpt2' yet")
    assert no_hub.endswith(
        "Reading somebody/roles from the Hub needs huggingface_hub, which is not installed: pip install 'headroles[app]'."
    )
    assert "--port" in run([commands / "headroles", "--help"], tmp_path)
    for command, extra in ((["headroles"], "app"), (["headroles-analysis", "--help"], "analysis")):
        done = subprocess.run([commands / command[0], *command[1:]], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 1
        assert re.fullmatch(rf"error: .* pip install 'headroles\[{extra}\]'\.?\n", done.stderr)


def test_the_installed_page_answers_far_from_the_checkout(install, tmp_path):
    commands, port = install("app"), find_port()
    file, others = run([commands / "python", "-c", WHERE], tmp_path).splitlines()
    assert Path(file).is_relative_to(commands.parent)
    assert others == "None None"
    environment = {**alone(tmp_path), "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen([commands / "headroles", "--port", str(port)], cwd=tmp_path, env=environment, **pipes) as page:
        try:
            assert page.stdout is not None
            printed = []
            for line in page.stdout:  # ends when the process does
                printed.append(line)
                if "http://127.0.0.1:" in line:
                    break
            else:
                pytest.fail("".join(printed)[-3000:])
            url = f"http://127.0.0.1:{port}"
            assert re.search(r'"title": ?"headroles', read(url))
            event, answer = call(url, "/analyze", [EMBEDDED_MODEL, "The cat sat on the mat. The cat sat on the"])
            assert (event, answer["source"]) == ("complete", "embedded")
        finally:
            page.kill()


def test_the_installed_analysis_scores_models_in_processes_of_their_own(install, tiny, tmp_path):
    for name in ("one", "two"):
        build("gpt2").save_pretrained(tmp_path / name)
        tiny.tokenizer.save_pretrained(tmp_path / name)
    sizes = ["--quick", "--repeated-sequences", "2", "--repeat-length", "8", "--sentences", "2"]
    printed = run([install("analysis") / "headroles-analysis", "one", "two", "--out", "records", *sizes], tmp_path)
    assert [line.split()[0] for line in printed.splitlines()] == ["model", "one", "two"]
    for name in ("one", "two"):
        record = read_record(tmp_path / "records" / f"{name}.json")
        assert (record.model_name, record.recipe.sentences) == (name, 2)
    name = "import headroles_analysis; print(headroles_analysis.COMMAND)"
    assert run([install("analysis") / "python", "-c", name], tmp_path).strip() == "headroles-analysis"


def test_every_line_of_the_requirements_stands_for_itself():
    for file in ROOT.glob("requirements*.txt"):
        for line in file.read_text("utf-8").splitlines():
            if wanted := line.partition("#")[0].strip():
                Requirement(wanted)


def test_a_missing_distribution_is_no_empty_environment():
    with pytest.raises(PackageNotFoundError):
        needed(Requirement("no-such-distribution-anywhere"))


def test_the_embedded_model_is_read_from_the_package_itself():
    assert EMBEDDED_FOLDER.is_relative_to(Path(headroles.__file__).parent)
