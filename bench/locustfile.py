"""Users of a running server, for locust: programs, one who abuses it, and the victim of that.

    locust -f bench/locustfile.py --headless --users 240 --spawn-rate 240 --host URL --attack pictures Victim Caller

`bench.load`, `bench.replicas` and `bench.abuse` start it so. X-Forwarded-For tells visitors apart, as behind a proxy.
"""

import itertools
import json
import os
import signal
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import gevent
import requests
from locust import HttpUser, constant_pacing, events, task
from locust.env import Environment
from locust.exception import StopUser

from bench.answers import is_equal, read_answer
from bench.attacks import ATTACKS, SENTENCE, VICTIM
from headroles.core.registry import EMBEDDED_MODEL

TIMEOUT = 120  # seconds until a request counts as never answered


@events.init_command_line_parser.add_listener
def add_arguments(parser: ArgumentParser) -> None:
    """Adds the options of this file to locust's."""
    parser.add_argument("--attack", choices=ATTACKS, help="what callers do")
    parser.add_argument(
        "--prompts", type=Path, help="a JSON list of [model, prompt, serial answer] for callers to analyse instead"
    )
    parser.add_argument("--calls", type=int, help="of all callers together; the run ends with the last")
    parser.add_argument("--kill", type=int, help="the number of a process that callers end after a third of the calls")
    parser.add_argument("--report", type=Path, help="a JSON file for the statistics of each class")


@events.quitting.add_listener
def write_report(environment: Environment, **_: object) -> None:
    """Writes what locust measured of each class: numbers of calls, calls a second, and milliseconds."""
    report = {}
    for (name, method), entry in environment.stats.entries.items():
        if method == "CALL":
            errors = [each for each in environment.stats.errors.values() if (each.name, each.method) == (name, method)]
            report[name] = {
                "calls": entry.num_requests,
                "failures": entry.num_failures,
                "per_second": entry.total_rps,
                "p50": entry.get_response_time_percentile(0.5),
                "p95": entry.get_response_time_percentile(0.95),
                "longest": entry.max_response_time,
                "errors": [f"{each.occurrences} x {each.error}" for each in errors],
            }
    environment.parsed_options.report.write_text(json.dumps(report), "utf-8")  # type: ignore[union-attr]


@cache
def number_of(host: str, endpoint: str) -> int:
    """Returns the number that the server gives an endpoint's function."""
    config = requests.get(f"{host}/config", timeout=TIMEOUT).json()
    return next(each["id"] for each in config["dependencies"] if each["api_name"] == endpoint)


@cache
def prompts(path: Path) -> list[tuple[str, str, object]]:
    """Returns models, prompts and serial answers."""
    return json.loads(path.read_text("utf-8"))


class Visitor(HttpUser):
    """Somebody who calls the API or opens the page."""

    abstract = True

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Counts what happens inside as one call of the class, which fails where it raises."""
        started, failure = time.perf_counter(), None
        try:
            yield
        except Exception as error:  # whatever went wrong, this call failed and the user goes on
            failure = error
        milliseconds = (time.perf_counter() - started) * 1000
        call = {"request_type": "CALL", "name": type(self).__name__, "context": {}}
        self.environment.events.request.fire(**call, response_time=milliseconds, response_length=0, exception=failure)

    def send(self, path: str, visitor: int, method: str = "POST", **content: object) -> str:
        """Sends a request and returns the body of the answer.

        Raises:
            RuntimeError: when the server does not take it.
        """
        headers = {"X-Forwarded-For": f"8.{visitor >> 16 & 255}.{visitor >> 8 & 255}.{visitor & 255}"}
        url, name = f"/gradio_api/{path}", path.split("/")[0]
        answer = self.client.request(method, url, name=name, headers=headers, timeout=TIMEOUT, **content)  # type: ignore[arg-type]
        if answer.status_code != 200:
            raise RuntimeError(" ".join(f"not taken: {answer.status_code} {answer.text or ''}".split())[:120])
        return answer.text

    def call(self, endpoint: str, data: list, visitor: int) -> object:
        """Calls an endpoint and returns its result."""
        event = json.loads(self.send(f"call/{endpoint}", visitor, json={"data": data}))["event_id"]
        return read_answer(self.send(f"call/{endpoint}/{event}", visitor, "GET"))

    def join(self, endpoint: str, data: list, session: str, visitor: int) -> None:
        """Calls an endpoint as the page does, which collects its answers by the stream of its session."""
        event = {"fn_index": number_of(self.host or "", endpoint), "data": data, "session_hash": session}
        self.send("queue/join", visitor, json=event)


class Victim(Visitor):
    """Somebody who does nothing but ask for an analysis twice a second."""

    fixed_count = 1
    wait_time = constant_pacing(0.5)

    @task
    def analyze(self) -> None:
        """Asks for another text each time."""
        with self.measured():
            self.call("analyze", [EMBEDDED_MODEL, f"{SENTENCE} {time.time_ns()}", False], VICTIM)


class Caller(Visitor):
    """Users who make `--calls` calls together, each from an address of its own."""

    addresses, begun, ended = itertools.count(2), itertools.count(), itertools.count(1)

    def on_start(self) -> None:
        """Takes the next address of this machine's loopback."""
        source = (f"127.0.0.{next(self.addresses)}", 0)
        self.client.get_adapter("http://").init_poolmanager(1, 1, source_address=source)  # type: ignore[attr-defined]

    @task
    def make_next(self) -> None:
        """Makes the next call, and ends the run after the last."""
        options, runner = self.environment.parsed_options, self.environment.runner
        assert options
        assert runner
        if (number := next(self.begun)) >= options.calls:
            raise StopUser
        if options.kill and number == options.calls // 3:
            os.kill(options.kill, signal.SIGKILL)
        with self.measured():
            if options.attack:
                ATTACKS[options.attack].call(self, number)
            else:
                self.compare(number, *prompts(options.prompts)[number])
        if next(self.ended) == options.calls:
            gevent.spawn(runner.quit)  # not here: it ends this user, too

    def compare(self, visitor: int, model: str, prompt: str, serial: object) -> None:
        """Asks for one analysis.

        Raises:
            RuntimeError: when the answer is another than the serial one.
        """
        if not is_equal(self.call("analyze", [model, prompt], visitor), serial):
            raise RuntimeError("another answer than the serial one")
