"""One visitor against all others: what each kind of abuse costs the server, and what another visitor notices of it.

    python -m bench.abuse [NAME ...] [--rest SECONDS] [--calls N]

Each attack of attacks.py, and connections that are held open, meet a server of their own with default settings, on loopback
alone, which has answered before. Told of each are the server's memory, and how long somebody waits who asks twice a second
meanwhile.
"""

import argparse
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from tempfile import TemporaryDirectory

import psutil

from bench.attacks import ATTACKS
from bench.measuring import run_locust
from tests.fixtures.app_process import find_port, serve, stop

MEGABYTE = 1024**2
SAMPLE_SECONDS = 0.05
HELD_SECONDS = 20
STREAM = "GET /gradio_api/heartbeat/{n} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 8.0.{visitor}\r\n\r\n"
HALF = "POST /gradio_api/queue/join HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 8.0.{visitor}\r\nContent-Length: 900\r\n\r\n{{"
# how many connections to hold, of how many visitors, and what is sent on each
CONNECTIONS = {
    "streams": (1000, 1, STREAM),
    "silent-connections": (3000, 1, ""),
    "half-requests": (3000, 3000, HALF),
    "open-streams": (3000, 3000, STREAM),
}


def allow_many_files() -> None:
    """Lets this process have as many open connections as the system allows."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def server(port: int) -> Iterator[psutil.Process]:
    """Runs the app with default settings, warmed up by calls and pictures."""
    with TemporaryDirectory() as home:
        own = {"HEADROLES_HOME": home, "GRADIO_TEMP_DIR": f"{home}/gradio", "HF_HUB_OFFLINE": "1"}
        process, _ = serve(port, first=allow_many_files, **own)
        try:
            attack(port, "calls", 200)
            attack(port, "pictures", 8)
            yield psutil.Process(process.pid)
        finally:
            stop(process)


def attack(port: int, name: str, calls: int) -> dict[str, dict]:
    """Runs an attack beside its victim, and returns what locust measured of both."""
    if name in CONNECTIONS:
        return run_locust(f"http://127.0.0.1:{port}", 1, "Victim", meanwhile=partial(hold, port, *CONNECTIONS[name]))
    users, calls = ATTACKS[name].users, min(calls, ATTACKS[name].calls)
    return run_locust(f"http://127.0.0.1:{port}", users + 1, "Victim", "Caller", "--attack", name, "--calls", calls)


def hold(port: int, count: int, visitors: int, beginning: str) -> None:
    """Holds connections open.

    Args:
        port: of the server.
        count: how many to open; those that are refused do not count.
        visitors: how many open them, in turns.
        beginning: what is sent on each, where {n} is its number and {visitor} the end of the visitor's address.
    """
    with ExitStack() as held:
        for n in range(count):
            with suppress(OSError):
                connection = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
                visitor = n % visitors
                connection.sendall(beginning.format(n=n, visitor=f"{visitor >> 8}.{visitor & 255}").encode())
        time.sleep(HELD_SECONDS)


@contextmanager
def sampled_memory(process: psutil.Process) -> Iterator[list[int]]:
    """Yields a list of a process' resident bytes, which grows while this lasts."""
    samples, over = [process.memory_info().rss], threading.Event()

    def sample() -> None:
        with suppress(psutil.NoSuchProcess):
            while not over.wait(SAMPLE_SECONDS):
                samples.append(process.memory_info().rss)

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield samples
    finally:
        over.set()
        sampler.join()


def measure(name: str, rest: float, calls: int) -> None:
    """Prints what one attack costs.

    Args:
        name: of the attack.
        rest: seconds after it, before what remains is measured.
        calls: no more than this.
    """
    port = find_port()
    with server(port) as process:
        with sampled_memory(process) as samples:
            report = attack(port, name, calls)
        time.sleep(rest)
        samples.append(process.memory_info().rss)  # raises where the server has ended
    before, most, after = (bytes / MEGABYTE for bytes in (samples[0], max(samples), samples[-1]))
    print(f"{name:18} MB {before:5.0f} {most - before:+5.0f} {after - before:+5.0f}", end="")
    for who, told in report.items():
        waits = f"p95 {told['p95'] / 1000:.2f} s, longest {told['longest'] / 1000:.2f} s"
        print(f"   {who}: {told['calls']} calls, {told['failures']} failed, {waits} {'; '.join(told['errors'][:3])}", end="")
    print(flush=True)


def main() -> None:
    """Tries the attacks that were named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*ATTACKS, *CONNECTIONS]
    parser.add_argument("names", nargs="*", choices=[[], *names], metavar="NAME", help=f"of {', '.join(names)}; all by default")
    parser.add_argument("--rest", type=float, default=60, help="seconds after an attack, before what remains is measured")
    parser.add_argument("--calls", type=int, default=10_000, help="no more than this for each attack")
    asked = parser.parse_args()
    allow_many_files()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; MB before, at most, and {asked.rest:.0f} s after")
    for name in asked.names or names:
        measure(name, asked.rest, asked.calls)


if __name__ == "__main__":
    main()
