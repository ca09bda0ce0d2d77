"""What a job of the Hub runs: the command line that scores one model and pushes its record, and the packages it takes."""

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, version

from headroles.errors import InvalidInputError
from headroles.hub.repository import RepositoryFacts

from ..pipeline.runs import AnalysisPlan

PINNED = ("torch", "transformers", "transformer-lens")  # those that a record names; see `up_to_date.is_up_to_date`
EXTRA = "headroles[analysis]"


@dataclass(frozen=True)
class JobSpec:
    """What one job runs.

    Attributes:
        arguments: of the command `headroles-analysis`; no secret is among them.
        packages: as pip names them.
        key: equal for two jobs that make the same record, and for no others.
    """

    arguments: tuple[str, ...]
    packages: tuple[str, ...]
    key: str


def make_job_spec(model: str, plan: AnalysisPlan, package: str, dataset: str, facts: RepositoryFacts) -> JobSpec:
    """The job of a model.

    Args:
        model: its name on the Hub.
        plan: what is asked of it.
        package: what the job installs headroles from.
        dataset: `ORG/DATASET`, to which the job pushes the record.
        facts: what is known of the model from here.
    """
    sizes = plan.sizes
    options = {
        "name": plan.record_name(model),
        "out": "records",
        "push": dataset,
        "batch": plan.batch,
        "device": plan.device,
        "dtype": str(plan.dtype).removeprefix("torch."),
        "repeated-sequences": sizes.repeated_sequences,
        "repeat-length": sizes.repeat_length,
        "sentences": sizes.sentences,
        "seed": sizes.seed,
        **({"calibration": sizes.calibration} if sizes.calibration else {}),
    }
    flags = [flag for flag, is_on in (("--quick", not sizes.calibration), ("--effects", sizes.effects)) if is_on]
    # each option as one word: the Hub's client may take a word alone for a file of this machine
    arguments = ("score", model, *(f"--{name}={value}" for name, value in options.items()), *flags)
    packages = (package, *(f"{name}=={version(name).split('+')[0]}" for name in PINNED))
    content = json.dumps([arguments, packages, facts.commit])
    return JobSpec(arguments, packages, hashlib.sha256(content.encode()).hexdigest()[:32])


def installed_requirement() -> str:
    """What this headroles was installed from, as pip recorded it: a version of the index, or a commit of a git repository.

    Raises:
        InvalidInputError: where only this machine has it.
    """
    try:
        here = Distribution.from_name("headroles")
    except PackageNotFoundError:
        raise _no_source() from None
    origin = json.loads(here.read_text("direct_url.json") or "{}")
    if not origin:
        return f"{EXTRA}=={here.version}"
    commit = origin.get("vcs_info", {}).get("commit_id")
    if not commit or "@" in origin["url"]:  # a folder, a file, or an address with a password in it
        raise _no_source()
    return f"{EXTRA} @ git+{origin['url']}@{commit}"


def _no_source() -> InvalidInputError:
    return InvalidInputError(
        f"A job cannot install headroles from this machine; name another source: --package '{EXTRA} @ git+https://…', or the "
        "address of a wheel."
    )
