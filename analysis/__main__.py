"""Runs the command line of the analysis: `python -m analysis --help`."""

import sys
from collections.abc import Callable, Sequence

from headroles.errors import HeadRolesError
from headroles.hub.http import set_timeouts
from headroles.models.model_pool import configure_malloc

from . import commands
from .command_line import parse
from .score import report_errors, score_models

COMMANDS: dict[str, Callable] = {
    "score": score_models,
    "push": commands.push_folder,
    "atlas": commands.write_atlas,
    "training": commands.update_training,
    "validate": commands.validate_record,
    "compare": commands.compare_records,
    "calibrate": commands.try_verdicts,
    "calibration-figure": commands.draw_calibration,
    "deploy": commands.deploy_space,
    "docs": commands.write_docs,
    "train-tiny": commands.train_tiny,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line, that of this process by default, and returns the exit code; 1 where a sentence says what failed."""
    set_timeouts()
    configure_malloc()
    try:
        args = parse(sys.argv[1:] if arguments is None else arguments)
        return COMMANDS[args.command](args)
    except (HeadRolesError, OSError) as error:
        return report_errors([str(error)])


if __name__ == "__main__":
    sys.exit(main())
