"""How far two records of the same heads agree: of one model in two precisions, say, or made by two recipes.

By role, over all heads: the rank correlation of their scores (Spearman's, equal scores share a rank), how many of the best
heads are among the other's best, and the largest difference of a score. What quantisation does to a model changes scores,
and so the order of heads that score alike, but not which heads do a job; another model of the same shape agrees on neither.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from headroles.core.records.head_categories import HeadCategories
from headroles.core.roles.roles import MeasuredRole
from headroles.errors import InvalidRecordError

from .validate import correlation

BEST = 5
HEADER = ("role", "rank correlation", f"best {BEST} in common", "largest difference")


@dataclass(frozen=True)
class Agreement:
    """How far two records agree on one role.

    Attributes:
        rank_correlation: Spearman's over all heads, -1 to 1; 0 where a side scores every head the same.
        common: how many heads are among the BEST of both.
        of: how many the BEST are; fewer than BEST where a model has fewer heads.
        largest_difference: the largest absolute difference of a head's score.
    """

    role: MeasuredRole
    rank_correlation: float
    common: int
    of: int
    largest_difference: float


def agreements(a: HeadCategories, b: HeadCategories) -> list[Agreement]:
    """One for each role that both records score.

    Raises:
        InvalidRecordError: when they have not the same layers and heads, or score no role both.
    """
    if a.heads() != b.heads():
        raise InvalidRecordError(
            f"The records are of {a.num_layers} layers x {a.num_heads} heads and of {b.num_layers} x {b.num_heads}; "
            "two records are compared head by head, so give two of one shape."
        )
    roles = [role for role in a.scored_roles if role in b.scored_roles]
    if not roles:
        raise InvalidRecordError("The records score no role in common; make both by the same version of the analysis.")
    return [_agreement(role, _scores(a, role), _scores(b, role)) for role in roles]


def report(a: HeadCategories, b: HeadCategories) -> str:
    """An aligned table in plain text, a line a role."""
    rows: list[tuple[str, ...]] = [HEADER]
    for found in agreements(a, b):
        common = f"{found.common} of {found.of}"
        rows.append((found.role.display_name, f"{found.rank_correlation:.3f}", common, f"{found.largest_difference:.3f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([f"{_title(a)}\n{_title(b)}\n", *lines])


def _agreement(role: MeasuredRole, a: Sequence[float], b: Sequence[float]) -> Agreement:
    of = min(BEST, len(a))
    difference = max(abs(x - y) for x, y in zip(a, b))
    return Agreement(role, correlation(_ranks(a), _ranks(b)), len(_best(a, of) & _best(b, of)), of, difference)


def _scores(record: HeadCategories, role: MeasuredRole) -> list[float]:
    return [record.score(role, head) for head in record.heads()]


def _ranks(scores: Sequence[float]) -> list[float]:
    """From 0 to twice the number of scores, equal ones the same."""
    ordered = sorted(scores)
    return [bisect_left(ordered, score) + bisect_right(ordered, score) for score in scores]


def _best(scores: Sequence[float], of: int) -> set[int]:
    return set(sorted(range(len(scores)), key=lambda i: -scores[i])[:of])


def _title(record: HeadCategories) -> str:
    weights = record.recipe.weights
    kept = f", {weights.quantization} weights" if weights else ""
    return f"{record.model_name}{kept}, revision {record.revision}, {record.analysis_date}"
