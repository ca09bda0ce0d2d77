"""A Hub on this machine."""

from collections.abc import Iterator

import pytest
from huggingface_hub import constants

from tests.fixtures.hub import FakeHub


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[FakeHub]:
    """A Hub, and this process told to use it, with an empty cache and no token."""
    home = tmp_path / "home"
    with FakeHub() as hub:
        # the library reads these from the environment when it is imported, which other tests did
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        for token in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(token, raising=False)
        yield hub
