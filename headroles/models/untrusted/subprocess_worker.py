"""A process of its own for work on what a stranger made: limits of memory, processor and time, and an end that is only its own.

It is a fresh interpreter, not a fork: nothing of the server is in its memory, and no secret in its environment. Both sides write
lines of JSON; what it answers is data that is checked, never code.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import IO

from headroles.errors import HeadRolesError, ModelLoadError, ModelTooLargeError, UnsupportedModelError

MAX_RESPONSE_BYTES = 64 * 1024**2  # the vocabulary of 512,000 tokens takes a third of it
POLL_SECONDS = 0.2  # how often the one who waits is asked whether to go on
# one thread each: several would share the memory limit, and other visitors' processors
ENVIRONMENT = {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "HF_HUB_OFFLINE": "1"}
INHERITED_VARIABLES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")  # of this process's environment, which holds tokens
PROJECT_ROOT = str(Path(__file__).parents[3])
ERROR_TYPES = {error.__name__: error for error in (ModelLoadError, ModelTooLargeError, UnsupportedModelError)}


class WorkerDiedError(Exception):
    """Raised when the process ended, or was ended at a limit, before it answered; the text says how, to follow "it"."""


class SubprocessWorker:
    """One process that answers one question at a time; for one thread at a time. It starts with the first question.

    `memory_bytes` is what it may take beyond its libraries.
    """

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._finalizer: weakref.finalize | None = None

    @property
    def is_running(self) -> bool:
        """Whether its process is alive."""
        return self._process is not None and self._process.poll() is None

    def call(
        self,
        task: str,
        arguments: dict[str, object],
        cpu_seconds: int,
        wall_seconds: float,
        while_waiting: Callable[[], object] = lambda: None,
    ) -> object:
        """What a function of `child_work` answers. What `while_waiting` raises ends the process, and is raised here.

        Raises:
            ChildDiedError: when the process dies, takes more than its time, or answers what is no answer.
            ModelLoadError, ModelTooLargeError, UnsupportedModelError: what the function raised.
        """
        process = self._process if self._process and self.is_running else self._start()
        question = {"work": task, "cpu_seconds": cpu_seconds, "arguments": arguments}
        try:
            answer = _exchange(process, question, time.monotonic() + wall_seconds, while_waiting)
        except BaseException:
            self.close()
            raise
        if "raised" in answer:
            raise ERROR_TYPES.get(str(answer["raised"]), ModelLoadError)(str(answer.get("text"))[:500])
        return answer.get("value")

    def close(self) -> None:
        """Ends the process, whatever it does; for any thread."""
        if self._finalizer:
            self._finalizer()

    def _start(self) -> "subprocess.Popen[bytes]":
        self.close()
        environment = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "headroles.models.worker_main", str(self._memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # where the libraries write what stands in files
            env={**environment, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join([PROJECT_ROOT, *filter(None, sys.path)])},
            start_new_session=True,  # Ctrl-C is for the server
        )
        self._finalizer = weakref.finalize(self, _kill, self._process)  # also when nobody holds this any more
        return self._process


def _exchange(
    process: "subprocess.Popen[bytes]", request: object, deadline: float, while_waiting: Callable[[], object]
) -> dict[str, object]:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        # a text of 10,000 characters takes less than a pipe holds, so this never waits
        process.stdin.write(json.dumps(request, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
        process.stdin.flush()
        answer = json.loads(_read_line(process.stdout, deadline, while_waiting))
    except (OSError, ValueError):
        raise WorkerDiedError(_exit_reason(process)) from None
    if not isinstance(answer, dict):
        raise WorkerDiedError("gave no answer")
    return answer


def _read_line(stream: IO[bytes], deadline: float, while_waiting: Callable[[], object]) -> bytes:
    line = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            while_waiting()
            if time.monotonic() >= deadline:
                raise WorkerDiedError("took too long")
            if not selector.select(POLL_SECONDS):
                continue
            piece = os.read(stream.fileno(), 1024**2)
            if not piece:
                raise OSError("the process has ended")
            line += piece
            if len(line) > MAX_RESPONSE_BYTES:
                raise WorkerDiedError("answered with too much")
    return bytes(line)


def _exit_reason(process: "subprocess.Popen[bytes]") -> str:
    try:
        code = process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        return "gave no answer"
    return "took too long" if code == -signal.SIGXCPU else "broke a library or took too much memory"


def _kill(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):  # of what was not sent yet
            stream.close()  # type: ignore[union-attr]


def error_response(error: HeadRolesError) -> dict[str, object]:
    """How the process says what it raises."""
    return {"raised": type(error).__name__, "text": str(error)}
