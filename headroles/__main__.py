"""The command `headroles`, and `python -m headroles`: serves the page."""

import argparse
import os
import sys
from collections.abc import Sequence

from headroles.errors import MissingPackageError
from headroles.settings import read_settings


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until Ctrl-C; where only the core is installed it says what is missing, with exit code 1."""
    parser = argparse.ArgumentParser(prog="headroles", description="Serves the page, by the settings in the environment.")
    parser.add_argument("--host", help="the address to listen at (default: GRADIO_SERVER_NAME, or 127.0.0.1)")
    parser.add_argument("--port", type=int, help="the port (default: GRADIO_SERVER_PORT, or the first free one from 7860 on)")
    args = parser.parse_args(arguments)
    for name, value in (("GRADIO_SERVER_NAME", args.host), ("GRADIO_SERVER_PORT", args.port)):
        if value is not None:
            os.environ[name] = str(value)
    settings = read_settings()  # before gradio is imported, which reads some of it itself
    try:
        from headroles.server.launch import build, serve
    except ModuleNotFoundError as error:
        sys.exit(f"error: {MissingPackageError.of('The page', 'app', error)}")
    serve(build(settings), settings)


if __name__ == "__main__":
    main()
