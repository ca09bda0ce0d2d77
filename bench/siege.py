"""A server of its own under siege: what it takes of memory, threads and files, and how another visitor fares meanwhile."""

import http.client
import itertools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from headroles.core.registry import EMBEDDED_MODEL

ROOT = Path(__file__).parent.parent
MEGABYTE = 1024**2
PROBE_SECONDS = 0.5  # between two requests of the visitor whose waits are told
SAMPLE_SECONDS = 0.05
LONGEST_WAIT = 120.0  # a request that takes longer counts as one that was never answered
SENTENCE = "The king and the queen lived in a castle. The king and the"
JSON = {"Content-Type": "application/json"}


@dataclass
class Server:
    """`python app.py` as a child process, with default settings but for those given."""

    process: subprocess.Popen
    port: int
    home: Path

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def memory(self) -> int:
        """Resident bytes; 0 once it has ended."""
        return self._status("VmRSS") * 1024

    def threads(self) -> int:
        return self._status("Threads")

    def files(self) -> tuple[int, int]:
        """Open descriptors, and bytes that lie in its folder for temporary files."""
        with suppress(OSError):
            kept = sum(path.stat().st_size for path in self.home.rglob("*") if path.is_file())
            return len(os.listdir(f"/proc/{self.process.pid}/fd")), kept
        return 0, 0

    def _status(self, name: str) -> int:
        with suppress(OSError, StopIteration):
            lines = Path(f"/proc/{self.process.pid}/status").read_text("ascii").splitlines()
            return int(next(line for line in lines if line.startswith(name)).split()[1])
        return 0


@contextmanager
def besieged(**settings: str) -> Iterator[Server]:
    """A server that answers and has answered each kind of request, from several threads at once, so that what follows is not its
    start."""
    home = Path(tempfile.mkdtemp(prefix="headroles-siege-"))
    port = random.randint(20_000, 31_000)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("HEADROLES_", "GRADIO_"))}
    own |= {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(home / "gradio")}
    own |= {"HEADROLES_HOME": str(home / "home"), "HF_HUB_OFFLINE": "1", **settings}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=own, stdout=log, stderr=log)
    server = Server(process, port, home)
    try:
        _wait_until_warm(server)
        yield server
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        shutil.rmtree(home, ignore_errors=True)


def _wait_until_warm(server: Server) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            for visitor in range(20):
                call(server, "analyze", [EMBEDDED_MODEL, f"{SENTENCE} {visitor}", False], visitor)
                explore(server, f"{SENTENCE} {visitor}", visitor)
            call(server, "heatmap", [EMBEDDED_MODEL, SENTENCE, 2, 2, "", "png"], 0)
            at_once(200, lambda number: call(server, "analyze", [EMBEDDED_MODEL, f"{SENTENCE} {number}", False], number), 8)
            return
        except (OSError, http.client.HTTPException, KeyError):
            assert server.is_alive, "the server ended before it answered: " + (server.home / "log").read_text("utf-8")[-2000:]
            assert time.monotonic() < deadline, "the server did not answer within two minutes"
            time.sleep(0.5)


def address(visitor: int) -> dict[str, str]:
    """What tells one visitor from another behind a proxy: an address of its own."""
    return {"X-Forwarded-For": f"8.{visitor >> 16 & 255}.{visitor >> 8 & 255}.{visitor & 255}"}


def send(
    server: Server, path: str, body: bytes | None, headers: Mapping[str, str], timeout: float = LONGEST_WAIT
) -> tuple[int, bytes]:
    """The status and the whole answer; status 0 where the server broke off."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    try:
        connection.request("POST" if body is not None else "GET", path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def hand_in(server: Server, endpoint: str, data: list, visitor: int) -> str | None:
    """The id of a call that was let in and is not collected yet; None where the server did not take it."""
    status, answer = send(
        server, f"/gradio_api/call/{endpoint}", json.dumps({"data": data}).encode(), {**JSON, **address(visitor)}
    )
    return json.loads(answer)["event_id"] if status == 200 else None


def collect(server: Server, endpoint: str, event: str, visitor: int, timeout: float = LONGEST_WAIT) -> str:
    """How a call ended: the last event of its stream with its data."""
    _, answer = send(server, f"/gradio_api/call/{endpoint}/{event}", None, address(visitor), timeout)
    return answer.decode(errors="replace").strip().rpartition("event: ")[2]


def call(server: Server, endpoint: str, data: list, visitor: int) -> str:
    """How a call ended, `complete` or `error` first. Raises OSError where it was not taken."""
    event = hand_in(server, endpoint, data, visitor)
    if event is None:
        raise ConnectionError("not taken")
    return collect(server, endpoint, event, visitor)


def handlers(server: Server) -> dict[str, dict]:
    """The page's private handlers, by the name of the element and the event."""
    config = json.loads(urllib.request.urlopen(f"http://127.0.0.1:{server.port}/config", timeout=30).read())
    names = {component["id"]: component["props"].get("elem_id") for component in config["components"]}
    return {
        f"{names.get(target)}.{event}": {**dependency, "target": target}
        for dependency in config["dependencies"]
        for target, event in dependency["targets"]
    }


def join(server: Server, handler: Mapping, data: list, session: object, visitor: int, event_data: object = None) -> int:
    """The status that a page's event is answered with."""
    body = {
        "data": data,
        "fn_index": handler["id"],
        "trigger_id": handler["target"],
        "session_hash": session,
        "event_data": event_data,
    }
    return send(server, "/gradio_api/queue/join", json.dumps(body).encode(), {**JSON, **address(visitor)})[0]


def explore(server: Server, sentence: object, visitor: int, session: str | None = None, handler: Mapping | None = None) -> str:
    """A click on Explore and all that is answered."""
    session = session or f"page{next(_numbers)}"
    handler = handler or handlers(server)["explore.click"]
    if join(server, handler, ["", "explore", "", EMBEDDED_MODEL, sentence, "", None], session, visitor) != 200:
        return "not taken"
    return send(server, f"/gradio_api/queue/data?session_hash={session}", None, address(visitor))[1].decode(errors="replace")


_numbers = itertools.count()


def at_once(count: int, work: Callable[[int], object], threads: int = 32) -> list:
    """What `work` gives for each number, from so many threads."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, range(count)))


@dataclass
class Report:
    """What was seen of one attack: bytes, numbers and seconds."""

    before: int = 0
    worst: int = 0
    after: int = 0
    threads: list[int] = field(default_factory=lambda: [0, 0, 0])
    descriptors: int = 0
    kept: int = 0
    waits: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    alive: bool = True

    def line(self) -> str:
        waits = sorted(self.waits) or [float("nan")]
        p95 = waits[min(int(len(waits) * 0.95), len(waits) - 1)]
        worst, after = ((bytes - self.before) / MEGABYTE for bytes in (self.worst, self.after))
        told = len(self.failures)
        return (
            f"MB {self.before / MEGABYTE:6.0f} {worst:+6.0f} {after:+6.0f}   threads {'/'.join(map(str, self.threads)):>12}"
            f"   files {self.descriptors:5}, {self.kept / MEGABYTE:.0f} MB"
            f"   others: p95 {p95:6.2f} s, worst {waits[-1]:6.2f} s, {told} of {len(self.waits) + told} failed"
            f"   {'lives' if self.alive else 'DEAD'}"
        )


@contextmanager
def watched(server: Server, rest: float) -> Iterator[Report]:
    """Asks a server as another visitor until the block has ended, and looks at it until `rest` seconds after."""
    report = Report(before=server.memory(), threads=[server.threads()] * 3)
    over, resting = threading.Event(), threading.Event()

    def sample() -> None:
        while not over.wait(SAMPLE_SECONDS):
            report.worst = max(report.worst, server.memory())
            report.threads[1] = max(report.threads[1], server.threads())

    def probe() -> None:
        for number in itertools.count():
            if over.wait(PROBE_SECONDS) or resting.is_set():
                return
            started = time.monotonic()
            try:  # one minute's share is never used up by two a second
                answer = call(server, "analyze", [EMBEDDED_MODEL, f"{SENTENCE} {number}", False], visitor=1 << 22)
            except (OSError, http.client.HTTPException) as error:
                answer = f"error {error}"
            if answer.startswith("complete"):
                report.waits.append(time.monotonic() - started)
            else:
                report.failures.append(answer[:200])

    watchers = [threading.Thread(target=watch) for watch in (sample, probe)]
    for watcher in watchers:
        watcher.start()
    try:
        yield report
        resting.set()
        report.descriptors, report.kept = server.files()
        time.sleep(rest)
        report.after, report.threads[2], report.alive = server.memory(), server.threads(), server.is_alive
    finally:
        over.set()
        for watcher in watchers:
            watcher.join()


def allow_many_files() -> None:
    """As many open connections as the system lets this process have."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def tally(results: Iterable[object]) -> str:
    """How often each result came, the most frequent first."""
    counts: dict[str, int] = {}
    for result in results:
        counts[str(result)] = counts.get(str(result), 0) + 1
    return ", ".join(f"{count} x {result}" for result, count in sorted(counts.items(), key=lambda pair: -pair[1])[:6])
