"""Two replicas behind nginx under load, one of which dies: `python -m bench.replicas [--visitors 16] [--calls 12]`.

Needs nginx. Everything stays on this machine: visitors are addresses of its loopback, and all share its cores.
"""

import argparse
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.load import ask_at_once
from bench.measuring import make_prompts
from headroles.core.registry import EMBEDDED_MODEL
from headroles.explorer import Explorer
from headroles.models.loading.loader import load_model
from tests.fixtures.replicas import has_nginx, replicas


def main() -> None:
    """Prints what is answered by both replicas, while one dies, and while it is gone, and how soon it serves again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=16, choices=range(2, 101), metavar="2..100")
    parser.add_argument("--calls", type=int, default=12, choices=range(1, 101), metavar="1..100", help="for each visitor")
    asked = parser.parse_args()
    if not has_nginx():
        raise SystemExit("There is no nginx on this machine; `apt-get install nginx` brings one.")
    lengths = [16 + number % 48 for number in range(asked.visitors * asked.calls)]
    explorer, plain = Explorer(), load_model(EMBEDDED_MODEL)
    print(f"{asked.visitors} visitors, {len(lengths)} calls; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")
    with TemporaryDirectory() as folder, replicas(Path(folder), HF_HUB_OFFLINE="1") as cluster:
        visitors = range(2, asked.visitors + 2)  # as locustfile.Caller counts them
        of_visitors = [cluster.replica_of(visitor) for visitor in visitors]
        victim = max(cluster.replicas, key=of_visitors.count)
        kill = ("--kill", cluster.replicas[victim].pid)
        phases = (("both replicas", ()), ("one dies after a third", kill), ("the other alone", ()))
        for seed, (title, options) in enumerate(phases):
            prompts = make_prompts(plain, lengths, seed)  # other texts each time, which no replica knows
            told = ask_at_once(explorer, f"http://127.0.0.1:{cluster.port}", plain.name, prompts, asked.visitors, *options)
            print(
                f"  {title:24}{told['per_second']:6.1f} calls/s   p50 {told['p50']:.0f} ms   p95 {told['p95']:.0f} ms   "
                f"{told['calls'] - told['failures']} of {told['calls']} answered as serially   {'; '.join(told['errors'])}",
                flush=True,
            )
        started = time.monotonic()
        cluster.replicas[victim].wait(30)  # locust ended it
        cluster.restart(victim)
        while victim not in map(cluster.replica_of, visitors):
            time.sleep(0.2)
        print(f"  the dead one, with {of_visitors.count(victim)} visitors, serves again after {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main()
