"""What all tests of the server share."""

from collections.abc import Iterator

import pytest

from tests.fixtures.patience import NEVER

LIMITS = (
    "headroles.server.gate.middleware.BODY_SECONDS",
    "headroles.server.gate.middleware.STALL_SECONDS",
    "headroles.server.gate.sessions.KEEP_SECONDS",
)


@pytest.fixture(scope="session", autouse=True)
def server_limits_never_strike() -> Iterator[None]:
    """A test of one of these limits sets it itself."""
    with pytest.MonkeyPatch.context() as patch:
        for limit in LIMITS:
            patch.setattr(limit, NEVER)
        yield


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """What async tests run on: gradio's own."""
    return "asyncio"
