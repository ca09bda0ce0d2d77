"""Every fault of the Hub against every call of a pull: `python -m tests.pull_faults FOLDER` prints what a visitor gets, as JSON.

A program of its own, because huggingface_hub reads HF_ENDPOINT when it is imported. Each case has a dataset of its own, so that
all can run at once.
"""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.dataset_hub import DatasetHub
from tests.hub import MEMBERS_TOKEN

CALLS = {
    "description": "GET /api/datasets/org/{case}",
    "size": "HEAD /datasets/org/{case}/",
    "record": "GET /datasets/org/{case}/",
}
FAULTS = ("drop", "hang", 503, 429, 401, 404, "truncate", "page", "nonsense", "stale")
WAIT = 90


def main(folder: Path) -> None:
    with DatasetHub(folder / "hub") as hub:
        os.environ |= {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(folder / "home"),
            "HF_TOKEN": MEMBERS_TOKEN,
            "HF_HUB_DOWNLOAD_TIMEOUT": "2",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        cases = [(fault, call) for call in CALLS for fault in FAULTS]
        with ThreadPoolExecutor(len(cases)) as threads:
            rows = list(threads.map(lambda case: Case(hub, folder, *case).run(), cases))
        pinned = pinned_date(hub, folder)
        hub.stop()
        rows.append(Case(hub, folder, "refuse", "every", prepared=True).run())
        print(json.dumps({"rows": rows, "pinned": pinned}))


def pinned_date(hub: DatasetHub, folder: Path) -> str:
    """The date of the record that a server gets which is pinned to the first of two."""
    from headroles.hub.store import RecordStore
    from headroles.settings import Settings

    case = Case(hub, folder, "none", "pinned")
    case.publish("2026-01-01")
    first = case.repository.resolve("main")
    case.publish("2026-02-02")
    store = RecordStore(Settings(home=folder / "pinned", dataset="org/pinned-none", revision=first))
    store.refresh("headroles-tiny").wait(WAIT)
    return store.load("headroles-tiny").analysis_date


class Case:
    """One dataset that has a record, then a newer one that the fault keeps from coming."""

    def __init__(self, hub: DatasetHub, folder: Path, fault: int | str, call: str, prepared: bool = False) -> None:
        # only now, so that the environment is set before huggingface_hub is imported
        from headroles.hub import store
        from headroles.models.loading import load_model
        from headroles.settings import Settings

        self.hub, self.fault, self.call, self.is_away = hub, fault, call, prepared
        self.name = f"{call}-{fault}" if not prepared else "record-stale"  # whose copy is at hand
        self.make = lambda home: store.RecordStore(Settings(home=folder / home, dataset=f"org/{self.name}"))
        self.tiny = load_model("headroles-tiny")
        self.embedded = store.load_head_categories("headroles-tiny", Settings(home=folder / "none"))
        if not prepared:
            self.repository = hub.create(f"org/{self.name}")

    def publish(self, date: str) -> None:
        record = self.embedded.model_copy(update={"analysis_date": date})
        path = "head_categories/headroles-tiny.json"
        head = self.repository.resolve("main")
        assert self.repository.commit("refs/heads/main", head, {path: record.to_json().encode()}, date)

    def run(self) -> dict[str, object]:
        from headroles.errors import NoHeadCategoriesError

        if not self.is_away:
            self.publish("2026-01-01")
            before = self.make(f"{self.name}-kept")
            before.refresh("headroles-tiny").wait(WAIT)
            assert before.find(self.tiny)[1].kind == "published"
            self.publish("2026-02-02")
            headers = {"Retry_After": "1"} if self.fault == 429 else {}
            self.hub.fail(CALLS[self.call].format(case=self.name), self.fault, **headers)

        row = {"call": self.call, "fault": str(self.fault)}
        started = time.monotonic()
        kept = self.make(f"{self.name}-kept")
        _, source = kept.find(self.tiny)
        row |= {"with a copy": source.kind, "seconds": time.monotonic() - started, "date": source.analysis_date}

        started = time.monotonic()
        bare = self.make(f"{self.name}-{self.fault}-bare")
        row |= {"without": bare.find(self.tiny)[1].kind, "seconds without": time.monotonic() - started}

        started = time.monotonic()
        try:
            bare.load("org/unknown")
        except NoHeadCategoriesError:
            row |= {"unknown model": "no roles yet", "seconds unknown": time.monotonic() - started}

        if (job := kept.refresh("headroles-tiny")) is not None:
            job.wait(WAIT)
            assert job.is_done, self.name
        row["note"] = kept.find(self.tiny)[1].note
        if not self.is_away:
            self.hub.recover(CALLS[self.call].format(case=self.name))
            kept._due.clear()  # as after RETRY_SECONDS
            kept.refresh("headroles-tiny").wait(WAIT)
            source = kept.find(self.tiny)[1]
            row |= {"afterwards": source.kind, "date afterwards": source.analysis_date, "note afterwards": source.note}
        return row


if __name__ == "__main__":
    main(Path(sys.argv[1]))
