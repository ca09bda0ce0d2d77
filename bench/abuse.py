"""One visitor against all others: what each kind of abuse costs the server, and what another visitor notices of it.

    python -m bench.abuse [NAME ...] [--rest SECONDS] [--calls N] [--events N]

Each attack has a server of its own with default settings, on loopback alone; visitors are told apart as behind a proxy. Told of
each are resident memory before, at worst and after a rest; threads before, at worst and after; open files; how long another
visitor waits who asks twice a second all along; and whether the server lives.
"""

import argparse
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from bench.hostile_models import strangers
from bench.siege import (
    JSON,
    MEGABYTE,
    SENTENCE,
    Server,
    address,
    allow_many_files,
    at_once,
    besieged,
    call,
    collect,
    explore,
    hand_in,
    handlers,
    join,
    send,
    tally,
    watched,
)
from headroles.core.registry import EMBEDDED_MODEL

ABUSER, VICTIM = 7, 8
LONG_WORDS = 251  # words that are a token each: as long a text as is read


def long_text(number: int) -> str:
    """About as many tokens as a text may have, another text for each number."""
    return " ".join(["The", *(("king", "queen")[number >> (i % 12) & 1] for i in range(200))])


def ordinary_calls(server: Server, count: int) -> str:
    """Calls that are collected, of many visitors."""
    return tally(
        answer.split("\n")[0]
        for answer in at_once(count, lambda n: call(server, "analyze", [EMBEDDED_MODEL, f"{SENTENCE} {n % 997}", False], n), 8)
    )


def page_events(server: Server, count: int) -> str:
    """Clicks on Explore, of pages that make twenty events each."""
    handler = handlers(server)["explore.click"]
    answers = at_once(count, lambda n: explore(server, f"{SENTENCE} {n % 997}", n // 20, f"page{n // 20}", handler), 1)
    return tally("answered" if "hr-tokens" in answer else answer[:60] for answer in answers)


def uncollected(server: Server) -> str:
    """A minute's share of patterns asked for, none of them collected."""
    taken = at_once(239, lambda n: hand_in(server, "pattern", [EMBEDDED_MODEL, long_text(n), 1, 2], ABUSER))
    _until_idle(server)
    return f"{sum(event is not None for event in taken)} of 239 taken"


def uncollected_joins(server: Server) -> str:
    """900 patterns into one session, of four visitors, none collected."""
    handler = _api_handler(server, "pattern")
    taken = at_once(900, lambda n: join(server, handler, [EMBEDDED_MODEL, long_text(n), 1, 2], "one session", ABUSER + n % 4))
    _until_idle(server)
    return tally(taken)


def long_sessions(server: Server) -> str:
    """150 page events with a session hash of 5 MB each."""
    handler = handlers(server)["model.change"]
    return tally(at_once(150, lambda n: join(server, handler, [EMBEDDED_MODEL], f"{n:06}" + "s" * 5_000_000, ABUSER), 8))


def large_lists(server: Server) -> str:
    """Four batches of 100 MB."""
    body = b'{"data":["headroles-tiny",[' + b'"king",' * 14_000_000 + b'"king"],false]}'
    return tally(send(server, "/gradio_api/call/analyze_batch", body, {**JSON, **address(ABUSER)})[0] for _ in range(4))


def uploads(server: Server) -> str:
    """Two files of 200 MB to the upload route."""
    parts = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.bin"\r\n\r\n'
        + b"\0" * (200 * MEGABYTE)
        + b"\r\n--x--\r\n"
    )
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    answers = [send(server, "/gradio_api/upload", parts, {**kind, **address(ABUSER)}) for _ in range(2)]
    leaks = any(str(server.home).encode() in answer for _, answer in answers)
    return f"{[status for status, _ in answers]}{', tells the path' if leaks else ''}"


def made_up_sessions(server: Server) -> str:
    """2,001 events of pages that do not exist, while another visitor's long analysis is under way."""
    texts = [long_text(n) for n in range(64)]
    ended: list[str] = []
    event = hand_in(server, "analyze_batch", [EMBEDDED_MODEL, texts, True], VICTIM)
    assert event is not None
    waits = threading.Thread(target=lambda: ended.append(collect(server, "analyze_batch", event, VICTIM)))
    waits.start()
    handler = handlers(server)["model.change"]
    taken = at_once(2001, lambda n: join(server, handler, [EMBEDDED_MODEL], f"made up {n}", ABUSER))
    waits.join()
    return f"{tally(taken)}; the other's analysis: {ended[0][:80]!r}"


def heatmaps(server: Server) -> str:
    """A minute's share of pictures of long texts, all at once."""
    return _collected(server, "heatmap", 239, lambda n: [EMBEDDED_MODEL, long_text(n), 1, 2, "", "png"])


def batches(server: Server) -> str:
    """64 batches of 64 long texts, of 22 visitors."""
    texts = [long_text(n) for n in range(64)]
    return _collected(
        server, "analyze_batch", 64, lambda n: [EMBEDDED_MODEL, [f"{text} {n}" for text in texts], False], visitors=22
    )


def refusals(server: Server) -> str:
    """Far more than may wait, at once; then as many as a minute's share has left if refusals are free."""

    def heatmap(number: int) -> str:
        try:
            return call(server, "heatmap", [EMBEDDED_MODEL, long_text(number), 1, 2, "", "png"], ABUSER)
        except ConnectionError:
            return "not taken"

    answers = at_once(200, heatmap, 200)
    worked = sum(answer.startswith("complete") for answer in answers)
    after = at_once(
        239 - worked,
        lambda n: call(server, "models", [], ABUSER) and call(server, "analyze", [EMBEDDED_MODEL, SENTENCE, False], ABUSER),
        4,
    )
    return (
        f"{worked} of 200 served; then {sum(answer.startswith('complete') for answer in after)} of {len(after)} short ones served"
    )


def hanging_hub(server: Server) -> str:
    """239 names that only a Hub knows which accepts and never answers; meanwhile another visitor asks for one more."""
    events = [hand_in(server, "analyze", [f"someone/model{n}", SENTENCE, False], ABUSER) for n in range(239)]
    started = time.monotonic()
    other = call(server, "analyze", ["someone/else", SENTENCE, False], VICTIM)
    took = time.monotonic() - started
    return f"{sum(event is not None for event in events)} of 239 taken; another's model after {took:.1f} s: {other[:120]!r}"


def files_to_handlers(server: Server) -> str:
    """File dicts where a page's handlers expect texts; counts how often gradio fetches what they name."""
    with _listener() as (port, met):
        names = handlers(server)
        for field in ({"url": f"http://127.0.0.1:{port}/x"}, {"path": f"http://127.0.0.1:{port}/x"}, {"path": "/etc/passwd"}):
            value = {**field, "meta": {"_type": "gradio.FileData"}}
            for name in ("explore.click", "model.change", "tools.select"):
                for data in ([value] * len(names[name]["inputs"]), [[value]] * len(names[name]["inputs"])):
                    join(server, names[name], data, "files", ABUSER, {"download": value})
        time.sleep(3)
        _, answer = send(server, "/gradio_api/queue/data?session_hash=files", None, address(ABUSER), 20)
        log = (server.home / "log").read_text("utf-8", "replace")
        return f"{met[0]} fetches; tracebacks in the log: {log.count('Traceback')}; tells a path: {b'/etc/passwd' in answer}"


def open_streams(server: Server) -> str:
    """A thousand event streams, held open."""
    return _held(
        server, 1000, lambda n: f"GET /gradio_api/heartbeat/stream{n} HTTP/1.1\r\nHost: x\r\n{_forwarded(ABUSER)}\r\n\r\n"
    )


def connections(server: Server) -> str:
    """3,000 connections of each of three kinds: silent, half a request, an open stream."""
    kinds: dict[str, Callable[[int], str]] = {
        "silent": lambda n: "",
        "half": lambda n: f"POST /gradio_api/queue/join HTTP/1.1\r\nHost: x\r\n{_forwarded(n)}\r\nContent-Length: 900\r\n\r\n{{",
        "stream": lambda n: f"GET /gradio_api/heartbeat/c{n} HTTP/1.1\r\nHost: x\r\n{_forwarded(n)}\r\n\r\n",
    }
    return "; ".join(f"{name}: {_held(server, 3000, first, 15)}" for name, first in kinds.items())


def _collected(server: Server, endpoint: str, count: int, data: Callable[[int], list], visitors: int = 1) -> str:
    def one(number: int) -> str:
        try:
            answer = call(server, endpoint, data(number), ABUSER + number % visitors)
        except OSError:
            return "not taken"
        return "complete" if answer.startswith("complete") else answer.split(";")[0][:90]

    return tally(at_once(count, one, count))


def _held(server: Server, count: int, first: Callable[[int], str], seconds: float = 30) -> str:
    sockets, refused = [], 0
    try:
        for number in range(count):
            try:
                sockets.append(socket.create_connection(("127.0.0.1", server.port), timeout=5))
                sockets[-1].sendall(first(number).encode())
            except OSError:
                refused += 1
        time.sleep(seconds)
        return f"{len(sockets)} held, {refused} refused"
    finally:
        for held in sockets:
            held.close()


@contextmanager
def _listener() -> Iterator[tuple[int, list[int]]]:
    """A port that accepts and never answers, and how often somebody came."""
    met, held = [0], []
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:

        def accept() -> None:
            while True:
                try:
                    held.append(listening.accept()[0])
                except OSError:
                    return
                met[0] += 1

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1], met


def _forwarded(visitor: int) -> str:
    return f"X-Forwarded-For: {address(visitor)['X-Forwarded-For']}"


def _api_handler(server: Server, name: str) -> dict:
    status, answer = send(server, "/config", None, {})
    assert status == 200
    found = next(dependency for dependency in json.loads(answer)["dependencies"] if dependency["api_name"] == name)
    return {**found, "target": None}


def _until_idle(server: Server) -> None:
    """Until a request of somebody else is served as if nobody were there, or a minute has passed."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        started = time.monotonic()
        with suppress(ConnectionError):  # refused, which is no answer either
            answer = call(server, "analyze", [EMBEDDED_MODEL, SENTENCE, False], VICTIM)
            if answer.startswith("complete") and time.monotonic() - started < 0.3:
                return
        time.sleep(0.5)


ATTACKS: dict[str, Callable[[Server], str]] = {
    "uncollected": uncollected,
    "uncollected-joins": uncollected_joins,
    "long-sessions": long_sessions,
    "large-lists": large_lists,
    "uploads": uploads,
    "made-up-sessions": made_up_sessions,
    "heatmaps": heatmaps,
    "batches": batches,
    "refusals": refusals,
    "hanging-hub": hanging_hub,
    "strangers": strangers,
    "files": files_to_handlers,
    "streams": open_streams,
    "connections": connections,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(['calls', 'events', *ATTACKS])}; all by default")
    parser.add_argument("--rest", type=float, default=60, help="seconds after an attack, before what remains is measured")
    parser.add_argument("--calls", type=int, default=10_000, help="ordinary calls")
    parser.add_argument("--events", type=int, default=2_000, help="ordinary page events")
    asked = parser.parse_args()
    attacks = {"calls": partial(ordinary_calls, count=asked.calls), "events": partial(page_events, count=asked.events), **ATTACKS}
    if unknown := set(asked.names) - set(attacks):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    allow_many_files()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; memory before, at worst, {asked.rest:.0f} s after")
    for name in asked.names or attacks:
        with _listener() as (port, _):
            hub = {"HEADROLES_ANY_MODEL": "1", "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": f"http://127.0.0.1:{port}"}
            settings = {"hanging-hub": hub, "strangers": {"HEADROLES_ANY_MODEL": "1"}}.get(name, {})
            with besieged(**settings) as server, watched(server, asked.rest) as report:
                said = attacks[name](server)
        print(f"{name:18}{report.line()}\n{'':18}{said}", flush=True)
        for failure in sorted(set(report.failures))[:3]:
            print(f"{'':18}another was told: {failure!r}", flush=True)


if __name__ == "__main__":
    main()
