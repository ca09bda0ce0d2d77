"""What a job of the Hub is told to do: the command line of one model, and the packages that make the same record as here."""

import argparse
import hashlib
import json
from dataclasses import dataclass, fields
from importlib.metadata import Distribution, PackageNotFoundError, version
from pathlib import Path

import torch

from headroles.errors import InvalidInputError
from headroles.hub.repository import RepositoryFacts
from headroles.models.probes.probe_texts import ProbeSizes

from .runs import Plan

JOB = "job"  # the command of the analysis that does it
PINNED = ("torch", "transformers", "transformer-lens")  # those that a record names; see `finished.is_finished`
EXTRA = "headroles[analysis]"


@dataclass(frozen=True)
class Work:
    """One model's job.

    Attributes:
        arguments: of the command `headroles-analysis`; no secret is among them.
        packages: as pip names them.
        key: the same for two jobs that make the same record, and for no others.
    """

    arguments: tuple[str, ...]
    packages: tuple[str, ...]
    key: str


def work_of(model: str, plan: Plan, package: str, facts: RepositoryFacts | None) -> Work:
    """What a job is told to do for a model, of which `facts` is what can be seen from here."""
    sizes = [f"--{field.name.replace('_', '-')}={getattr(plan.sizes, field.name)}" for field in fields(ProbeSizes)]
    dtype = str(plan.dtype).removeprefix("torch.")
    asked = [f"--name={plan.called(model)}", f"--batch={plan.batch}", f"--device={plan.device}", f"--dtype={dtype}", *sizes]
    # each as one word: a word alone the Hub's client may take for a file of this machine
    arguments = (JOB, f"--model={model}", *asked)
    packages = (package, *(f"{name}=={version(name).split('+')[0]}" for name in PINNED))
    said = json.dumps([arguments, packages, facts.commit if facts else ""])
    return Work(arguments, packages, hashlib.sha256(said.encode()).hexdigest()[:32])


def plan_of_job(args: argparse.Namespace) -> Plan:
    """The plan that such a command line says; nothing is written where it runs."""
    sizes = ProbeSizes(**{field.name: getattr(args, field.name) for field in fields(ProbeSizes)})
    return Plan(Path(), sizes, args.batch, args.device, getattr(torch, args.dtype), name=args.name)


def package_here() -> str:
    """Where a job gets this very headroles, as pip recorded it: a version of the index, or a commit of a git repository.

    Raises InvalidInputError where nobody but this machine has it.
    """
    try:
        here = Distribution.from_name("headroles")
    except PackageNotFoundError:
        raise _only_here() from None
    origin = json.loads(here.read_text("direct_url.json") or "{}")
    if not origin:
        return f"{EXTRA}=={here.version}"
    commit = origin.get("vcs_info", {}).get("commit_id")
    if not commit or "@" in origin["url"]:  # a folder, a file, or an address with a password in it
        raise _only_here()
    return f"{EXTRA} @ git+{origin['url']}@{commit}"


def _only_here() -> InvalidInputError:
    return InvalidInputError(
        f"A job cannot see the headroles of this machine; say where it gets one: --package '{EXTRA} @ git+https://…', or the "
        "address of a wheel."
    )


def check_package(text: str) -> str:
    """What `--package` says, which everyone can read in the job: raises ValueError where a password stands in it."""
    if not text.isprintable() or not text.strip() or ("://" in text and "@" in text.partition("://")[2].partition("/")[0]):
        raise ValueError("no package, or one with a password in its address")
    return text.strip()
