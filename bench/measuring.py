"""Times, memory and load, and what they are measured with: models of random weights, and texts of exactly so many tokens."""

import copy
import ctypes
import gc
import json
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig

from headroles.core.registry import EMBEDDED_MODEL
from headroles.models.loading.loader import LoadedModel, load_model

LOCUSTFILE = Path(__file__).parent / "locustfile.py"


def compare(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Times code that takes turns, so that a machine whose speed drifts does not favour one side.

    Args:
        contenders: what to run, by name.
        rounds: how often each runs, beside a first run that is not counted.

    Returns:
        The median seconds of each.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_memory(run: Callable[[], object]) -> int:
    """Returns how many bytes code takes at its peak beyond what the process held before (Linux's own high-water mark)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # resets the mark to what is held now
    before = _status("VmRSS")
    run()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text("ascii").splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def run_locust(host: str, users: int, *arguments: object, meanwhile: Callable[[], object] | None = None) -> dict[str, dict]:
    """Runs user classes of locustfile.py against a server.

    Args:
        host: the server's address.
        users: how many, of all classes together.
        arguments: names of the classes, and options of locust and of locustfile.py.
        meanwhile: what to do until the users are stopped; without it the run ends by itself.

    Returns:
        What locust measured of each class, by its name; see `locustfile.write_report`.
    """
    with TemporaryDirectory() as folder:
        report, log = Path(folder) / "report.json", Path(folder) / "log"
        options = ("--host", host.rstrip("/"), "--users", users, "--spawn-rate", users, "--report", report, *arguments)
        command = [sys.executable, "-m", "locust", "-f", LOCUSTFILE, "--headless", "--only-summary", *map(str, options)]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
            if meanwhile:
                meanwhile()
                process.terminate()
            process.wait()
        assert report.exists(), log.read_text("utf-8")
        return json.loads(report.read_text("utf-8"))


def random_model(name: str, config: PreTrainedConfig) -> LoadedModel:
    """Returns a model with random weights and the embedded model's tokenizer, whose ids all lie inside the vocabularies."""
    torch.manual_seed(0)
    # a config of its own: models with one config would share their attention function
    model = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=torch.float32).eval()
    model.config.architectures = [type(model).__name__]
    return LoadedModel(name, model, load_model(EMBEDDED_MODEL).tokenizer, "random")


def make_prompts(loaded: LoadedModel, lengths: Sequence[int], seed: int = 0) -> list[str]:
    """Makes texts of random words that are one token of the model each, a capital one first.

    Args:
        loaded: the model.
        lengths: how many tokens each text has, a BOS counted.
        seed: another seed gives other texts.
    """
    ids = range(len(loaded.tokenizer))
    texts = [text for text, i in zip(loaded.token_texts(tuple(ids)), ids) if loaded.tokenizer.encode(text) == [*loaded.bos, i]]
    first = [text for text in texts if re.fullmatch("[A-Z][a-z]+", text)]
    words = [text for text in texts if re.fullmatch(" [a-z]{2,}", text)]
    generator = random.Random(seed)
    return [generator.choice(first) + "".join(generator.choices(words, k=length - len(loaded.bos) - 1)) for length in lengths]
