"""A head's page: what it does here in words, where it looks, and its readings in every role."""

from dataclasses import dataclass

from headroles import __version__
from headroles.core.readings.analysis import HeadView
from headroles.core.readings.head_readings import HeadReading
from headroles.core.roles.literature import published_claims
from headroles.core.roles.roles import RESTING, RESTING_ROLE, MeasuredRole, measured_roles
from headroles.render.html import render_template
from headroles.render.page.pattern import pattern_shown
from headroles.render.wording.bars import figures, score_figures, second_figures
from headroles.render.wording.catalog import message, plural
from headroles.render.wording.evidence import describe_evidence
from headroles.render.wording.head_sentences import describe_head_view
from headroles.render.wording.phrases import capitalized, percent, role_name
from headroles.render.wording.sources import describe_claims, describe_origin
from headroles.render.wording.states import MARKS

CITED = 80  # characters of a text that a citation quotes
# what TeX would take for a command; a name may come from a folder, and hold any of it
TEX_ESCAPES = str.maketrans(
    {mark: f"\\{mark}" for mark in "#$%&_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)


@dataclass(frozen=True)
class RoleRow:
    """A head in one role, in the words of the table.

    `usual` is where its usual range begins, how wide it is, and where this text lies, in percent; None without one.
    """

    role: MeasuredRole
    here: str
    compared: str
    score: str
    second: str
    verdict: str
    usual: tuple[float, float, float] | None


def render_head(view: HeadView) -> str:
    """The head that is open: neighbours, sentence, heatmap, and what it does in every role."""
    sentence = describe_head_view(view)
    known = describe_claims(published_claims(view.model, view.head))
    return render_template(
        "head",
        view=view,
        primary=message("no named role") if view.main is None else message("mainly {role}", role=role_name(view.primary)),
        sentence=sentence,
        state=view.readings[view.role.name].state if view.role.name in view.readings else "not a role",
        looks=_looks(view),
        known=capitalized(known),
        pattern=pattern_shown(view, f"{_attention_title(view)} {sentence}"),
        cite=cite(view),
        bibtex=bibtex(view),
        rests=(view.readings[RESTING_ROLE.name].activation or 0.0) >= RESTING,
        rows=[_row(role, view.readings[role.name]) for role in measured_roles()],
    )


def render_twin(view: HeadView, is_same: bool) -> str:
    """The same head on its role's suggested prompt, to compare with; one line where that is the visitor's own text."""
    sentence = describe_head_view(view)
    alt = f"{message('Attention of {head} on the suggested text.', head=view.head.label)} {sentence}"
    return render_template("twin", view=view, sentence=sentence, pattern=None if is_same else pattern_shown(view, alt))


def _attention_title(view: HeadView) -> str:
    return plural(
        "Attention of {head} over {count} tokens.",
        "Attention of {head} over {count} tokens.",
        len(view.tokens),
        head=view.head.label,
    )


def _looks(view: HeadView) -> str:
    """The lowest rung's number and what it is held against; empty where the role has none on this text."""
    reading = view.readings.get(view.role.name)
    if reading is None or reading.activation is None or not reading.can_show:
        return ""
    if reading.evidence:
        return describe_evidence(reading.evidence[0], view.tokens)
    return f"{figures(reading)}, {_compared(reading)}"


def cite(view: HeadView) -> str:
    """Who, where, and what made the numbers, in one line of plain text; the page adds the link."""
    text = view.prompt if len(view.prompt) <= CITED else f"{view.prompt[: CITED - 1]}…"
    cited = message("headroles: {head} of {model} on “{text}”.", head=view.head.label, model=view.model, text=text)
    return f"{cited} {describe_origin(view.source)}".rstrip()


def bibtex(view: HeadView) -> str:
    """The BibTeX entry of headroles, with its version, the model and the model's revision; the page adds the link."""
    revision = f", revision {view.source.revision}" if view.source else ""
    model = f"{view.model}{revision}".translate(TEX_ESCAPES)
    return (
        "@misc{headroles,\n"
        "  author = {{The headroles authors}},\n"
        "  title = {headroles: which attention heads of a language model do which job},\n"
        f"  howpublished = {{Software, version {__version__}}},\n"
        f"  note = {{Model {model}}}\n"
        "}"
    )


def _row(role: MeasuredRole, reading: HeadReading) -> RoleRow:
    score = score_figures(reading, with_interval=True)
    here, compared, verdict = _here(reading), _compared(reading), _verdict(role, reading)
    return RoleRow(role, here, compared, score, second_figures(role, reading), verdict, _usual(reading))


def _usual(reading: HeadReading) -> tuple[float, float, float] | None:
    if reading.usual is None or reading.activation is None:
        return None
    low, high = reading.usual
    return 100 * low, 100 * (high - low), 100 * reading.activation


def _here(reading: HeadReading) -> str:
    return "–" if reading.activation is None else figures(reading)


def _compared(reading: HeadReading) -> str:
    """What the number is held against, and which of the three things it is."""
    if reading.usual is not None:
        low, high = (percent(share) for share in reading.usual)
        return message("usually {low} to {high}", low=low, high=high)
    if reading.baseline is None or reading.activation is None or not reading.can_show:
        return "–"
    share = percent(reading.baseline)
    return message("otherwise {share}", share=share) if reading.is_triggered else message("chance {share}", share=share)


def _verdict(role: MeasuredRole, reading: HeadReading) -> str:
    """A mark and words; of a role that is scored offline alone, by the score."""
    if reading.activation is None:
        plays = reading.score is not None and reading.score >= role.threshold
        return f"{MARKS['scored offline']} {message('by its score')}" if plays else f"{MARKS['not seen']} {message('no')}"
    return f"{MARKS[reading.state]} {message(reading.state)}"
