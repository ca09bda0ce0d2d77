"""Measures how far two records of the same heads agree: of one model in two precisions, or made by two recipes.

For each role, over all heads: the rank correlation of their scores (Spearman's; equal scores share a rank), how many of the
best heads are among the other's best, and the largest difference of a score. Quantisation changes scores, and so the order of
heads that score alike, but not which heads play a role; another model of the same shape agrees on neither.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from headroles.core.records.head_categories import HeadCategories
from headroles.core.roles.roles import MeasuredRole
from headroles.errors import InvalidRecordError

from ..tables import align
from .validate import correlation

BEST = 5
HEADER = ("role", "rank correlation", f"best {BEST} in common", "largest difference")


@dataclass(frozen=True)
class RoleAgreement:
    """How far two records agree on one role.

    Attributes:
        role: the role.
        rank_correlation: Spearman's over all heads, -1 to 1; 0 where a side scores every head the same.
        common: how many heads are among the best of both.
        of: how many count as the best: BEST, or fewer where a model has fewer heads.
        largest_difference: the largest absolute difference of a head's score.
    """

    role: MeasuredRole
    rank_correlation: float
    common: int
    of: int
    largest_difference: float


def agreements(a: HeadCategories, b: HeadCategories) -> list[RoleAgreement]:
    """Compares two records in each role that both score.

    Args:
        a: a record.
        b: another of the same shape.

    Raises:
        InvalidRecordError: when they have different layers and heads, or no role in common.
    """
    if a.heads() != b.heads():
        raise InvalidRecordError(
            f"The records are of {a.num_layers} layers x {a.num_heads} heads and of {b.num_layers} x {b.num_heads}; "
            "two records are compared head by head, so give two of one shape."
        )
    roles = [role for role in a.scored_roles if role in b.scored_roles]
    if not roles:
        raise InvalidRecordError("The records score no role in common; make both by the same version of the analysis.")
    return [_compare_role(role, _scores(a, role), _scores(b, role)) for role in roles]


def report(a: HeadCategories, b: HeadCategories) -> str:
    """Formats the comparison as a table in plain text, a line for each role.

    Args:
        a: a record.
        b: another of the same shape.

    Raises:
        InvalidRecordError: as `agreements` does.
    """
    rows: list[tuple[str, ...]] = [HEADER]
    for found in agreements(a, b):
        common = f"{found.common} of {found.of}"
        rows.append((found.role.display_name, f"{found.rank_correlation:.3f}", common, f"{found.largest_difference:.3f}"))
    return "\n".join([f"{_title(a)}\n{_title(b)}\n", *align(rows)])


def _compare_role(role: MeasuredRole, a: Sequence[float], b: Sequence[float]) -> RoleAgreement:
    of = min(BEST, len(a))
    difference = max(abs(x - y) for x, y in zip(a, b))
    return RoleAgreement(role, correlation(_ranks(a), _ranks(b)), len(_best(a, of) & _best(b, of)), of, difference)


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
    precision = f", {weights.quantization} weights" if weights else ""
    return f"{record.model_name}{precision}, revision {record.revision}, {record.analysis_date}"
