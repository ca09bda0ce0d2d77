"""Where the models that a command line names come from, and what they are called in their records."""

from pathlib import Path

from headroles.core.registry import MODELS
from headroles.errors import ModelLoadError
from headroles.hub.gguf import is_gguf
from headroles.hub.packages import model_source
from headroles.settings import Settings


def default_name(name_or_path: str) -> str:
    """What a model is called in its record by default: its name, or that of its folder or GGUF file."""
    path = Path(name_or_path)
    if name_or_path in MODELS or not (path.is_dir() or is_gguf(path)):
        return name_or_path
    return path.resolve().name if path.is_dir() else path.stem


def locate_model(name_or_path: str) -> str | Path:
    """Where a model comes from: a path on this machine, or a name on the Hub.

    Raises:
        ModelLoadError: for a registered model whose package was not fetched yet.
    """
    if name_or_path in MODELS:
        return model_source(MODELS[name_or_path], Settings.from_environment().home)
    path = Path(name_or_path)
    return path.resolve() if path.is_dir() or is_gguf(path) else name_or_path


def is_remote(name_or_path: str) -> bool:
    """Whether a model comes from the Hub, as far as its name tells."""
    name, _ = split_revision(name_or_path)
    try:
        return isinstance(locate_model(name), str)
    except ModelLoadError:  # of a package that was not fetched
        return False


def split_revision(name_or_path: str) -> tuple[str, str]:
    """The name or path, and the revision after an `@`; empty without one, as for a folder whose name has an `@`."""
    path = Path(name_or_path)
    if path.is_dir() or is_gguf(path):
        return name_or_path, ""
    name, _, revision = name_or_path.partition("@")
    return name, revision
