"""Files that other tools read: the citation, the lock file, the forms of issues, the hooks, and the workflow of a release."""

import os
import subprocess
import sys

import pytest
import yaml
from packaging.requirements import Requirement

import headroles
from tests.test_architecture import ROOT

LOCKED = ("requirements.txt", "requirements-analysis.txt", "requirements-gguf.txt", "requirements-dev.txt")
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def read(*parts: str) -> dict:
    return yaml.safe_load(ROOT.joinpath(*parts).read_text("utf-8"))


def requirements(name: str) -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text("utf-8").splitlines())
    return [Requirement(line) for line in lines if line]


def test_the_citation_names_the_version_and_the_license_of_the_package():
    citation = read("CITATION.cff")
    assert citation["version"] == headroles.__version__
    assert f'license = "{citation["license"]}"' in (ROOT / "pyproject.toml").read_text("utf-8")


def test_the_lock_file_pins_all_that_the_requirements_ask_for_and_names_no_place():
    pins = {pin.name: str(pin.specifier).removeprefix("==") for pin in requirements("requirements-lock.txt")}
    for name in LOCKED:
        for wanted in requirements(name):
            assert wanted.specifier.contains(pins[wanted.name], prereleases=True), f"`make lock`: {wanted}"
    assert "/" not in (ROOT / "requirements-lock.txt").read_text("utf-8")
    assert not any("+" in version for version in pins.values())  # a build of one index alone


@pytest.mark.processes
@pytest.mark.parametrize(("tag", "code"), [(f"v{headroles.__version__}", 0), (headroles.__version__, 1), ("v0.0.0", 1)])
def test_a_release_stops_where_the_tag_is_not_the_version(tag, code, tmp_path):
    steps = read(".github", "workflows", "release.yml")["jobs"]["build"]["steps"]
    (check,) = (step["run"] for step in steps if step.get("name") == "The tag is the version")
    (tmp_path / "python").symlink_to(sys.executable)
    environment = {**os.environ, "GITHUB_REF_NAME": tag, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert subprocess.run(["bash", "-e", "-c", check], cwd=ROOT, env=environment).returncode == code


def test_a_release_is_published_only_where_the_repository_says_so_and_without_a_token():
    workflow = read(".github", "workflows", "release.yml")
    publish = workflow["jobs"]["publish"]
    assert (publish["needs"], publish["if"]) == ("build", "vars.PUBLISH == 'pypi'")
    assert publish["permissions"] == {"id-token": "write"}
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets." not in (ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8")


def test_the_hooks_run_the_tools_of_the_project_itself():
    local = next(repo["hooks"] for repo in read(".pre-commit-config.yaml")["repos"] if repo["repo"] == "local")
    assert {hook["id"]: hook["entry"].split()[0] for hook in local} == {
        "ruff": ".venv/bin/ruff",
        "ruff-format": ".venv/bin/ruff",
        "pyright": ".venv/bin/pyright",
    }


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_a_form_of_issues_has_what_its_site_asks_for(form):
    form = yaml.safe_load(form.read_text("utf-8"))
    assert form["name"]
    assert form["description"]
    identifiers = [field["id"] for field in form["body"]]
    assert len(set(identifiers)) == len(identifiers)
    assert any(field.get("validations", {}).get("required") for field in form["body"])
