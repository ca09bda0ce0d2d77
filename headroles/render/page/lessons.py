"""A short lesson on each role: what it does, a picture, what to try, what to look for -> HTML, all of it from `roles.py`.

The picture is drawn from the role's own measure, so it cannot say anything else than what is measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from headroles.core.records.head_categories import HeadCategories
from headroles.core.roles.role import Example, Role
from headroles.core.roles.roles import ROLES, get_measured_role, measured_roles
from headroles.render.html import render_template
from headroles.render.wording.catalog import message
from headroles.render.wording.phrases import join_names
from headroles.render.wording.states import NO_PROMPT

CELL = 24  # side of a cell, in the units of the picture
# induction heads look in both; only on the second, which nobody can know by meaning, do they matter
LOOKS_AND_MATTERS = (
    "The king and the queen lived in a castle. The king and the",
    "Zorbat melkin frayd ustole. Zorbat melkin frayd",
)
MARGIN = 50  # room for the words, left of the cells and below them
NAMED = 3  # heads of a model that its lessons name


@dataclass(frozen=True)
class Square:
    """A cell of a picture: its upper left corner, and how much attention it stands for."""

    x: int
    y: int
    strength: float


@dataclass(frozen=True)
class Label:
    """A word beside its row and, turned upright, below its column: where the middle of both lies."""

    word: str
    row: float
    column: float


@dataclass(frozen=True)
class Picture:
    """The pattern of a perfect head: queries down, keys across, as in the heatmaps; cells of the future stay blank."""

    side: int
    cell: int
    alt: str
    caption: str
    squares: tuple[Square, ...]
    labels: tuple[Label, ...]
    left: int
    below: int


@dataclass(frozen=True)
class Lesson:
    """A role and its picture; None for a role without one."""

    role: Role
    picture: Picture | None


@dataclass(frozen=True)
class OnModel:
    """What a role's lesson is about in one model: its heads in words, a text to try, and what must be known of it."""

    role: Role
    heads: str
    prompt: str
    note: str


def render_lessons_here(record: HeadCategories, others: Sequence[HeadCategories] = ()) -> str:
    """Which lessons a model has heads for, and what to try on it.

    Args:
        record: of the model.
        others: of models that anybody can open, to name those that have heads where this one has none.
    """
    missing = [role for role in measured_roles() if not record.top_heads(role)]
    lines = []
    if missing:
        lines.append(message("No head of {model} stands for {roles}.", model=record.model_name, roles=_names(missing)))
    for other in others:
        if there := [role for role in missing if other.top_heads(role)]:
            lines.append(message("{model} has heads for {roles}.", model=other.model_name, roles=_names(there)))
    rows = [_on_model(role, record) for role in measured_roles() if role not in missing]
    return render_template("lessons_here", model=record.model_name, rows=rows, missing=lines)


def _names(roles: Sequence[Role]) -> str:
    return join_names([message(role.display_name) for role in roles])


def _on_model(role: Role, record: HeadCategories) -> OnModel:
    top = record.categories[role.name].top_heads
    named = ", ".join(f"L{head.layer}H{head.head} {head.score:.2f}" for head in top[:NAMED])
    prompt, note = record.suggested_prompt(role), ""
    if role.suggested_prompt and not prompt:
        note = message(NO_PROMPT)
    elif prompt != role.suggested_prompt:
        note = message("The lesson's own sentence does not show it on this model; this one does.")
    more = len(top) - NAMED
    return OnModel(role, message("{heads} and {more} more", heads=named, more=more) if more > 0 else named, prompt, note)


def render_lessons() -> str:
    """The lessons on all roles, and why so many heads look at the first token."""
    return render_template(
        "lessons", lessons=[make_lesson(role) for role in ROLES.values()], rungs=LOOKS_AND_MATTERS, looking=ROLES["induction"]
    )


def make_lesson(role: Role) -> Lesson:
    """One role: what it does, its picture, an experiment, what to look for, and the paper."""
    return Lesson(role, _picture(role))


def _picture(role: Role) -> Picture | None:
    example = role.example
    pattern = None if example is None else get_measured_role(role).measure.picture(example.token_ids(), example.delimiters())
    if example is None or pattern is None:
        return None
    words, places = example.words, range(len(example.words))
    return Picture(
        side=MARGIN + len(words) * CELL,
        cell=CELL - 2,
        alt=message(
            "Attention of a perfect {role} head. {picture}", role=message(role.display_name), picture=_describe(role, example)
        ),
        caption=message("{caption} Row: the word that looks; column: the word looked at.", caption=message(example.caption)),
        squares=tuple(Square(MARGIN + k * CELL + 1, q * CELL + 1, float(pattern[q, k])) for q in places for k in range(q + 1)),
        labels=tuple(Label(words[place], (place + 0.5) * CELL, MARGIN + (place + 0.5) * CELL) for place in places),
        left=MARGIN - 5,
        below=len(words) * CELL + 5,
    )


def _describe(role: Role, example: Example) -> str:
    """The picture in words, for those who do not see it: the caption, and each expected cell where there are any."""
    words, expected = example.words, role.expected_keys(example.token_ids(), delimiters=example.delimiters())
    rows = [(q, row.nonzero().flatten().tolist()) for q, row in enumerate(expected) if row.any()]
    both = message(" and ")
    cells = [
        message("{query} at {keys}", query=_place(words, q), keys=both.join(_place(words, k) for k in keys)) for q, keys in rows
    ]
    caption = message(example.caption)
    return message("{caption} Filled: {cells}.", caption=caption, cells="; ".join(cells)) if cells else caption


def _place(words: tuple[str, ...], position: int) -> str:
    """A word, with its number where the text has it more than once."""
    return f"{words[position]} ({position + 1})" if words.count(words[position]) > 1 else words[position]
