"""The container and the compose file, as far as that is seen without a builder: what goes in, who runs it, what it may write."""

import re
import shlex

import pytest
import yaml

from headroles.settings import Settings
from tests.test_architecture import ROOT

DOCKERFILE = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text("utf-8"))
LAST = DOCKERFILE.split("\nFROM ")[-1]  # what is run; the stage before it only installs
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
REPLICAS = {name: service for name, service in COMPOSE["services"].items() if name.startswith("replica")}
NGINX = (ROOT / "deploy" / "nginx.conf").read_text("utf-8")


def lines(instruction: str) -> list[str]:
    return re.findall(rf"^{instruction} (.*)$", LAST, re.M)


def test_what_goes_in_is_there_and_all_else_of_a_checkout_stays_out():
    ignored = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and line[0] != "#"]
    copied = {line.split()[0] for line in re.findall(r"^COPY (?!--)(.*)$", DOCKERFILE, re.M)}
    assert ignored[0] == "*"
    assert {line[1:] for line in ignored if line[0] == "!"} == copied
    assert all((ROOT / name).exists() for name in copied)


def test_it_runs_as_nobody_in_particular_and_writes_to_its_volume_and_tmp_alone(monkeypatch):
    assert lines("USER") == ["1000:1000"]
    assert lines("VOLUME") == ["/data"]
    environment = dict(pair.split("=", 1) for line in lines("ENV") for pair in shlex.split(line))
    folders = {name: value for name, value in environment.items() if value.startswith("/")}
    assert set(folders) == {"GRADIO_TEMP_DIR", "HEADROLES_HOME", "HF_HOME", "MPLCONFIGDIR", "XDG_CACHE_HOME"}
    assert all(re.match("/data|/tmp/", value) for value in folders.values())
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert str(Settings.from_environment().port) == environment["GRADIO_SERVER_PORT"] == lines("EXPOSE")[0]


def test_its_health_is_asked_of_an_open_route_by_a_program_that_python_takes():
    _, _, code = yaml.safe_load(lines("HEALTHCHECK")[0].split("CMD ")[1])
    compile(code, "the health check", "exec")
    assert "/gradio_api/app_id" in code


@pytest.mark.parametrize("name", REPLICAS)
def test_a_replica_is_read_only_has_no_port_of_its_own_and_is_one_of_the_proxys(name, monkeypatch):
    replica = REPLICAS[name]
    assert replica["read_only"]
    assert "ports" not in replica
    assert (replica["tmpfs"], replica["cap_drop"]) == (["/tmp"], ["ALL"])
    assert len(re.findall(rf"^  server {name}:7860 ", NGINX, re.M)) == 2  # for the page and for events
    for key, value in replica["environment"].items():
        monkeypatch.setenv(key, re.sub(r"\$\{.*\}", "", str(value)))
    Settings.from_environment()
    assert {path.split(":")[1] for path in replica["volumes"]} == {"/data"}


def test_all_replicas_of_the_proxy_are_there_and_it_is_the_one_with_a_port():
    proxy = COMPOSE["services"]["proxy"]
    assert set(re.findall(r"server (replica-\d+):", NGINX)) == set(REPLICAS) == set(proxy["depends_on"])
    assert proxy["ports"] == ["${PORT:-8080}:8080"]
    assert "listen 8080;" in NGINX
    assert proxy["read_only"]
