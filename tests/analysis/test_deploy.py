"""What a Space gets: the files it runs, and its own front matter."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from analysis import deploy as deploying
from analysis.deploy import ROOT, deploy, space_readme, stage
from headroles.errors import InvalidInputError
from tests.fixtures.dataset_hub import DatasetHub
from tests.fixtures.hub import MEMBERS_TOKEN, STRANGERS_TOKEN

pytestmark = pytest.mark.processes

README = (ROOT / "README.md").read_text("utf-8")


def test_the_front_matter_names_the_spaces_picture_and_its_dataset():
    matter = yaml.safe_load(space_readme(README, "me/space", "me/roles").split("---")[1])
    own = yaml.safe_load(README.split("---")[1])
    assert matter.pop("thumbnail") == "https://huggingface.co/spaces/me/space/resolve/main/docs/page-light.png"
    assert matter.pop("datasets") == ["me/roles"]
    assert matter == own
    assert "datasets" not in yaml.safe_load(space_readme(README, "me/space").split("---")[1])


def test_the_rest_of_the_readme_stays_as_it_is():
    assert space_readme(README, "me/space").split("---\n", 2)[2] == README.split("---\n", 2)[2]


@pytest.mark.slow
def test_what_is_staged_answers_without_the_rest_of_the_project(tmp_path):
    stage(tmp_path, "me/space")
    assert {path.name for path in tmp_path.iterdir()} == {
        "app.py",
        "headroles",
        "requirements.txt",
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "LICENSE",
        "docs",
    }
    assert not list(tmp_path.rglob("__pycache__"))
    for page in [*tmp_path.glob("*.md"), *tmp_path.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} leads to {target}"
    code = "import app; print(app.app.title)"
    environment = {**os.environ, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip().endswith("headroles")


@pytest.mark.parametrize("space", ["", "me", "me/", "/space", "me/a/b"])
def test_a_name_that_is_none_is_refused_before_any_request(space):
    with pytest.raises(InvalidInputError, match="organisation/name"):
        deploy(space or "nothing")


def test_an_installed_package_deploys_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(deploying, "ROOT", tmp_path)
    with pytest.raises(InvalidInputError, match="from a checkout"):
        deploy("me/space")


def test_make_deploy_asks_for_the_name_of_the_space():
    done = subprocess.run(["make", "-n", "deploy"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "make deploy SPACE=organisation/name" in done.stderr
    named = subprocess.run(["make", "-n", "deploy", "SPACE=me/a", "DATASET=me/b"], cwd=ROOT, capture_output=True, text=True)
    assert "analysis.deploy me/a --dataset me/b" in named.stdout


def test_the_workflow_runs_what_the_makefile_has():
    workflow = yaml.safe_load((Path(ROOT) / ".github" / "workflows" / "tests.yml").read_text("utf-8"))
    commands = [step["run"] for step in workflow["jobs"]["tests"]["steps"] if "run" in step]
    assert {"make check", "make test"} < set(commands)
    versions = {entry["python"] for entry in workflow["jobs"]["tests"]["strategy"]["matrix"]["include"]}
    assert versions == {"3.10", "3.11", "3.12"}


@pytest.fixture
def hub(tmp_path):
    with DatasetHub(tmp_path / "hub") as double:
        yield double


def run_deploy(hub: DatasetHub, home: Path, *arguments: str, token: str = MEMBERS_TOKEN) -> subprocess.CompletedProcess:
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(home),
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    command = [sys.executable, "-m", "analysis.deploy", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def test_one_command_makes_a_space_with_its_dataset_and_prints_its_address(hub, tmp_path):
    done = run_deploy(hub, tmp_path, "org/page", "--dataset", "org/roles")
    assert (done.returncode, done.stdout.strip()) == (0, "https://huggingface.co/spaces/org/page"), done.stderr[-2000:]
    assert hub.variables == {"org/page": {"HEADROLES_DATASET": "org/roles"}}
    assert hub.content("org/page", "app.py") == (ROOT / "app.py").read_bytes()
    tiny = "headroles/tiny/model.safetensors"
    assert hub.content("org/page", tiny) == (ROOT / tiny).read_bytes()
    matter = yaml.safe_load(hub.content("org/page", "README.md").decode().split("---")[1])
    assert (matter["sdk"], matter["datasets"]) == ("gradio", ["org/roles"])
    assert not any(path.startswith(("tests", "analysis", "bench")) for path in hub.paths("org/page"))


def test_what_an_earlier_version_had_is_gone_from_the_space(hub, tmp_path):
    space = hub.create("org/page")
    space.commit("refs/heads/main", space.resolve("main"), {"headroles/old.py": b"1"}, "old")
    assert run_deploy(hub, tmp_path, "org/page").returncode == 0
    assert "headroles/old.py" not in hub.paths("org/page")


def test_a_space_of_somebody_else_is_refused_in_one_sentence_without_the_token(hub, tmp_path):
    done = run_deploy(hub, tmp_path, "org/page", token=STRANGERS_TOKEN)
    assert done.returncode == 1
    assert (
        done.stderr.strip().splitlines()[-1].startswith("error: org/page could not be deployed: the Hub answers with error 403")
    )
    assert STRANGERS_TOKEN not in done.stderr
