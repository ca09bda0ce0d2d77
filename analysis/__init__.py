"""The offline analysis: `python -m analysis` in a checkout, the command `headroles-analysis` once installed."""

import sys
from importlib.util import find_spec

COMMAND = "python -m analysis" if __name__ == "analysis" else "headroles-analysis"
NEEDED = ("transformers", "transformer_lens", "pyarrow")  # one of each kind that the core alone does not bring


def main() -> int:
    """Runs the command line; returns its exit code, or 1 after a sentence that names missing packages."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        print(f"error: the analysis needs {', '.join(missing)}: pip install 'headroles[analysis]'", file=sys.stderr)
        return 1
    from .__main__ import main as run

    return run()
