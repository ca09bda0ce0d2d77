"""Puts headroles on a Hugging Face Space: `python -m analysis.deploy ORG/SPACE [--dataset ORG/DATASET]`."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import yaml
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from headroles.errors import HeadRolesError, HubError, InvalidInputError
from headroles.hub.talk import HTTPError, trouble

ROOT = Path(__file__).parent.parent
# what the Space runs and shows; tests, benchmarks and the offline analysis stay behind
PARTS = (
    "app.py",
    "headroles",
    "requirements.txt",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "LICENSE",
    "docs",
)


def space_readme(text: str, space: str, dataset: str = "") -> str:
    """The README with the front matter of one Space: its own picture, and the dataset that its roles come from."""
    _, front, body = text.split("---\n", 2)
    matter = yaml.safe_load(front)
    matter["thumbnail"] = f"https://huggingface.co/spaces/{space}/resolve/main/docs/page-light.png"
    if dataset:
        matter["datasets"] = [dataset]
    return f"---\n{yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)}---\n{body}"


def stage(folder: Path, space: str, dataset: str = "") -> None:
    """Copies what the Space needs into an empty folder."""
    for part in map(ROOT.joinpath, PARTS):
        if part.is_dir():
            shutil.copytree(part, folder / part.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(part, folder / part.name)
    (folder / "README.md").write_text(space_readme((ROOT / "README.md").read_text("utf-8"), space, dataset), "utf-8")


def deploy(space: str, dataset: str = "") -> str:
    """Makes the Space if there is none, uploads in one commit, and gives the Space's address.

    Raises:
        InvalidInputError: when a name is not of the form organisation/name, or this is no checkout.
        HubError: when the Hub is away or does not accept the token.
    """
    for name in filter(None, (space, dataset)):
        if name.count("/") != 1 or not all(name.split("/")):
            raise InvalidInputError(f"{name!r} must be of the form organisation/name.")
    if not (ROOT / "app.py").is_file():
        raise InvalidInputError("A Space is made from a checkout of headroles, and not from the installed package.")
    api = HfApi()
    try:
        api.create_repo(space, repo_type="space", space_sdk="gradio", exist_ok=True)
        if dataset:
            api.add_space_variable(space, "HEADROLES_DATASET", dataset)
        with tempfile.TemporaryDirectory() as folder:
            stage(Path(folder), space, dataset)
            # what an earlier version had and this one has not must not stay and run
            api.upload_folder(
                repo_id=space, repo_type="space", folder_path=folder, delete_patterns="*", commit_message="Deploy headroles"
            )
    except (HTTPError, HfHubHTTPError, OSError) as error:
        raise HubError(f"{space} could not be deployed: the Hub {trouble(error)}. Is HF_TOKEN a token that may write?") from error
    return f"https://huggingface.co/spaces/{space}"


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 when the Space is there, 1 when the Hub did not take it."""
    parser = argparse.ArgumentParser(prog="python -m analysis.deploy", description=__doc__)
    parser.add_argument("space", metavar="ORG/SPACE")
    parser.add_argument("--dataset", default="", metavar="ORG/DATASET", help="where the roles come from")
    args = parser.parse_args(arguments)
    try:
        print(deploy(args.space, args.dataset))
    except HeadRolesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
