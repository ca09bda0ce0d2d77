"""How headroles speaks with the Hub: how long it waits, and how trouble is put into words."""

from functools import partial

from huggingface_hub import constants, get_session, set_client_factory
from huggingface_hub.errors import HfHubHTTPError

from headroles.errors import HubError, ModelLoadError

try:  # huggingface_hub 2 speaks httpx2, 1 spoke httpx
    from httpx2 import HTTPError as HTTPError
except ImportError:
    from httpx import HTTPError as HTTPError

HUB_TIMEOUT_SECONDS = 3  # how long the Hub may keep a question about a repository waiting
READ_TIMEOUT_SECONDS = 30  # how long any other request may stay without a byte; the library's own default is for ever


def set_timeouts(seconds: float = READ_TIMEOUT_SECONDS) -> None:
    """Limits how long a request of the Hub's library waits without a byte, where it sets no limit itself.

    This holds for the whole process. The library replaces its session when a connection fails, so the limit is set where its
    sessions are made.
    """
    usual = get_session()
    options = {"event_hooks": usual.event_hooks, "follow_redirects": usual.follow_redirects, "timeout": seconds}
    set_client_factory(partial(type(usual), **options))


def is_reachable() -> bool:
    """Whether anything answers where the Hub should be, within HUB_TIMEOUT_SECONDS."""
    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT_SECONDS)
    except (HTTPError, OSError):
        return False
    return True


def describe_error(error: Exception) -> str:
    """What the Hub does instead of answering, to follow "The Hub"; the libraries' own texts name paths and addresses."""
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        return "refuses the token in HF_TOKEN" if status == 401 else f"answers with error {status}"
    return "gives a broken answer" if isinstance(error, ValueError | KeyError) else "does not answer"


def no_dataset_error(dataset: str) -> HubError:
    """Builds the error for a dataset that is not there or is closed."""
    return HubError(f"There is no dataset {dataset} on the Hub, or it is closed to the token in HF_TOKEN.")


def gated_error(repository: str) -> ModelLoadError:
    """Builds the error for a repository whose terms have to be accepted first."""
    return ModelLoadError(
        f"{repository} is gated: accept its licence on its page on the Hub, and set HF_TOKEN to a token of that account."
    )
