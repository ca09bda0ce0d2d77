"""Compares a model's record with what is published of its heads.

When a claim agrees:
- Heads in a role of ours: our score reaches the role's threshold, however far above it the published score lies, because
  texts and lengths differ from run to run. A published score below that threshold: ours is within TOLERANCE of it.
- `heads at rest`: the share of heads with a first-token score of RESTING or more is within TOLERANCE of the published one.
- `mean by layer`: over the layers, our mean scores correlate with the published ones by MIN_CORRELATION (Pearson) or more.
- Some roles have a second score, and some published numbers are of that one: they are compared with it in the same way.
- A function that none of our roles measures neither agrees nor disagrees; the report says what the head mainly does here.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from headroles.core.heads import Head
from headroles.core.records.head_categories import HeadCategories
from headroles.core.roles.literature import Claim, known_model, known_models
from headroles.core.roles.roles import RESTING, MeasuredRole, Role, get_measured_role, get_role
from headroles.errors import InvalidRecordError

from .. import COMMAND
from ..tables import align

TOLERANCE = 0.15
MIN_CORRELATION = 0.8

HEADER = ("head", "published", "ours", "rank", "agrees", "mainly here")


@dataclass(frozen=True)
class ClaimVerdict:
    """One head of a claim, or its statistic, beside our record.

    Attributes:
        claim: what is published.
        subject: the head's label, or what the statistic is.
        published: the published score or share; None where none was given.
        ours: our score or share, for `mean by layer` the correlation; None for what we do not measure.
        rank: the head's rank among all heads of the model in that role, from 1; equal scores share the better rank.
        mainly: what the head mainly does in our record; None for a statistic.
        agrees: None for what we do not measure.
    """

    claim: Claim
    subject: str
    published: float | None
    ours: float | None
    rank: int | None
    mainly: Role | None
    agrees: bool | None


def validate(record: HeadCategories) -> list[ClaimVerdict]:
    """Compares each head and each statistic that is published of the record's model; empty where nothing is.

    Raises:
        InvalidRecordError: when the record does not have that model's layers and heads.
    """
    known = known_model(record.model_name)
    if known is None:
        return []
    if (record.num_layers, record.num_heads) != (known.num_layers, known.num_heads):
        raise InvalidRecordError(
            f"The record of {record.model_name} has {record.num_layers} layers x {record.num_heads} heads, "
            f"but the {record.model_name} of the literature has {known.num_layers} x {known.num_heads}."
        )
    verdicts = []
    for claim in known.claims:
        verdicts += [_statistic(record, claim)] if claim.statistic else [_head(record, claim, head) for head in claim.heads]
    return verdicts


def run(model_name: str, record: HeadCategories | None) -> tuple[str, int]:
    """Returns what to print of a model's record, and the exit code.

    The code is 0 when every claim agrees or nothing is published, 1 when one disagrees, 2 when there is no record.

    Args:
        model_name: as the literature knows it.
        record: of the model; None if there is none.

    Raises:
        InvalidRecordError: when the record is another model's, or does not have this model's shape.
    """
    known = known_model(model_name)
    if known is None:
        return f"Nothing is published here about {model_name}; known models are {', '.join(known_models())}.", 0
    if record is None:
        return f"There is no record of {model_name} yet; make one: {COMMAND} {model_name} --out DIR", 2
    if known_model(record.model_name) is not known:
        raise InvalidRecordError(f"The record of {record.model_name} cannot be compared with what is published of {model_name}.")
    verdicts = validate(record)
    return report(record, verdicts), int(any(verdict.agrees is False for verdict in verdicts))


def report(record: HeadCategories, verdicts: Sequence[ClaimVerdict]) -> str:
    """Formats the verdicts as a table in plain text, claim by claim, with a summary.

    Args:
        record: of the model.
        verdicts: from `validate`.
    """
    header, *rows = (f"  {line}" for line in align([HEADER, *map(_table_row, verdicts)], right=(1, 2, 3)))
    lines = [f"Published claims about {record.model_name}, beside its record of {record.analysis_date}", "", header]
    for claim, group in groupby(zip(verdicts, rows), key=lambda pair: pair[0].claim):
        lines += ["", *_heading(record, claim), *(row for _, row in group)]
    judged = [verdict.agrees for verdict in verdicts if verdict.agrees is not None]
    open_claims = len(verdicts) - len(judged)
    lines += ["", f"{sum(judged)} of {len(judged)} claims agree."]
    if open_claims:
        known = any(verdict.agrees is None and verdict.claim.role for verdict in verdicts)
        why = "this record does not score" if known else "none of our roles measures"
        lines.append(f"{open_claims} more name jobs that {why}.")
    return "\n".join(lines)


def agree(role: Role, ours: float, published: float | None) -> bool:
    """Whether our score of a head in a role bears out the published one; see the top of this file.

    Args:
        role: which the head is said to play.
        ours: our score.
        published: the published score; None where none was given.
    """
    if published is not None and published < role.threshold:
        return _is_near(ours, published)
    return ours >= role.threshold


def _head(record: HeadCategories, claim: Claim, head: Head) -> ClaimVerdict:
    mainly, value = record.primary_role(head), claim.value(head)
    role = _scored_role(record, claim)
    if role is None:
        return ClaimVerdict(claim, head.label, value, None, None, mainly, None)
    table = record.second_table[role.name] if claim.is_second else record.all_scores[role.name]
    ours = table[head.layer][head.index]
    rank = 1 + sum(score > ours for row in table for score in row)
    return ClaimVerdict(claim, head.label, value, ours, rank, mainly, agree(role, ours, value))


def _statistic(record: HeadCategories, claim: Claim) -> ClaimVerdict:
    if _scored_role(record, claim) is None:
        return ClaimVerdict(claim, str(claim.statistic), None, None, None, None, None)
    scores = record.all_scores[get_role(str(claim.role)).name]
    if claim.statistic == "heads at rest":
        share = statistics.fmean(score >= RESTING for row in scores for score in row)
        (value,) = claim.values
        return ClaimVerdict(claim, "share at rest", value, share, None, None, _is_near(share, value))
    followed = correlation([statistics.fmean(row) for row in scores], claim.values)
    return ClaimVerdict(claim, "layers correlate", None, followed, None, None, followed >= MIN_CORRELATION)


def _scored_role(record: HeadCategories, claim: Claim) -> MeasuredRole | None:
    """Our role for the job of a claim; None where we have none, or the record does not score it."""
    role = None if claim.role is None else get_measured_role(claim.role)
    if claim.is_second and (role is None or role.name not in record.second_table):
        return None
    return role if role in record.scored_roles else None


def _is_near(ours: float, published: float) -> bool:
    return round(abs(ours - published), 6) <= TOLERANCE  # 0.65 - 0.5 is a little more than 0.15 to a computer


def correlation(ours: Sequence[float], published: Sequence[float]) -> float:
    """Pearson's correlation; 0 where either side is constant.

    Args:
        ours: a sequence of numbers.
        published: another of the same length.
    """
    try:
        return statistics.correlation(ours, published)
    except statistics.StatisticsError:
        return 0.0


def _heading(record: HeadCategories, claim: Claim) -> list[str]:
    """What is claimed, by whom, on which texts, and the heads that our record names for it."""
    lines = [f"{claim.job} ({claim.kind})", f"  source: {claim.source}", f"  texts: {claim.setting}"]
    if claim.role is None:
        return [*lines, "  ours: no such role"]
    if _scored_role(record, claim) is None:
        return [*lines, "  ours: not scored in this record"]
    if claim.heads:
        top = record.top_heads(get_role(claim.role))
        lines.append(f"  ours: {', '.join(head.label for head in top) or 'no head'}")
    return lines


def _table_row(verdict: ClaimVerdict) -> tuple[str, ...]:
    return (
        verdict.subject,
        "" if verdict.published is None else f"{verdict.published:.3f}",
        "" if verdict.ours is None else f"{verdict.ours:.3f}",
        "" if verdict.rank is None else str(verdict.rank),
        {True: "yes", False: "NO", None: "not measured"}[verdict.agrees],
        verdict.mainly.display_name if verdict.mainly else "",
    )
