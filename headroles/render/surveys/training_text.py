"""What a recorded training run says, in words: when each role appears, and what the numbers bear out and what they do not."""

from itertools import pairwise

from headroles.core.roles.roles import MeasuredRole, get_measured_role, measured_roles
from headroles.core.surveys.training_run import FIRST_TIME, SECOND_TIME, Onset, TrainingRun
from headroles.render.wording.phrases import join_names
from headroles.render.wording.sources import describe_kind

EARLIER, LATER = get_measured_role("previous_token"), get_measured_role("induction")  # which builds upon the other
LOSSES = {
    FIRST_TIME: "random strings, first time",
    SECOND_TIME: "random strings, second time",
    "prose": "prose that it never saw",
}


def loss_name(name: str) -> str:
    """What a loss of a run is called."""
    return LOSSES.get(name, name.replace("_", " "))


def tell_birth(birth: Onset | None) -> str:
    """`between step 1,150 and 1,200; for a while from step 900 on`."""
    if birth is None:
        return "not there at the last recorded step"
    again = f"; for a while from step {birth.first:,} on" if birth.first < birth.step else ""
    return _between(birth) + again


def tell_run(run: TrainingRun) -> str:
    """What was recorded, in one sentence."""
    return (
        f"How the roles of {run.model} came to be: {len(run.steps):,} points of one training run, "
        f"from step {run.steps[0]:,} to step {run.steps[-1]:,}."
    )


def tell_not_scored(run: TrainingRun) -> str:
    """Which roles of this version the run does not score; empty where it scores all."""
    missing = [role.display_name for role in measured_roles() if role not in run.roles]
    return (
        f"Not scored in this run: {join_names(missing)}. A head that does one of these stands as what else it does."
        if missing
        else ""
    )


def tell_no_losses(run: TrainingRun) -> str:
    """That nobody recorded losses, as of a run that was made of records; empty where there are some."""
    return "" if run.losses else "No losses were recorded in this run: how well the model predicted on the way, it does not say."


def tell_source(run: TrainingRun) -> str:
    """When the points were scored, and where the run comes from, with what went wrong on the way to a newer one."""
    scored = f"Scored {run.analysis_date} with {run.reader}"
    if run.source is None:
        return f"{scored}."
    return f"{scored}; {describe_kind(run.source, is_run=True)}.{run.source.note and ' ' + run.source.note}"


def tell_untrained(run: TrainingRun) -> str:
    """That a role says nothing of a head before there was any training, where that is so; else empty."""
    heads = len(run.layers) * run.num_heads
    everywhere = [role for role in run.roles if run.counts(role)[0] == heads]
    if run.steps[0] or not everywhere:
        return ""
    names = join_names([role.display_name for role in everywhere])
    return (
        f"At step 0, before any training, all {heads} heads reach the threshold of {names}: an untrained head looks at "
        f"everything about alike. So for {names} it is not the first mark that tells, but when a trained head has one again."
    )


def tell_lesson(run: TrainingRun) -> tuple[str, ...]:
    """What the run shows of how one role builds upon another, a paragraph each: as far as its own numbers go."""
    told = (_tell_order(run), _tell_fall(run), _tell_caution(run))
    return tuple(filter(None, told))


def birth_of(run: TrainingRun, role: MeasuredRole) -> Onset | None:
    """When a role appears in a run; None also where the run does not score it."""
    return run.onset(role) if role in run.roles else None


def _tell_order(run: TrainingRun) -> str:
    earlier, later = birth_of(run, EARLIER), birth_of(run, LATER)
    first, second = EARLIER.display_name, LATER.display_name
    if earlier is None or later is None:
        missing = join_names([role.display_name for role, birth in ((EARLIER, earlier), (LATER, later)) if birth is None])
        return f"{missing} heads do not stay in this run, so it says nothing of which of {first} and {second} comes first."
    if is_before(earlier, later):
        when = f"{first} heads are there for good {_between(earlier)}, {second} heads only {_between(later)}."
        return f"{when} That fits what is known of how one builds upon the other ({LATER.source}).{_tell_layers(run)}"
    if is_before(later, earlier):
        return f"{second} heads are there for good {_between(later)}, before {first} heads, {_between(earlier)}."
    return f"{first} and {second} heads appear between the same recorded steps: this run does not tell which come first."


def _tell_layers(run: TrainingRun) -> str:
    below, above = run.best(EARLIER)[-1].head, run.best(LATER)[-1].head
    if below.layer >= above.layer:
        return ""
    return (
        f" In the end the best of the first, {below.label}, lies in an earlier layer than the best of the second, {above.label}."
    )


def is_before(one: Onset, other: Onset) -> bool:
    """Whether one surely appeared before another: the steps between which they did do not overlap."""
    return other.before is not None and one.step <= other.before


def _between(birth: Onset) -> str:
    if birth.before is None:
        return f"from the first recorded step on, {birth.step:,}"
    return f"between step {birth.before:,} and {birth.step:,}"


def _tell_fall(run: TrainingRun) -> str:
    birth = birth_of(run, LATER)
    if birth is None or birth.before is None or not {FIRST_TIME, SECOND_TIME} <= set(run.losses):
        return ""
    again, at_first = run.losses[SECOND_TIME], run.losses[FIRST_TIME]
    before, after = run.at(birth.before), run.at(birth.step)
    moves = "falls" if again[after] < again[before] else "does not fall"
    falls = [one - other for one, other in pairwise(again)]
    largest = ", more than between any other two neighbouring points" if falls[before] == max(falls) > 0 else ""
    return (
        f"{_between(birth).capitalize()}, where {LATER.display_name} heads appear, the loss on random strings that come a second "
        f"time {moves}: {again[before]:.2f} to {again[after]:.2f} nats a token{largest}. On their first time it goes from "
        f"{at_first[before]:.2f} to {at_first[after]:.2f}. So to have read a string before saves "
        f"{at_first[before] - again[before]:.2f} nats a token at step {birth.before:,}, "
        f"{at_first[after] - again[after]:.2f} at step {birth.step:,} and {at_first[-1] - again[-1]:.2f} at the last, "
        f"step {run.steps[-1]:,}."
    )


def _tell_caution(run: TrainingRun) -> str:
    birth = birth_of(run, LATER)
    if birth is None or birth.before is None:
        return ""
    changed = next((stretch for stretch in run.phases if birth.before <= stretch.step < birth.step), None)
    what = (
        f" What it read changed there too: from step {changed.step:,} on {changed.description}."
        if changed and changed.step
        else ""
    )
    together = f"That two things come together does not say that one makes the other.{what} " if run.losses else ""
    return f"{together}Whether the model needs these heads, only taking them out tells:"
