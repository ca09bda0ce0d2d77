"""What an operator gets wrong ends the start in one sentence, and a home that gives nothing keeps no server from starting."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.patience import PATIENCE

ROOT = Path(__file__).parent.parent.parent
HOST = "GRADIO_SERVER_NAME must be an address of this machine, as 127.0.0.1 or 0.0.0.0 for all, but is {!r}."


def environment(**more: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("HEADROLES_", "GRADIO_"))}
    return {**ours, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **more}


def start(command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment(**more), capture_output=True, text=True, timeout=PATIENCE
    )


MISTAKES = {
    (
        "HEADROLES_MEMORY_GB",
        "1e-9",
    ): "HEADROLES_MEMORY_GB must be a number from 0.0625 on, which the model that ships with headroles needs, but is '1e-9'.",
    ("HEADROLES_DATASET", "../.."): "HEADROLES_DATASET must be a dataset repo, organisation/name, but is '../..'.",
    ("HEADROLES_REVISION", "../x"): "HEADROLES_REVISION must be a branch or a commit, but is '../x'.",
    ("HEADROLES_HOME", "LICENSE"): "HEADROLES_HOME must be a folder, or the path of a new one, but is 'LICENSE'.",
    ("HEADROLES_HOME", "LICENSE/x/y"): "HEADROLES_HOME must be a folder, or the path of a new one, but is 'LICENSE/x/y'.",
    ("HEADROLES_TRUST_PROXY", "yes"): "HEADROLES_TRUST_PROXY must be 0 or 1, but is 'yes'.",
    ("GRADIO_SERVER_PORT", "abc"): "GRADIO_SERVER_PORT must be a whole number from 1 to 65535, but is 'abc'.",
    ("GRADIO_SERVER_PORT", "0"): "GRADIO_SERVER_PORT must be a whole number from 1 to 65535, but is '0'.",
    ("GRADIO_SERVER_PORT", "99999"): "GRADIO_SERVER_PORT must be a whole number from 1 to 65535, but is '99999'.",
    ("GRADIO_ROOT_PATH", "headroles"): "GRADIO_ROOT_PATH must be a path as /headroles or a whole address as "
    "https://example.org/headroles, but is 'headroles'.",
}


@pytest.mark.processes
@pytest.mark.parametrize(
    ("command", "name", "value"),
    [(["app.py"], *next(iter(MISTAKES))), *((["-m", "headroles"], *mistake) for mistake in MISTAKES)],
    ids=str,
)
def test_a_wrong_setting_is_one_sentence_and_exit_code_1(command, name, value):
    done = start(command, **{name: value})
    assert (done.returncode, done.stdout, done.stderr) == (1, "", MISTAKES[name, value] + "\n")


@pytest.mark.processes
def test_a_port_in_use_and_a_host_that_is_none_are_one_sentence_and_exit_code_1():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = start(["-m", "headroles", "--port", port])
    said = f"Port {port} of 127.0.0.1 is in use; set GRADIO_SERVER_PORT to another one, or to none for the first that is free."
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, said)
    assert "Traceback" not in done.stderr
    done = start(["-m", "headroles", "--host", "no.such.host.invalid"])
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, HOST.format("no.such.host.invalid"))
    assert "Traceback" not in done.stderr


SERVE = """
import sys
import gradio as gr
launch = gr.Blocks.launch
def launch_and_look(app, **options):
    import urllib.request
    _, url, _ = launch(app, **{**options, "prevent_thread_lock": True, "quiet": True})
    with urllib.request.urlopen(url) as answer:
        print(url, b"headroles" in answer.read(), flush=True)
    app.close(verbose=False)  # its port is free for the next
gr.Blocks.launch = launch_and_look
from headroles.__main__ import main
for host in sys.argv[1:]:
    main(["--host", host])
"""
ANALYZE = """
from headroles import Explorer
analysis = Explorer().analyze("headroles-tiny", "The king and the queen. The king and the")
print(analysis.source.kind, analysis.source.note)
"""


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.parametrize("home", ["unset", *(pytest.param(home, marks=pytest.mark.thorough) for home in ("a file", "nowhere"))])
def test_without_a_home_the_server_starts_and_answers(home, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    env = environment(HEADROLES_DATASET="org/roles", HF_HUB_OFFLINE="1")
    env["HOME"] = {"unset": "", "a file": str(file), "nowhere": "/proc/none"}[home]
    if home == "unset":
        del env["HOME"]
    command = [sys.executable, "-c", SERVE + ANALYZE, "127.0.0.1"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-2000:]
    page, roles = done.stdout.splitlines()
    assert page.endswith(" True")
    assert roles.startswith("embedded")


HOSTS = ("::1", "[::1]", "::", "localhost")


@pytest.fixture(scope="module")
def served() -> dict[str, str]:
    """What a process says that serves at one of the hosts after the other: the address, and whether the page is there."""
    done = start(["-c", SERVE, *HOSTS])
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip(HOSTS, done.stdout.splitlines()))


@pytest.mark.processes
@pytest.mark.thorough
@pytest.mark.skipif(not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists(), reason="no IPv6 here")
@pytest.mark.parametrize("host", HOSTS)
def test_addresses_of_ipv6_are_served(served, host):
    assert re.fullmatch(r"http://(\[::1?\]|localhost):\d+/ True", served[host])
