"""The command `score`: analyses models wherever they are to run, and writes, pushes and reports what comes of each."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import torch

from headroles.core.records.atomic_files import clear_halves
from headroles.errors import HeadRolesError
from headroles.hub.http import is_reachable
from headroles.models.probes.probe_texts import ProbeSizes

from .backends.backend import HERE, JOBS, open_backend, run_models
from .backends.machines import Machine
from .outcome_table import outcome_table
from .pipeline.disk_budget import DiskBudget
from .pipeline.estimates import estimate_model, estimate_table, summarize_estimates
from .pipeline.runs import AnalysisPlan, Outcome
from .pipeline.sources import is_remote
from .publish.training_runs import models_with_steps, update_runs
from .run_log import RunLog

OUTPUT_TEXTS = 100  # for each role that is scored by what heads write
EFFECT_TEXTS = 10  # on which the heads of each role are ablated
STOPPED = 130  # as shells report a program that Ctrl-C ended


def score_models(args: argparse.Namespace) -> int:
    """Analyses the models, or says what that takes; returns the exit code."""
    plan, is_job = make_plan(args), args.on.startswith(JOBS)
    backend = open_backend(args.on, args.package or "", args.push or "", DiskBudget(args.disk) if args.disk else None)
    if args.dry_run and (is_job or not args.push):
        return show_plan(args.models, plan, backend.machine())
    log = RunLog(args.log, {plan.record_name(model): model for model in args.models}) if args.log else None
    outcomes: list[Outcome] = []
    status = 0
    clear_halves(args.out)  # of a run that was killed
    try:
        if is_job or len(args.models) > 1:
            print(
                f"note: {summarize_estimates([estimate_model(model, plan) for model in args.models], plan, backend.machine())}",
                file=sys.stderr,
            )
        with closing(run_models(args.models, plan, backend)) as ended:
            for outcome in ended:
                if args.push and not (is_job and outcome.status == "written"):  # a job pushed it
                    outcome = push_record(outcome, args)
                outcomes.append(outcome)
                if log:
                    log.add(outcome)
                if outcome.status == "failed":
                    status = report_errors([outcome.reason])
                elif args.on != HERE:  # no progress bar moves
                    print(f"{len(outcomes)} of {len(args.models)}: {outcome.model} {outcome.status}", file=sys.stderr)
    except HeadRolesError as error:  # of the backend itself
        status = report_errors([str(error)])
    except KeyboardInterrupt:
        report_errors([f"stopped after {len(outcomes)} of {len(args.models)} models"])
        status = STOPPED
    if log and (retry := log.close()):
        print(f"note: {retry} lists what to try again: --models {retry}", file=sys.stderr)
    if outcomes:
        order = {plan.record_name(model): number for number, model in enumerate(args.models)}
        print(outcome_table(sorted(outcomes, key=lambda outcome: order[outcome.model])))
    if status != STOPPED and (models := models_with_steps(outcome.model for outcome in outcomes if outcome.record)):
        status |= report_errors(update_runs(models, args.out, args.push or "", args.create_pr, args.dry_run))
    return status


def make_plan(args: argparse.Namespace) -> AnalysisPlan:
    """What is asked of every model. If many come from the Hub and it is away, that is said once, and nothing waits for it."""
    outputs = 0 if args.quick else OUTPUT_TEXTS
    calibration, effects = 0 if args.quick else args.calibration, EFFECT_TEXTS if args.effects else 0
    sizes = ProbeSizes(args.repeated_sequences, args.repeat_length, args.sentences, args.seed, calibration, effects, outputs)
    offline = sum(map(is_remote, args.models)) > 1 and not is_reachable()
    if offline:
        print("note: The Hub cannot be reached; only models that were downloaded before can be analysed.", file=sys.stderr)
    dtype, name = getattr(torch, args.dtype), args.name or ""
    return AnalysisPlan(args.out, sizes, args.batch, args.device, dtype, args.again, name, args.limit, offline)


def show_plan(models: Sequence[str], plan: AnalysisPlan, machine: Machine) -> int:
    """Prints what a run would do, and what it would take; returns 1 if nothing is known of a model, else 0.

    Args:
        models: as the command line names them.
        plan: what is asked of each.
        machine: to run on.
    """
    found = [estimate_model(model, plan) for model in models]
    reasons = [model.reason for model in found if model.reason]
    if not plan.offline:  # else one note said it
        report_errors(reasons)
    print(estimate_table(found, plan, machine))
    return int(bool(reasons))


def push_record(outcome: Outcome, args: argparse.Namespace) -> Outcome:
    """Pushes the record, new or not, and prints so; if that fails, the model counts as failed, but its record stays here.

    Args:
        outcome: of one model.
        args: of the command line.
    """
    from .publish.record_push import push  # slow to import: not for those who push nothing

    if outcome.record is None:
        return outcome
    try:
        print(push(outcome.record, args.push, args.create_pr, args.dry_run))
    except HeadRolesError as error:
        return replace(outcome, status="failed", reason=str(error))
    return outcome


def report_errors(errors: Sequence[str]) -> int:
    """Prints errors; returns 1 if there are any, else 0."""
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    return int(bool(errors))
