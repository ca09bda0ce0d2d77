"""The jobs of one account of the Hub: started, found again by their labels, and waited for."""

import time
import warnings
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from huggingface_hub import HfApi, JobInfo, get_token
from huggingface_hub.errors import HfHubHTTPError

from headroles.core.records.head_categories import HeadCategories
from headroles.errors import HubError, InvalidInputError, InvalidRecordError
from headroles.hub.dataset import fetch_record
from headroles.hub.repository import RepositoryFacts

from ..hub_errors import TRANSIENT, TROUBLE, asking_hub, describe, response_status
from ..pipeline.runs import AnalysisPlan, Outcome
from ..pipeline.up_to_date import is_up_to_date
from .job_spec import JobSpec
from .machines import Machine
from .scheduler import Event, Task, TaskEnded, TaskStarted

AT_ONCE = 16  # jobs of ours, so that a mistake in a list does not cost what all of it would
POLL_SECONDS = 10.0
AWAY_SECONDS = 600  # that the Hub may be silent while jobs run, before the run gives up
TRIES = 3  # to start one job
LONGEST_SECONDS = 6 * 3600  # of a job without --limit; the Hub's own is half an hour
LABEL, KIND, KEY = "headroles", "analysis", "headroles-work"
GOING = ("SCHEDULING", "RUNNING")
LOG_LINES, QUOTED_LINES, LONGEST_LINE = 20, 3, 200  # asked for and quoted of the log of a job that failed; characters
HIDDEN = "***"


@dataclass
class JobPool:
    """The account's jobs; see `scheduler.WorkerPool`.

    Attributes:
        plan: what is asked of every model.
        machine: what each job runs on.
        dataset: `ORG/DATASET`, to which the jobs push.
        specs: what each task's job runs, and what is known of its model.
    """

    plan: AnalysisPlan
    machine: Machine
    dataset: str
    specs: dict[Task, tuple[JobSpec, RepositoryFacts]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Looks up the account and its jobs that still run."""
        self.largest = self.machine.memory_bytes
        self._token = get_token() or ""
        if not self._token:
            raise InvalidInputError("--on hf-jobs needs an account of the Hub: `hf auth login`, or its token in HF_TOKEN.")
        self._api = HfApi()
        self._waiting: deque[Task] = deque()
        self._ids: dict[Task, str] = {}  # of those that were started
        self._running: set[Task] = set()  # those of which Started was reported
        self._silent_since: float | None = None
        with asking_hub("no job was started"):
            self._account = self._api.whoami()["name"]
            # jobs that earlier runs started and that still go on, by their keys
            self._earlier = {(info.labels or {}).get(KEY, ""): info.id for info in self._list({LABEL: KIND})}

    def now(self) -> float:
        """See `WorkerPool`."""
        return time.monotonic()

    def start(self, task: Task) -> None:
        """See `WorkerPool`."""
        self._waiting.append(task)

    def cancel(self, task: Task) -> None:
        """See `WorkerPool`."""
        if task in self._waiting:
            self._waiting.remove(task)
        self._running.discard(task)
        if (job_id := self._ids.pop(task, None)) is not None:
            with suppress(*TROUBLE):  # it ended, or the Hub is away, and then the job's own limit ends it
                self._api.cancel_job(job_id=job_id, namespace=self._account)

    def wait(self, seconds: float | None) -> Sequence[Event]:
        """See `WorkerPool`."""
        until = None if seconds is None else self.now() + seconds
        while True:
            if events := [*self._start_some(), *self._poll()]:
                return events
            if until is not None and self.now() >= until:
                return []
            time.sleep(POLL_SECONDS)

    def _start_some(self) -> list[Event]:
        """Starts as many jobs as may run at once; takes up a job that still runs, or the record that one has pushed."""
        events: list[Event] = []
        while self._waiting and len(self._ids) < AT_ONCE:
            task = self._waiting.popleft()
            if job_id := self._earlier.pop(self.specs[task][0].key, ""):
                self._ids[task] = job_id
            elif not self.plan.again and (record := self._pushed_before(task)):
                events.append(TaskEnded(task, Outcome(task.name, "written", 0.0, record=record)))
            else:
                self._ids[task] = self._create(task)
        return events

    def _pushed_before(self, task: Task) -> HeadCategories | None:
        with suppress(HubError):  # as where there is no dataset yet
            return self._pushed(task)

    def _pushed(self, task: Task) -> HeadCategories | None:
        """The record of a job's model in the dataset, if it is of this revision and recipe. Raises HubError where it is away."""
        try:
            record, _ = fetch_record(task.name, self.dataset, "main")
        except (InvalidRecordError, FileNotFoundError):
            return None
        facts = self.specs[task][1]
        # None where only the model itself could tell
        fits = record and is_up_to_date(record, task.name, facts, self.plan.sizes, self.plan.dtype) is not False
        return record if fits else None

    def _create(self, task: Task) -> str:
        """Starts a job and returns its id. Raises HubError where the Hub starts none."""
        work, _ = self.specs[task]
        for tries in range(1, TRIES + 1):
            try:
                return self._run(work)
            except TROUBLE as error:
                status = response_status(error)
                if tries == TRIES or status not in (None, *TRANSIENT):
                    advice = "; does the account pay for jobs, and may its token start them?" if status in (402, 403) else "."
                    raise HubError(f"The Hub {describe(error)} and started no job on {self.machine.name}{advice}") from error
            time.sleep(min(POLL_SECONDS, tries))
            with suppress(*TROUBLE):  # it may have been made although the answer was lost
                for found in self._list({KEY: work.key}):
                    return found.id
        raise AssertionError  # the last try returns or raises

    def _run(self, work: JobSpec) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the library says that its jobs are experimental
            made = self._api.run_uv_job(
                "headroles-analysis",
                script_args=list(work.arguments),
                dependencies=list(work.packages),
                secrets={"HF_TOKEN": self._token},
                flavor=self.machine.name,
                timeout=self.plan.limit or LONGEST_SECONDS,
                name=f"headroles-{work.key[:8]}",
                labels={LABEL: KIND, KEY: work.key},
                namespace=self._account,
            )
        return made.id

    def _list(self, labels: dict[str, str]) -> Iterable[JobInfo]:
        """The jobs with these labels that wait or run."""
        return self._api.list_jobs(status=list(GOING), labels=labels, namespace=self._account, timeout=30)

    def _poll(self) -> list[Event]:
        events: list[Event] = []
        try:
            going = {info.id: info.status.stage for info in self._list({LABEL: KIND})} if self._ids else {}
            for task, job_id in list(self._ids.items()):
                if going.get(job_id) == "RUNNING" and task not in self._running:
                    self._running.add(task)
                    events.append(TaskStarted(task))
                elif job_id not in going and (outcome := self._outcome(job_id, task)) is not None:
                    del self._ids[task]
                    self._running.discard(task)
                    events.append(TaskEnded(task, outcome))
            self._silent_since = None
        except (*TROUBLE, HubError) as error:
            self._silent_since = self.now() if self._silent_since is None else self._silent_since
            if not events and self.now() - self._silent_since >= AWAY_SECONDS:
                raise HubError(
                    f"The Hub {describe(error)}, for {AWAY_SECONDS // 60} minutes now; run the same command later to collect "
                    "what its jobs do meanwhile."
                ) from error
        return events

    def _outcome(self, job_id: str, task: Task) -> Outcome | None:
        """How a job ended that is not listed any more; None where it goes on after all."""
        try:
            info = self._api.inspect_job(job_id=job_id, namespace=self._account)
        except HfHubHTTPError as error:
            if error.response.status_code != 404:
                raise
            return Outcome(task.name, "failed", 0.0, reason=f"The job of {task.name} was deleted on the Hub.")
        if info.status.stage in GOING:
            return None
        seconds = float((info.durations.running_secs if info.durations else None) or 0)
        if info.status.stage == "COMPLETED":
            if record := self._pushed(task):
                return Outcome(task.name, "written", seconds, record=record)
            reason = f"The job of {task.name} ended, but {self.dataset} has no record of this revision and recipe"
        else:
            reason = self._reason(task.name, info, seconds)
        log = self._log_end(job_id)
        return Outcome(task.name, "failed", seconds, reason=f"{reason}. Its log ends: {log}" if log else f"{reason}.")

    def _reason(self, name: str, info: JobInfo, seconds: float) -> str:
        """Why a job failed, as far as the Hub says it."""
        message, limit = self._plain(info.status.message or ""), self.plan.limit or LONGEST_SECONDS
        late = "timeout" in message.lower() or "timed out" in message.lower() or seconds >= limit
        if late and info.status.stage in ("ERROR", "CANCELED"):
            return f"The job of {name} was stopped: it took longer than {limit:g} seconds; --limit allows more"
        if info.status.stage in ("CANCELED", "DELETED"):
            return f"The job of {name} was {'cancelled' if info.status.stage == 'CANCELED' else 'deleted'} on the Hub"
        return f"The job of {name} failed on the Hub{f', {message}' if message else ''}"

    def _log_end(self, job_id: str) -> str:
        """The error that the log of a job ends with, else its last lines; empty where there is no log any more."""
        try:
            log = self._api.fetch_job_logs(job_id=job_id, namespace=self._account, tail=LOG_LINES)
            lines = [self._plain(line) for line in log]
        except HfHubHTTPError as error:
            if error.response.status_code in TRANSIENT:
                raise
            return ""
        errors = [line for line in lines if line.startswith("error: ")]
        return " | ".join(errors[-1:] or [line for line in lines if line][-QUOTED_LINES:])

    def _plain(self, text: str) -> str:
        """A line without what a terminal would obey, without the token, and not too long; the last state of a progress bar."""
        last = text.replace(self._token, HIDDEN).rstrip().rpartition("\r")[2]
        return "".join(letter for letter in last if letter.isprintable()).strip()[:LONGEST_LINE]
