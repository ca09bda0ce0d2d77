"""Trouble with the Hub put into one sentence, in the same way for all that ask it something here."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import HfHubHTTPError

from headroles.errors import HubError
from headroles.hub.http import HTTPError, describe_error

BROKEN_ANSWER = (ValueError, LookupError, TypeError, AttributeError)  # what the library raises for an answer of another shape
TROUBLE = (HTTPError, OSError, *BROKEN_ANSWER)
TRANSIENT = (429, 500, 502, 503, 504)


def response_status(error: Exception) -> int | None:
    """The status that the Hub answered with; None if no answer came."""
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def describe(error: Exception) -> str:
    """What the Hub does instead of answering, to follow "The Hub"."""
    return "gives a broken answer" if isinstance(error, BROKEN_ANSWER) else describe_error(error)


@contextmanager
def asking_hub(consequence: str) -> Iterator[None]:
    """Puts trouble with the Hub into one sentence: what it does, then the consequence.

    Raises:
        HubError: for any trouble.
    """
    try:
        yield
    except TROUBLE as error:
        raise HubError(f"The Hub {describe(error)}, so {consequence}.") from error


class BrokenAnswerError(Exception):
    """Raised when the Hub's answer, or what stands between it and here, is not what was asked for."""


@contextmanager
def broken_answers() -> Iterator[None]:
    """Tells what the library makes of a broken answer, where it looks for no error, from bugs elsewhere."""
    try:
        yield
    except (HTTPError, OSError):
        raise
    except (RuntimeError, *BROKEN_ANSWER) as error:
        if isinstance(error.__cause__, HTTPError | OSError):  # of a failed upload of a file
            raise error.__cause__ from error
        raise BrokenAnswerError from error
