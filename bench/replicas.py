"""Two replicas behind nginx under load, one of which dies: what is answered, by whom, and what is lost.

    python -m bench.replicas [--visitors 16] [--calls 12]

Needs nginx. Everything stays on this machine: visitors are addresses of its loopback, of which each sends its calls one after the
other, and the replicas, the proxy and the visitors share its cores.
"""

import argparse
import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.load import is_equal, make_prompts, percentile
from headroles.core.registry import EMBEDDED_MODEL
from headroles.explorer import Explorer
from headroles.models.loading.loader import load_model
from headroles.render.api.serialize import analysis_result
from tests.fixtures.replicas import Cluster, has_nginx, replicas

LEAST = 1 / 3  # of all calls are answered before a replica is killed


@dataclass(frozen=True)
class Call:
    """One of a visitor, from `began` to `ended`, in seconds; `replica` took it in, `answer` is None where it was lost."""

    visitor: int
    prompt: str
    began: float
    ended: float
    replica: int | None
    answer: object


def call(cluster: Cluster, visitor: int, prompt: str) -> Call:
    began = time.monotonic()
    taken, came = cluster.call("analyze", [EMBEDDED_MODEL, prompt], visitor)
    answer = json.loads(came.body.split("data: ")[-1])[0] if "event: complete\n" in came.body and came.status else None
    return Call(visitor, prompt, began, time.monotonic(), taken.replicas[-1] if taken.replicas else None, answer)


def load(cluster: Cluster, prompts: list[list[str]], victim: int | None = None) -> tuple[list[Call], float]:
    """All calls, a list of prompts a visitor; and when the victim was killed, a third of the way."""
    done: list[Call] = []

    def visit(number: int) -> None:
        for prompt in prompts[number]:
            done.append(call(cluster, number + 1, prompt))

    killed = float("inf")
    with ThreadPoolExecutor(len(prompts)) as threads:
        visits = [threads.submit(visit, number) for number in range(len(prompts))]
        if victim is not None:
            while len(done) < LEAST * sum(map(len, prompts)):
                time.sleep(0.01)
            cluster.kill(victim)
            killed = time.monotonic()
        for visit_ in visits:
            visit_.result()
    return done, killed


def report(title: str, calls: list[Call], serial: dict[str, object]) -> None:
    answered = [each for each in calls if each.answer is not None]
    waits = [each.ended - each.began for each in answered]
    seconds = max(each.ended for each in calls) - min(each.began for each in calls)
    by = {port: sum(each.replica == port for each in calls) for port in {each.replica for each in calls}}
    equal = sum(is_equal(each.answer, serial[each.prompt]) for each in answered)
    print(
        f"  {title:30}{len(calls) / seconds:6.1f} calls/s   p50 {percentile(waits, 50):.2f} s   p95 {percentile(waits, 95):.2f} s"
        f"   {len(answered)} of {len(calls)} answered, {equal} equal to the serial answers   by replica {sorted(by.values())}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=16, choices=range(2, 101), metavar="2..100")
    parser.add_argument("--calls", type=int, default=12, choices=range(1, 101), metavar="1..100", help="of each visitor")
    args = parser.parse_args()
    if not has_nginx():
        raise SystemExit("There is no nginx on this machine; `apt-get install nginx` brings one.")
    plain, explorer = load_model(EMBEDDED_MODEL), Explorer()
    lengths = [16 + number % 48 for number in range(args.calls)]
    prompts = [make_prompts(plain, lengths, seed=visitor) for visitor in range(args.visitors)]
    serial = {p: json.loads(json.dumps(analysis_result(explorer.analyze(EMBEDDED_MODEL, p)))) for own in prompts for p in own}
    print(f"{args.visitors} visitors with {args.calls} calls each; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")
    with tempfile.TemporaryDirectory() as folder, replicas(Path(folder), HF_HUB_OFFLINE="1") as cluster:
        calls, _ = load(cluster, prompts)
        report("both replicas", calls, serial)
        victim = max(cluster.replicas, key=[each.replica for each in calls].count)
        calls, killed = load(cluster, prompts, victim)
        report("one dies after a third", calls, serial)
        lost = [each for each in calls if each.answer is None]
        own = [each for each in lost if each.replica == victim and each.began <= killed]
        later = [each for each in calls if each.began > killed]
        print(f"  lost: {len(lost)} of {len(calls)} ({len(lost) / len(calls):.1%}), {len(own)} of them under way where it died;")
        print(f"  of {len(later)} calls begun after its death {sum(each.answer is None for each in later)} were lost")
        started = time.monotonic()
        cluster.restart(victim)
        while victim not in {cluster.replica_of(visitor + 1) for visitor in range(args.visitors)}:
            time.sleep(0.2)
        print(f"  it serves again {time.monotonic() - started:.1f} s after it is started anew")


if __name__ == "__main__":
    main()
