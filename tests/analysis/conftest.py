"""What tests of the analysis share: this process told to use a double of the Hub."""

from collections.abc import Callable
from typing import TypeVar

import pytest
from huggingface_hub import constants

from tests.fixtures.hub import FakeHub

H = TypeVar("H", bound=FakeHub)


@pytest.fixture
def use_hub(monkeypatch, tmp_path) -> Callable[[H, str], H]:
    """Makes a double the Hub of this process, which has an empty cache and, if one is given, a token."""

    def use(double: H, token: str = "") -> H:
        settings = {
            "ENDPOINT": double.endpoint,
            "HUGGINGFACE_CO_URL_TEMPLATE": double.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_TOKEN_PATH": str(tmp_path / "token"),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
        }
        for name, value in settings.items():
            monkeypatch.setattr(constants, name, value)
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        return double

    return use
