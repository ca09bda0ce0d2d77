"""A recorded training run -> HTML: what it says, the map at every recorded step, the curves, and when each role appears."""

import base64
import json
import struct
from dataclasses import dataclass

from headroles.core.roles.role import MeasuredRole
from headroles.core.roles.roles import ROLES
from headroles.core.surveys.training_run import TrainingRun
from headroles.render.html import render_template
from headroles.render.page.model_map import NO_SCORE, WIDE
from headroles.render.surveys.training_chart import FRAME, Axis, training_charts
from headroles.render.surveys.training_text import (
    LATER,
    loss_name,
    tell_birth,
    tell_lesson,
    tell_no_losses,
    tell_not_scored,
    tell_run,
    tell_source,
    tell_untrained,
)
from headroles.render.wording.bars import hundredths

CELL = struct.Struct("<BBh")  # as the script reads it: role, filling and score in hundredths
TAKE_OUT = "Zorbat melkin frayd ustole. Zorbat melkin frayd"  # a text on which the heads of the lesson show whether they matter


@dataclass(frozen=True)
class RecordedRun:
    """What there is of a model's training: its run, or the sentence that says why there is none."""

    model: str
    run: TrainingRun | None
    missing: str = ""


@dataclass(frozen=True)
class TrainingRow:
    """A role at the last recorded step, and when it appeared."""

    role: MeasuredRole
    appears: str
    best: str
    score: str
    heads: int


def render_training(recorded: RecordedRun) -> str:
    """The run of a model; one sentence where there is none."""
    run = recorded.run
    if run is None:
        return render_template("training_missing", model=recorded.model, missing=recorded.missing)
    return render_template(
        "training",
        model=recorded.model,
        run=run,
        said=tell_run(run),
        not_scored=tell_not_scored(run),
        lesson=tell_lesson(run),
        lesson_title="What comes first, and what falls with it" if run.losses else "What comes first",
        untrained=tell_untrained(run),
        no_losses=tell_no_losses(run),
        source=tell_source(run),
        later=LATER,
        take_out=TAKE_OUT if LATER in run.roles else "",
        shapes=ROLES.values(),
        rows=[_row(run, role) for role in run.roles],
        losses=[(name, loss_name(name), f"{values[-1]:.2f}") for name, values in run.losses.items()],
        charts=training_charts(run),
        frame=FRAME,
        is_wide=run.num_heads > WIDE,
        cells=pack_run(run),
        known=json.dumps(_known(run), separators=(",", ":")),
    )


def pack_run(run: TrainingRun) -> str:
    """Every head's main role, how full its shape is and its score in it, point by point and layer by layer, in base64."""
    order, packed = {role: number for number, role in enumerate(ROLES.values())}, []
    for point, table in enumerate(run.primary):
        for layer in run.layers:
            for index, role in enumerate(table[layer]):
                scores = run.scores.get(role.name)
                score = 0.0 if scores is None else scores[point][layer][index]
                told = NO_SCORE if scores is None else hundredths(score)
                packed.append(CELL.pack(order[role], round(role.fill(score) * 100), told))
    return base64.b64encode(b"".join(packed)).decode()


def _known(run: TrainingRun) -> dict[str, object]:
    """What the script says and draws of each point beside the cells; of roles, in the order of the table's rows."""
    axis = Axis.of(run.steps)
    return {
        "roles": [[role.name, role.display_name, role.color] for role in ROLES.values()],
        "steps": run.steps,
        "across": [axis.at(step) for step in run.steps],
        "best": [
            [
                [best.head.layer, best.head.index, hundredths(best.score), count]
                for best, count in zip(run.best(role), run.counts(role))
            ]
            for role in run.roles
        ],
        "losses": [[hundredths(loss) for loss in values] for values in run.losses.values()],
    }


def _row(run: TrainingRun, role: MeasuredRole) -> TrainingRow:
    best = run.best(role)[-1]
    return TrainingRow(role, tell_birth(run.onset(role)), best.head.label, f"{best.score:.2f}", run.counts(role)[-1])
