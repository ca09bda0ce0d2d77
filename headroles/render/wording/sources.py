"""Where numbers come from and what a model is, in words: records, models, published claims, how far a job is."""

import time
from collections.abc import Iterable

from headroles.core.readings.analysis import Analysis, HeadView, RecordSource
from headroles.core.registry import ModelInfo
from headroles.core.roles.literature import Claim
from headroles.core.roles.roles import RESTING_ROLE
from headroles.jobs import Progress
from headroles.render.wording.catalog import deferred, message, plural
from headroles.render.wording.phrases import capitalized, join_names, percent

NOT_CALIBRATED = deferred(
    "This record has no calibration: what is seen is judged by the strictest that another model's says, and nothing tells "
    "what is usual; analysing the model again adds it."
)


def describe_source(analysis: Analysis) -> str:
    """Where the roles of an analysis come from."""
    source = analysis.source
    weights = message(", weights dequantised from {type}", type=source.quantization) if source.quantization else ""
    measured = message(
        "Roles of {model}: {kind}, measured {date} with {reader} on revision {revision}{weights}; activations read from your "
        "text through PyVene.",
        model=analysis.model,
        kind=describe_kind(source),
        date=source.analysis_date,
        reader=source.reader,
        revision=source.revision[:24],
        weights=weights,
    )
    parts = (measured, "" if source.is_calibrated else message(NOT_CALIBRATED), source.note, describe_layers(analysis))
    return " ".join(part for part in parts if part)


def describe_kind(source: RecordSource, is_run: bool = False) -> str:
    """Which kind of place a record comes from.

    Args:
        source: of the record.
        is_run: whether it is a training run's and not a record's.
    """
    commit = {"dataset": source.dataset, "commit": source.commit[:10]}
    if source.kind == "embedded":
        return message("run that ships with headroles") if is_run else message("record that ships with headroles")
    if source.kind == "analysed here":
        return message("analysed here, not published")
    if source.kind == "local":
        return message("from this server's own records")
    if source.kind == "published":
        return message("published in {dataset}, commit {commit}", **commit)
    return message("cached {ago} from {dataset}, commit {commit}", ago=_ago(time.time() - source.confirmed), **commit)


def describe_origin(source: RecordSource | None) -> str:
    """What made the numbers of a head, for who cites it; empty where nobody says."""
    if source is None:
        return ""
    if source.kind == "embedded":
        where = message("record that ships with headroles")
    elif source.kind == "analysed here":
        where = message("record that is not published")
    elif source.kind == "local":
        where = message("record of this server's own")
    else:
        where = message("dataset {dataset} at commit {commit}", dataset=source.dataset, commit=source.commit)
    return message(
        "Scores of {date} by {reader} on revision {revision}, {where}; attention read through PyVene.",
        date=source.analysis_date,
        reader=source.reader,
        revision=source.revision,
        where=where,
    )


def describe_claims(claims: Iterable[Claim]) -> str:
    """Who says what of a head, in one line: `known from Wang et al. 2022 (IOI): induction head`.

    Where a primary claim names a job, reported claims of the same job are left out. Empty without claims.
    """
    claims = tuple(claims)
    primary = {claim.job for claim in claims if claim.kind == "primary"}
    sources: dict[str, list[str]] = {}
    for claim in claims:
        cited = sources.setdefault(claim.job, [])
        if claim.cited_as not in cited and (claim.kind == "primary" or claim.job not in primary):
            cited.append(claim.cited_as)
    parts = [
        message("from {sources}: {job} head", sources=message(" and ").join(cited), job=job) for job, cited in sources.items()
    ]
    return message("known {claims}", claims="; ".join(parts)) if parts else ""


def describe_layers(analysis: Analysis) -> str:
    """Which layers have no pattern, and that the heads have a learned sink; empty where neither is so."""
    sentences = []
    if analysis.other_layers:
        sentences.append(
            plural(
                "{count} of {total} layers has attention patterns; the others ({kinds}) have none.",
                "{count} of {total} layers have attention patterns; the others ({kinds}) have none.",
                len(analysis.heads.layers),
                total=analysis.num_layers,
                kinds=join_names(sorted(set(analysis.other_layers.values()))),
            )
        )
    if analysis.has_sink:
        sentences.append(
            message(
                "Each head has a learned sink beside the tokens: rows of a pattern sum to less than 1, and the rest went there. "
                "{role} counts it.",
                role=message(RESTING_ROLE.display_name),
            )
        )
    return " ".join(sentences)


def describe_sink(view: HeadView) -> str:
    """What a head's learned sink took on this text; empty without one."""
    if not view.has_sink:
        return ""
    return message(
        "Rows sum to less than 1: on average {share} of the attention went to the head's learned sink, which is no token.",
        share=percent(sum(view.sink) / len(view.sink)),
    )


def describe_model(info: ModelInfo) -> str:
    """A model's size and terms, in one line."""
    size = f"{info.parameters / 1e6:.1f}" if info.parameters < 1e7 else f"{info.parameters / 1e6:,.0f}"
    return message(
        "{layers} layers of {heads} heads, {size} million parameters, licence {license}{gated}.",
        layers=info.num_layers,
        heads=info.num_heads,
        size=size,
        license=info.license,
        gated=message("; gated, it needs an account on the Hub that accepted its licence") if info.gated else "",
    )


def describe_progress(progress: Progress, seconds: float) -> str:
    """What a job does, how far it is, and how long it still takes.

    Args:
        progress: how far it is.
        seconds: how long it has run.
    """
    note = f"{capitalized(progress.note)}: {progress.fraction:.0%}"
    if progress.fraction < 0.05 or seconds < 2:
        return f"{note}."
    left = seconds * (1 - progress.fraction) / progress.fraction
    if left < 5:
        return message("{note}, a few seconds left.", note=note)
    if left >= 90:
        return message("{note}, about {minutes:.0f} minutes left.", note=note, minutes=left / 60)
    return message("{note}, about {seconds:.0f} seconds left.", note=note, seconds=left)


def _ago(seconds: float) -> str:
    """`3 days ago`."""
    if seconds >= 86_400:
        return plural("{count} day ago", "{count} days ago", int(seconds // 86_400))
    if seconds >= 3600:
        return plural("{count} hour ago", "{count} hours ago", int(seconds // 3600))
    if seconds >= 60:
        return plural("{count} minute ago", "{count} minutes ago", int(seconds // 60))
    return message("a moment ago")
