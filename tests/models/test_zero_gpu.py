"""Forward passes under `spaces.GPU`, with a double of it that does what ZeroGPU does: a forked process and pickles."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headroles.models.zero_gpu import on_gpu
from tests.fixtures.patience import PATIENCE

ROOT = Path(__file__).parent.parent.parent
# counts its calls in a file, so that a test can see that the forward really went through it
SPACES = """
import functools, multiprocessing, os, pickle

def GPU(function):
    @functools.wraps(function)
    def lent(*args):
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        sent = pickle.dumps(args)
        def work():
            import torch
            torch.set_num_threads(1)
            theirs.send_bytes(pickle.dumps(function(*pickle.loads(sent))))
        process = context.Process(target=work)
        process.start()
        result = pickle.loads(ours.recv_bytes())
        process.join()
        with open(os.environ["CALLS"], "a") as calls:
            calls.write(function.__name__ + " ")
        return result
    return lent
"""
CODE = """
import torch
torch.set_num_threads(1)
from headroles import Explorer
analysis = Explorer().analyze("headroles-tiny", "The king and the queen lived in a castle. The king and the")
print([(head.head.label, round(head.activation, 5)) for role in analysis.roles for head in role.heads])
"""


def run(environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    return done.stdout


def test_without_the_spaces_package_the_function_stays_as_it_is():
    def function() -> None: ...

    assert on_gpu(function) is function


@pytest.mark.processes
@pytest.mark.slow
def test_under_spaces_gpu_the_answers_are_the_same_and_every_forward_goes_through_it(tmp_path):
    (tmp_path / "spaces.py").write_text(SPACES, "utf-8")
    calls = tmp_path / "calls"
    plain = run(dict(os.environ))
    lent = run({**os.environ, "PYTHONPATH": str(tmp_path), "CALLS": str(calls)})
    assert lent == plain
    assert calls.read_text("utf-8").split() == ["collect_patterns"] * 2  # the self-test, the prompt
