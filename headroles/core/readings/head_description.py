"""What a head is in a model, whatever the text, in one sentence: its roles and where it rests, from its scores alone."""

from collections.abc import Mapping

from headroles.core.heads import Head
from headroles.core.roles.roles import RESTING, RESTING_PLACE, RESTING_ROLE, Role, get_measured_role, measured_roles
from headroles.core.text.phrases import article

A_LITTLE = 0.5  # of a role's threshold: from there on a head is said to do a little of it


def describe_head_in_model(head: Head, primary: Role, scores: Mapping[str, float | None], has_sink: bool = False) -> str:
    """`L18H6 is mainly an induction head (0.90); rests on the first token when nothing repeats (0.98); also a little ...`.

    Args:
        primary: what it mainly is.
        scores: of each measured role, by name; None, or nothing, where the record does not hold one.
    """
    known = {name: score for name, score in scores.items() if score is not None}
    if primary.name in known:
        figure = get_measured_role(primary).measure.format_score(known[primary.name])
        said = [f"{head.label} is mainly {article(primary.display_name.lower())} head ({figure})"]
    else:
        said = [f"{head.label} reaches no role's threshold in this model"]
    when = "when nothing repeats" if primary.requires_repetition else "when it has nothing to do"
    for role in measured_roles():
        if role.rests_on and role != primary and (rest := known.get(role.name, 0.0)) >= RESTING:
            where = resting_place(has_sink) if role == RESTING_ROLE else role.rests_on
            said.append(f"rests on {where} {when} ({rest:.2f})")
    for role in measured_roles():
        score = known.get(role.name, 0.0)
        if not role.is_content or role == primary or score < role.threshold * A_LITTLE:
            continue
        how = "also" if score >= role.threshold else "also a little"
        name = role.display_name.lower()
        said.append(f"{how} {article(name) if how == 'also' else name} ({role.measure.format_score(score)})")
    return f"{'; '.join(said)}."


def resting_place(has_sink: bool) -> str:
    return f"{RESTING_PLACE} or the learned sink" if has_sink else RESTING_PLACE
