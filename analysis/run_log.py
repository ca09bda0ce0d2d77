"""Lists of models for one command: names, revisions and shards; and the log of how each went."""

import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headroles.core.records.atomic_files import write_whole
from headroles.core.records.record_files import record_file_name

from .pipeline.runs import Outcome

RETRY = ".retry"  # behind the name of a log: the models that have no record yet, as a list that `--models` takes


def parse_names(text: str) -> list[str]:
    """The names in a list, one a line; what follows a `#` is a comment, and empty lines are ignored."""
    names = (line.partition("#")[0].strip() for line in text.splitlines())
    return [name for name in names if name]


def expand_revisions(models: Sequence[str], revisions: Sequence[str]) -> list[str]:
    """Each model at each revision, as `NAME@REVISION`; the models themselves without revisions.

    Args:
        models: their names.
        revisions: branches, tags or commits.
    """
    return [f"{model}@{revision}" for model in models for revision in revisions] if revisions else list(models)


def select_shard(models: Sequence[str], number: int, of: int) -> list[str]:
    """Every `of`-th model, so that neighbours in a list, which are alike, are spread.

    Args:
        models: all of them.
        number: of the shard, from 1.
        of: number of shards.
    """
    return list(models[number - 1 :: of])


@dataclass
class RunLog:
    """A file with one JSON line for every outcome, and beside it a list of what has to be tried again.

    Attributes:
        path: of the log; lines are added to an existing one.
        names: what each model was asked for as, by its name in the record.
    """

    path: Path
    names: dict[str, str]
    _done: set[str] = field(default_factory=set)

    def add(self, outcome: Outcome) -> None:
        """Writes a line at once, so that the log of a run that is killed has all that had ended.

        Raises:
            OSError: where it cannot be written.
        """
        line = {
            "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "model": outcome.model,
            "status": outcome.status,
            "seconds": round(outcome.seconds, 3),
            "peak_bytes": outcome.peak_bytes,
            "record": record_file_name(outcome.model) if outcome.record else None,
            "revision": outcome.record.revision if outcome.record else None,
            "reason": outcome.reason or None,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        if outcome.status != "failed":
            self._done.add(outcome.model)

    def close(self) -> Path | None:
        """Lists those that failed or were never reached in a file and returns its path; None, and no file, for none."""
        path = self.path.with_name(self.path.name + RETRY)
        left = [given for name, given in self.names.items() if name not in self._done]
        if not left:
            path.unlink(missing_ok=True)
            return None
        write_whole(path, "".join(f"{name}\n" for name in left).encode())
        return path
