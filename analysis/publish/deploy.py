"""Puts headroles on a Hugging Face Space."""

import shutil
import tempfile
from pathlib import Path

import yaml
from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError

from headroles.errors import HubError, InvalidInputError
from headroles.hub.http import HTTPError, describe_error
from headroles.settings import REPO

from ..hub_errors import response_status

ROOT = Path(__file__).parent.parent.parent
# what the Space runs and shows; tests, benchmarks and the offline analysis stay behind
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "docs")
PARTS = ("app.py", "headroles", "requirements.txt", *PAGES)


def space_readme(text: str, space: str, dataset: str = "") -> str:
    """The README with the front matter of one Space: its own picture, and the dataset of its records.

    Args:
        text: of this checkout's README.
        space: `ORG/SPACE`.
        dataset: `ORG/DATASET`; empty for none.
    """
    _, front, body = text.split("---\n", 2)
    matter = yaml.safe_load(front)
    matter["thumbnail"] = f"https://huggingface.co/spaces/{space}/resolve/main/docs/page-light.png"
    if dataset:
        matter["datasets"] = [dataset]
    return f"---\n{yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)}---\n{body}"


def stage(folder: Path, space: str, dataset: str = "") -> None:
    """Copies what the Space needs into an empty folder.

    Args:
        folder: to copy into.
        space: `ORG/SPACE`.
        dataset: `ORG/DATASET`; empty for none.
    """
    for part in map(ROOT.joinpath, PARTS):
        if part.is_dir():
            shutil.copytree(part, folder / part.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(part, folder / part.name)
    (folder / "README.md").write_text(space_readme((ROOT / "README.md").read_text("utf-8"), space, dataset), "utf-8")


def deploy(space: str, dataset: str = "") -> str:
    """Makes the Space if there is none, uploads everything in one commit, and returns the Space's address.

    Args:
        space: `ORG/SPACE`.
        dataset: `ORG/DATASET` of the records; empty for none.

    Raises:
        InvalidInputError: when a name is wrong, this is no checkout, there is no token, or there is a Space of another kind.
        HubError: when the Hub is away or does not accept the token; says which, and what to do.
    """
    check(space, dataset)
    if get_token() is None:
        raise InvalidInputError(
            f"There is no token to write to {space} with: set HF_TOKEN to one of https://huggingface.co/settings/tokens that may "
            "write. With DRY=1 nothing is sent, and none is needed."
        )
    api = HfApi()
    try:
        api.create_repo(space, repo_type="space", space_sdk="gradio", exist_ok=True)
        if (sdk := api.space_info(space).sdk) not in (None, "gradio"):
            raise InvalidInputError(f"{space} is a Space of another kind ({sdk[:50]}); name another, or delete it first.")
        if dataset:
            api.add_space_variable(space, "HEADROLES_DATASET", dataset)
        with tempfile.TemporaryDirectory() as folder:
            stage(Path(folder), space, dataset)
            # what an earlier version had and this one has not must not stay and run
            api.upload_folder(
                repo_id=space, repo_type="space", folder_path=folder, delete_patterns="*", commit_message="Deploy headroles"
            )
    except (HTTPError, HfHubHTTPError, OSError) as error:
        raise HubError(f"{space} could not be deployed: {cause(error, space)}") from error
    return f"https://huggingface.co/spaces/{space}"


def plan(space: str, dataset: str = "") -> str:
    """What `deploy` would do, in lines; asks no network and needs no token.

    Args:
        space: `ORG/SPACE`.
        dataset: `ORG/DATASET`; empty for none.

    Raises:
        InvalidInputError: as `deploy` does.
    """
    check(space, dataset)
    with tempfile.TemporaryDirectory() as folder:
        stage(Path(folder), space, dataset)
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        matter = (Path(folder) / "README.md").read_text("utf-8").split("---\n")[1]
    token = "the token that is set" if get_token() else "a token, of which none is set yet: HF_TOKEN"
    steps = [
        f"make the Space {space} (Gradio) unless it is there, with {token}",
        f"set its variable HEADROLES_DATASET to {dataset}" if dataset else "leave its variables as they are",
        f"upload {len(files)} files, {size / 1e6:.1f} MB, in one commit, and delete all others there: {', '.join(PARTS)}",
    ]
    text = "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))
    return f"Nothing was sent. Without DRY this would\n{text}\nThe page's front matter:\n{matter.rstrip()}"


def check(space: str, dataset: str) -> None:
    """Checks the names, and that this is a checkout.

    Args:
        space: `ORG/SPACE`.
        dataset: `ORG/DATASET`; empty for none.

    Raises:
        InvalidInputError: where no Space could be made.
    """
    for name in filter(None, (space, dataset)):
        if not REPO.fullmatch(name):
            raise InvalidInputError(f"{name[:100]!r} must be of the form organisation/name.")
    if not (ROOT / "app.py").is_file():
        raise InvalidInputError("A Space is made from a checkout of headroles, and not from the installed package.")


def cause(error: Exception, space: str) -> str:
    """Why the Hub did not accept it, and what to do, in a sentence; the library's own texts name addresses and ids.

    Args:
        error: that the library raised.
        space: `ORG/SPACE`.
    """
    status = response_status(error)
    owner = space.split("/")[0]
    if status == 401:
        return "the Hub does not know the token in HF_TOKEN. Make a new one at https://huggingface.co/settings/tokens."
    if status == 402:
        return "the Hub wants a paid plan for this hardware or one more Space; docs/deploy.md says what a free account has."
    if status == 403:
        return f"the token in HF_TOKEN may not write for {owner}. Take one of {owner}'s, with the permission to write."
    if status == 429:
        return "the Hub takes no more requests from this account now. Try again in an hour."
    if status is None and isinstance(error, HTTPError):
        return f"nothing answers at {constants.ENDPOINT}. Is this machine on the network, and is HF_ENDPOINT as it should be?"
    if status is None:
        return f"a file here could not be read or written ({getattr(error, 'strerror', None) or type(error).__name__})."
    return f"the Hub {describe_error(error)}. Try again later."
