"""Folders that a stranger may have made of the embedded model: each costs the server a trial or a check."""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.siege import SENTENCE, Server, at_once, call, tally
from headroles.core.registry import EMBEDDED_FOLDER

BACKTRACKING = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
DOUBLING = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}


def _honest(folder: Path) -> None:
    pass


def _backtracks(folder: Path) -> None:
    _change(folder / "tokenizer.json", lambda file: {"pre_tokenizer": _before(BACKTRACKING, file["pre_tokenizer"])})


def _doubles(folder: Path) -> None:
    _change(folder / "tokenizer.json", lambda _: {"normalizer": {"type": "Sequence", "normalizers": [DOUBLING] * 40}})


def _has_many_layers(folder: Path) -> None:
    _change(folder / "config.json", lambda _: {"num_hidden_layers": 12_000})


def _is_a_pipe(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")


KINDS: Mapping[str, Callable[[Path], None]] = {
    change.__name__.strip("_"): change for change in (_honest, _backtracks, _doubles, _has_many_layers, _is_a_pipe)
}


def strangers(server: Server) -> str:
    """Each kind four times, by four visitors at once."""
    folders = [str(make(kind, server.home / f"{kind}-{number}")) for kind in KINDS for number in range(4)]
    answers = at_once(len(folders), lambda n: call(server, "analyze", [folders[n], SENTENCE, False], n % 4), 4)
    return tally(re.sub(r"\d+|/\S+", "…", answer[:150]) for answer in answers)


def make(kind: str, folder: Path) -> Path:
    """A folder of one of KINDS."""
    shutil.copytree(EMBEDDED_FOLDER, folder)
    KINDS[kind](folder)
    return folder


def _before(part: dict, rest: dict) -> dict:
    return {"type": "Sequence", "pretokenizers": [part, rest]}


def _change(path: Path, change: Callable[[dict], dict]) -> None:
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**content, **change(content)}), "utf-8")
