"""The jobs of one account of the Hub: started, found again by their labels, waited for, and read."""

import time
import warnings
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError

from headroles.errors import HeadRolesError, HubError, InvalidInputError
from headroles.hub.http import HTTPError, describe_error

from .driving import Ended, Event, Job, Started
from .framed import unframed
from .job_log import LOG_LINES, why
from .machines import Machine
from .runs import Outcome, Plan
from .work import Work

AT_ONCE = 16  # jobs of ours, so that a mistake in a list does not cost what all of it would
POLL_SECONDS = 10.0
AWAY_SECONDS = 600  # that the Hub may be silent while jobs run, before it is given up
TRIES = 3  # to start one job
LONGEST_SECONDS = 6 * 3600  # of a job without --limit; the Hub's own is half an hour
LABEL, KIND, KEY = "headroles", "analysis", "headroles-work"
GOING, DONE = ("SCHEDULING", "RUNNING"), ("COMPLETED",)
PASSING = (429, 500, 502, 503, 504)
TROUBLE = (HTTPError, OSError, ValueError, LookupError, TypeError, AttributeError)  # the last four: of a broken answer


@dataclass(frozen=True)
class _Known:
    """A job of an earlier driver."""

    id: str
    stage: str


@dataclass
class JobWorkers:
    """The account's jobs; see `driving.Workers`."""

    plan: Plan
    machine: Machine
    works: dict[Job, Work] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.largest = self.machine.memory_bytes
        self._token = get_token() or ""
        if not self._token:
            raise InvalidInputError("--on hf-jobs needs an account of the Hub: `hf auth login`, or its token in HF_TOKEN.")
        self._api = HfApi()
        self._waiting: deque[Job] = deque()
        self._ids: dict[Job, str] = {}  # of those that were started
        self._running: set[Job] = set()  # of those, the ones that Started was said of
        self._silent: float | None = None  # since when the Hub is
        try:
            self._account = self._api.whoami()["name"]
            self._known = self._earlier()
        except TROUBLE as error:
            raise HubError(f"The Hub {describe_error(error)}, so no job was started.") from error

    def now(self) -> float:
        return time.monotonic()

    def start(self, job: Job) -> None:
        self._waiting.append(job)

    def cancel(self, job: Job) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
        self._running.discard(job)
        if (known := self._ids.pop(job, None)) is not None:
            with suppress(*TROUBLE):  # it ended, or the Hub is away, and then the job's own limit ends it
                self._api.cancel_job(job_id=known, namespace=self._account)

    def wait(self, seconds: float | None) -> Sequence[Event]:
        until = None if seconds is None else self.now() + seconds
        while True:
            if events := [*self._begun(), *self._polled()]:
                return events
            if until is not None and self.now() >= until:
                return []
            time.sleep(POLL_SECONDS)

    def _begun(self) -> list[Event]:
        """Starts as many as may run; an earlier job that ended well is an end at once."""
        events: list[Event] = []
        while self._waiting and len(self._ids) < AT_ONCE:
            job = self._waiting.popleft()
            known = self._known.pop(self.works[job].key, None)
            if known is None:
                self._ids[job] = self._created(job)
            elif known.stage in GOING:
                self._ids[job] = known.id
            elif (outcome := self._said(known.id, job)) and outcome.record:
                events.append(Ended(job, outcome))
            else:
                self._ids[job] = self._created(job)  # its log is gone, or it said why it failed
        return events

    def _created(self, job: Job) -> str:
        """Raises HubError where the Hub starts no job."""
        work = self.works[job]
        for tries in range(1, TRIES + 1):
            try:
                return self._asked_for(work)
            except TROUBLE as error:
                status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
                if tries == TRIES or status not in (None, *PASSING):
                    raise HubError(_refused(self.machine.name, error, status)) from error
                time.sleep(min(POLL_SECONDS, tries))
                if (lost := self._lost(work.key)) is not None:
                    return lost
        raise AssertionError  # the last try returns or raises

    def _asked_for(self, work: Work) -> str:
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

    def _lost(self, key: str) -> str | None:
        """The job that was made though its answer did not arrive."""
        try:
            return next((job.id for job in self._listed(GOING, {KEY: key})), None)
        except TROUBLE:
            return None

    def _earlier(self) -> dict[str, _Known]:
        """What other drivers started and what is of use, by its key: those under way, and those done unless all is made again."""
        found: dict[str, _Known] = {}
        for stages in (() if self.plan.again else (DONE,)) + (GOING,):  # one under way before one that ended
            for job in self._listed(stages, {LABEL: KIND}):
                found[(job.labels or {}).get(KEY, "")] = _Known(job.id, job.status.stage)
        return found

    def _listed(self, stages: Sequence[str], labels: dict[str, str]) -> Iterable:
        return self._api.list_jobs(status=list(stages), labels=labels, namespace=self._account, timeout=30)

    def _polled(self) -> list[Event]:
        events: list[Event] = []
        try:
            going = {job.id: job.status.stage for job in self._listed(GOING, {LABEL: KIND})} if self._ids else {}
            for job, known in list(self._ids.items()):
                if going.get(known) == "RUNNING" and job not in self._running:
                    self._running.add(job)
                    events.append(Started(job))
                elif known not in going and (outcome := self._ended(known, job)) is not None:
                    del self._ids[job]
                    self._running.discard(job)
                    events.append(Ended(job, outcome))
            self._silent = None
        except TROUBLE as error:
            self._silent = self.now() if self._silent is None else self._silent
            if not events and self.now() - self._silent >= AWAY_SECONDS:
                raise HubError(
                    f"The Hub {describe_error(error)}, for {AWAY_SECONDS // 60} minutes now; the same command takes up later what its "
                    "jobs do meanwhile."
                ) from error
        return events

    def _ended(self, known: str, job: Job) -> Outcome | None:
        """How a job ended that is not listed any more; None where it goes on after all."""
        try:
            info = self._api.inspect_job(job_id=known, namespace=self._account)
        except HfHubHTTPError as error:
            if error.response.status_code != 404:
                raise
            return Outcome(job.name, "failed", 0.0, reason=f"The job of {job.name} was deleted on the Hub.")
        if info.status.stage in GOING:
            return None
        lines = self._log(known)
        try:
            if (outcome := unframed(lines, job.name)) is not None:
                return outcome
            reason = why(job.name, info, lines, self.plan.limit or LONGEST_SECONDS, self._token)
        except HeadRolesError as error:
            reason = str(error)
        seconds = (info.durations.running_secs if info.durations else None) or 0.0
        return Outcome(job.name, "failed", float(seconds), reason=reason)

    def _said(self, known: str, job: Job) -> Outcome | None:
        try:
            return unframed(self._log(known), job.name)
        except (HeadRolesError, *TROUBLE):
            return None

    def _log(self, known: str) -> list[str]:
        try:
            return list(self._api.fetch_job_logs(job_id=known, namespace=self._account, tail=LOG_LINES))
        except HfHubHTTPError as error:
            if error.response.status_code in PASSING:
                raise
            return []  # it has none, or none any more


def _refused(machine: str, error: Exception, status: int | None) -> str:
    said = f"The Hub {describe_error(error)} and started no job on {machine}"
    if status in (402, 403):
        return f"{said}; does the account pay for jobs, and may its token start them?"
    return f"{said}."
