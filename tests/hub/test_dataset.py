"""Roles from a dataset repo: swapped in when they came and passed the checks, whatever the Hub does meanwhile."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headroles.hub.sync import HUB_WAIT_SECONDS
from tests.conftest import tables
from tests.fixtures.patience import PATIENCE

pytestmark = [pytest.mark.processes, pytest.mark.thorough]  # a sweep over all faults at all calls

ROOT = Path(__file__).parent.parent.parent
COLUMNS = ["call", "fault", "with a copy", "waits", "without", "waits without", "waits unknown", "afterwards", "note"]
# an answer without a body cannot be cut off, and records are looked up by commit, whatever their ETag
HARMLESS = {
    ("description", "nonsense"),
    ("description", "stale"),
    ("size", "truncate"),
    ("size", "stale"),
    ("record", "stale"),
}


@pytest.fixture(scope="module")
def pulled(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("faults")
    command = [sys.executable, "-m", "tests.fixtures.pull_faults", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    tables["what a visitor gets while the Hub fails, and afterwards"] = [
        {column: row.get(column, "") for column in COLUMNS} for row in found["rows"]
    ]
    return found


@pytest.fixture(scope="module")
def rows(pulled) -> dict[tuple[str, str], dict]:
    return {(row["call"], row["fault"]): row for row in pulled["rows"]}


def test_a_pinned_revision_is_the_one_that_is_shown(pulled):
    assert pulled["pinned"] == "2026-01-01"


def test_no_fault_keeps_anybody_waiting_for_roles_that_are_at_hand(rows):
    assert len(rows) == 31
    assert all((row["waits"], row["waits without"]) == ([], []) for row in rows.values())
    assert {row["with a copy"] for row in rows.values()} <= {"cached", "published"}
    assert {row["without"] for row in rows.values()} <= {"embedded", "published"}


def test_a_model_without_roles_at_hand_waits_three_seconds_at_most(rows):
    assert HUB_WAIT_SECONDS == 3
    assert all((row["unknown model"], row["waits unknown"]) == ("no roles yet", ["3 s at most"]) for row in rows.values())


def test_every_fault_that_keeps_newer_roles_away_is_said_in_one_sentence_without_a_token(rows):
    for case, row in rows.items():
        harmless = row["note"] == ""
        assert harmless or row["note"].count("\n") == 0
        assert "hf_" not in row["note"]
        assert harmless == (case in HARMLESS), (case, row["note"])


def test_when_the_hub_comes_back_the_newest_roles_are_there_and_the_note_is_gone(rows):
    for row in rows.values():
        if row["fault"] != "refuse":
            assert (row["afterwards"], row["date afterwards"], row["note afterwards"]) == ("published", "2026-02-02", ""), row
