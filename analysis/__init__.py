"""The offline analysis: `python -m analysis` in a checkout; installed it is `headroles_analysis`, and its command this one."""

import sys
from importlib.util import find_spec

COMMAND = "python -m analysis" if __name__ == "analysis" else "headroles-analysis"
NEEDED = ("transformers", "transformer_lens", "pyarrow")  # one of each kind that the core alone does not bring


def main() -> int:
    """The command `headroles-analysis`: the exit code of `__main__.main`, or 1 and a sentence where packages are missing."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        print(f"error: the analysis needs {', '.join(missing)}: pip install 'headroles[analysis]'", file=sys.stderr)
        return 1
    from .__main__ import main as run

    return run()
