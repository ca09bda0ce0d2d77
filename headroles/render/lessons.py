"""A short lesson on each role: what it does, a picture, what to try, what to look for. Pure strings, made from `roles.py`.

The picture is drawn from the role's own `expected_keys`, so it cannot say anything else than what is measured.
"""

from jaxtyping import Float
from markupsafe import Markup
from torch import Tensor

from headroles.core.roles import ROLES, Example, Role, get_measured_role
from headroles.render.html import icon, join, role_mark

CELL = 24  # side of a cell, in the units of the picture
MARGIN = 50  # room for the words, left of the cells and below them


def render_lessons() -> str:
    """The lessons on all roles, and why so many heads look at the first token."""
    lessons = join(render_lesson(role) for role in ROLES.values())
    return str(Markup('<div class="hr-lessons">{}</div>{}').format(lessons, why_the_first_token()))


def render_lesson(role: Role) -> Markup:
    """One role: what it does, its picture, an experiment, what to look for, and the paper."""
    return Markup(
        '<section class="hr-lesson" data-lesson="{name}" style="--role:{color}" aria-label="Lesson: {title}">'
        "<h3>{icon}{mark} {title}</h3>"
        '<div class="hr-lesson-words"><h4>What it does</h4><p>{explanation}</p></div>'
        "{picture}"
        '<div class="hr-lesson-words"><h4>Try this</h4><p>{try_this}</p>{button}'
        "<h4>What to look for</h4><p>{look_for}</p>{paper}</div></section>"
    ).format(
        name=role.name,
        color=role.color,
        title=role.display_name,
        icon=icon(role.icon),
        mark=role_mark(role),
        explanation=role.explanation,
        picture=_figure(role),
        try_this=role.try_this,
        button=try_button(role),
        look_for=role.look_for,
        paper=Markup('<p class="hr-paper">{}</p>').format(role.source) if role.source else "",
    )


def why_the_first_token() -> Markup:
    """Why so many heads look at the first token, for any place where it shows.

    Sources: Xiao et al. 2023 (attention sinks), Gu et al. 2024 (they add little to the values), Elhage et al. 2021 (induction
    heads attend to the first token when they find nothing). On the embedded model a test measures it.
    """
    return Markup(
        '<details class="hr-info hr-why-first"><summary>Why does every token look at the first one?</summary>'
        "<p>Often because the head has nothing to do there. The attention of a token always adds up to 1: softmax shares it "
        "out and cannot say “nothing”. A head that does not find what it looks for still has to put its attention somewhere.</p>"
        "<p>The first token is a good place for it. Every later token can see it, unless a sliding window cuts it off, and it "
        "often carries little meaning: many models begin with a special start token. A head passes on attention times the "
        "<em>value</em> of a token, and the value of the first token is often small, so looking at it is thought to change "
        "little. This is called an <b>attention sink</b> (Xiao et al. 2023; Gu et al. 2024). Induction heads do it too: "
        "when the token has no earlier copy, they often rest on the first token (Elhage et al. 2021).</p>"
        "<p>For reading this page it means:</p><ul>"
        "<li>A high first-token number is often a rest state, and says little about the head's job. Look at the rows in which "
        "the first column is <em>not</em> strong: there the head has found something.</li>"
        "<li>The first two rows hardly have a choice. The first token sees only itself, so its row is always 1; the second sees "
        "two tokens. Neither counts for the first-token number.</li>"
        "<li>Not every strong first column is rest: a head may use it, for instance to tell where the text begins. Why models "
        "learn it, and what all they use it for, is still being studied.</li></ul></details>"
    )


def try_button(role: Role) -> Markup:
    """The button that runs a role's prompt; nothing for a role without. The page listens for `data-try`."""
    if not role.suggested_prompt:
        return Markup("")
    return Markup('<button type="button" class="hr-try" data-try="{}">Try “{}”</button>').format(role.name, role.suggested_prompt)


def _figure(role: Role) -> Markup:
    example = role.example
    pattern = None if example is None else get_measured_role(role).measure.picture(example.token_ids())
    if example is None or pattern is None:
        return Markup("")
    caption = f"{example.caption} Row: the word that looks; column: the word looked at."
    picture = _picture(role, example, pattern)
    return Markup('<figure class="hr-lesson-figure">{}<figcaption>{}</figcaption></figure>').format(picture, caption)


def _picture(role: Role, example: Example, pattern: Float[Tensor, "query key"]) -> Markup:
    """Queries down, keys across, as in the heatmaps; cells of the future stay blank."""
    words = example.words
    side = MARGIN + len(words) * CELL
    cells = join(_cell(q, k, float(pattern[q, k])) for q in range(len(words)) for k in range(q + 1))
    labels = join(_labels(position, words) for position in range(len(words)))
    return Markup(
        '<svg class="hr-lesson-picture" viewBox="0 0 {side} {side}" role="img" aria-label="{told}">{cells}{labels}</svg>'
    ).format(
        side=side,
        told=f"Attention of a perfect {role.display_name} head. {_tell(role, example)}",
        cells=cells,
        labels=labels,
    )


def _cell(query: int, key: int, strength: float) -> Markup:
    """A square, filled by how much attention it stands for."""
    strong = Markup('<rect class="hr-strong" x="{x}" y="{y}" width="{size}" height="{size}" opacity="{strength:.3f}"/>')
    place = {"x": MARGIN + key * CELL + 1, "y": query * CELL + 1, "size": CELL - 2}
    pale = Markup('<rect class="hr-seen" x="{x}" y="{y}" width="{size}" height="{size}"/>').format(**place)
    return pale + strong.format(**place, strength=strength) if strength else pale


def _labels(position: int, words: tuple[str, ...]) -> Markup:
    """A token beside its row and, turned upright, below its column."""
    middle = (position + 0.5) * CELL
    return Markup(
        '<text x="{left}" y="{middle}" dy=".35em" text-anchor="end">{word}</text>'
        '<text transform="translate({across} {below}) rotate(-90)" dy=".35em" text-anchor="end">{word}</text>'
    ).format(left=MARGIN - 5, middle=middle, across=MARGIN + middle, below=len(words) * CELL + 5, word=words[position])


def _tell(role: Role, example: Example) -> str:
    """The picture in words, for those who do not see it: the caption, and each expected cell where there are any."""
    words, expected = example.words, role.expected_keys(example.token_ids())
    rows = [(q, row.nonzero().flatten().tolist()) for q, row in enumerate(expected) if row.any()]
    looks = "; ".join(f"{_place(words, q)} at {' and '.join(_place(words, k) for k in keys)}" for q, keys in rows)
    return f"{example.caption} Filled: {looks}." if looks else example.caption


def _place(words: tuple[str, ...], position: int) -> str:
    """A word, with its number where the text has it more than once."""
    return f"{words[position]} ({position + 1})" if words.count(words[position]) > 1 else words[position]
