"""What a Space gets: the files it runs, and its own front matter."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub import constants

from analysis.__main__ import main
from analysis.publish import deploy as deploying
from analysis.publish.deploy import ROOT, deploy, space_readme, stage
from headroles.errors import HubError, InvalidInputError
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


@pytest.mark.parametrize("space", ["", "me", "me/", "/space", "me/a/b", "me/a b", "me/../b"])
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
    assert "analysis deploy me/a --dataset me/b" in named.stdout
    assert "--dry-run" not in named.stdout
    dry = subprocess.run(["make", "-n", "deploy", "SPACE=me/a", "DRY=1"], cwd=ROOT, capture_output=True, text=True)
    assert any(line.endswith("analysis deploy me/a  --dry-run") for line in dry.stdout.splitlines())


def test_the_workflow_runs_what_the_makefile_has():
    workflow = yaml.safe_load((Path(ROOT) / ".github" / "workflows" / "tests.yml").read_text("utf-8"))
    jobs, makefile = workflow["jobs"], (Path(ROOT) / "Makefile").read_text("utf-8")
    for name, targets in {"usual": ["check", "quick", "test"], "thorough": ["check", "thorough"]}.items():
        commands = [step["run"].split() for step in jobs[name]["steps"] if "run" in step]
        assert [words[1] for words in commands if words[0] == "make"][1:] == targets
        assert all(f"\n{target}: " in makefile for target in targets)
    versions = {entry["python"] for entry in jobs["thorough"]["strategy"]["matrix"]["include"]}
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
    command = [sys.executable, "-m", "analysis", "deploy", *arguments]
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


@pytest.fixture
def here(hub, monkeypatch):
    """The double as the Hub of this very process."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", MEMBERS_TOKEN)
    return hub


@pytest.mark.parametrize(
    ("token", "status", "sentence"),
    [
        (
            "hf_wrong",
            None,
            "the Hub does not know the token in HF_TOKEN. Make a new one at https://huggingface.co/settings/tokens.",
        ),
        (STRANGERS_TOKEN, None, "the token in HF_TOKEN may not write for org. Take one of org's, with the permission to write."),
        (MEMBERS_TOKEN, 402, "the Hub wants a paid plan for this hardware or one more Space; docs/deploy.md says what a free "),
        (MEMBERS_TOKEN, 429, "the Hub takes no more requests from this account now. Try again in an hour."),
        (MEMBERS_TOKEN, 503, "the Hub answers with error 503. Try again later."),
    ],
)
def test_what_the_hub_refuses_is_told_by_its_cause_and_without_the_token(here, monkeypatch, token, status, sentence):
    monkeypatch.setenv("HF_TOKEN", token)
    if status:
        here.fail("POST /api/repos/create", status)
    with pytest.raises(HubError) as refused:
        deploy("org/page")
    assert str(refused.value).startswith(f"org/page could not be deployed: {sentence}")
    assert token not in str(refused.value)


def test_without_a_network_that_is_what_it_says(here):
    here.stop()
    with pytest.raises(HubError, match=f"nothing answers at {here.endpoint}. Is this machine on the network"):
        deploy("org/page")


def test_a_space_of_another_kind_is_left_as_it_is(here):
    there = here.create("org/page")
    there.commit("refs/heads/main", there.resolve("main"), {"Dockerfile": b"FROM x"}, "theirs")
    here.kinds["org/page"] = "docker"
    with pytest.raises(InvalidInputError, match=r"org/page is a Space of another kind \(docker\)"):
        deploy("org/page")
    assert here.paths("org/page") == {"Dockerfile"}


def test_without_a_token_nothing_is_asked_and_a_dry_run_needs_none(here, monkeypatch, capsys):
    monkeypatch.setattr(deploying, "get_token", lambda: None)
    with pytest.raises(InvalidInputError, match="no token to write to org/page with: set HF_TOKEN"):
        deploy("org/page")
    assert main(["deploy", "org/page", "--dataset", "org/roles", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("Nothing was sent.")
    for part in ("the Space org/page", "HEADROLES_DATASET to org/roles", "app.py, headroles", "none is set yet", "sdk: gradio"):
        assert part in told
    assert here.requests == []
