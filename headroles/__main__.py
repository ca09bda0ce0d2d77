"""The command `headroles`, and `python -m headroles`: serves the page."""

import sys

from headroles.errors import MissingPackageError


def main() -> None:
    """Serves until Ctrl-C; where only the core is installed it says what is missing, with exit code 1."""
    try:
        from headroles.server.launch import main as serve
    except ModuleNotFoundError as error:
        sys.exit(f"error: {MissingPackageError.of('The page', 'app', error)}")
    serve()


if __name__ == "__main__":
    main()
