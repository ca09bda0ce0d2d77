"""Why a job of the Hub gave no answer, in one sentence, with the last lines of its log."""

from collections.abc import Sequence

from huggingface_hub import JobInfo

from .framed import LINE

LOG_LINES = 100_000  # read of a job's log, from its end: more than the longest record takes
TOLD_LINES = 3
LONGEST_LINE = 200
HIDDEN = "***"


def why(name: str, info: JobInfo, lines: Sequence[str], limit: float, token: str) -> str:
    """The sentence on a job that ended without an outcome.

    Args:
        limit: seconds after which the Hub stops it.
        token: which nobody shall read, whatever the log says.
    """
    message = _plain(info.status.message or "", token)
    ran = info.durations.running_secs if info.durations else None
    late = "timeout" in message.lower() or "timed out" in message.lower() or (ran or 0) >= limit
    if late and info.status.stage in ("ERROR", "CANCELED"):
        said = f"The job of {name} was stopped: it took longer than {limit:g} seconds; --limit allows more"
    elif info.status.stage == "COMPLETED":
        said = f"The job of {name} ended without an answer in its log"
    elif info.status.stage == "CANCELED":
        said = f"The job of {name} was cancelled on the Hub"
    elif info.status.stage == "DELETED":
        said = f"The job of {name} was deleted on the Hub"
    else:
        said = f"The job of {name} failed on the Hub{f', {message}' if message else ''}"
    words = (line for line in lines[-50:] if not LINE.search(line))  # of an answer in pieces nobody reads anything
    last = [plain for line in words if (plain := _plain(line, token))][-TOLD_LINES:]
    return f"{said}. Its log ends: {' | '.join(last)}" if last else f"{said}."


def _plain(text: str, token: str) -> str:
    """A line of a log without what a terminal would obey, without the token, and not too long; of a bar its last state."""
    shown = text.replace(token, HIDDEN).rstrip().rpartition("\r")[2]
    return "".join(letter for letter in shown if letter.isprintable()).strip()[:LONGEST_LINE]
