"""A head's page: what it does here in words, where it looks, and its readings in every role."""

import base64
import json

from markupsafe import Markup

from headroles.core.heads import Head
from headroles.core.literature import credit, known_from
from headroles.core.readings import HeadReading, HeadView
from headroles.core.roles import RESTING, RESTING_ROLE, Role, measured_roles
from headroles.core.tokens import visible
from headroles.render.html import icon, join
from headroles.render.lessons import why_the_first_token
from headroles.render.pixels import outline_path, pattern_bytes, pattern_png
from headroles.render.wording import MARKS, describe_head, percent, state_of

MAX_LABELS = 32  # along one axis; of more tokens every n-th is named
MAX_LABEL_CHARACTERS = 14


def render_head(view: HeadView) -> str:
    """The head that is open: neighbours, sentence, heatmap, and what it does in every role."""
    sentence = describe_head(view)
    known = credit(known_from(view.model, view.head))
    rests = (view.readings[RESTING_ROLE.name].activation or 0.0) >= RESTING
    rows = join(_reading_row(role, view.readings[role.name], view) for role in measured_roles())
    return str(
        Markup(
            '<div class="hr-view" data-layer="{layer}" data-head="{head}" style="--role:{color}">'
            '<div class="hr-title"><h2>{icon} {label} <small>{primary}</small></h2>'
            '<nav class="hr-around" aria-label="Other heads">{previous}{next}</nav></div>'
            '<p class="hr-sentence" role="status">{sentence}</p>{known}{figure}{why}'
            '<div class="hr-scroll" tabindex="0" role="region" aria-label="All roles of {label}"><table class="hr-readings">'
            '<thead><tr><th scope="col">Role</th><th scope="col">Here</th>'
            '<th scope="col">Chance</th><th scope="col">Score</th><th scope="col">Active</th></tr></thead>'
            "<tbody>{rows}</tbody></table></div>"
            '<p class="hr-note">Here: measured on your text. Chance: a head that looks at everything alike. '
            "Score: measured on the probe texts.</p></div>"
        ).format(
            layer=view.head.layer,
            head=view.head.index,
            color=view.role.color,
            icon=icon(view.primary.icon),
            label=view.head.label,
            primary=_primary_words(view),
            previous=_neighbour(view.previous, "previous", "‹ {}"),
            next=_neighbour(view.next, "next", "{} ›"),
            sentence=sentence,
            known=Markup('<p class="hr-known">{}.</p>').format(known[:1].upper() + known[1:]) if known else "",
            figure=_figure(view, f"Attention of {view.head.label} over {len(view.tokens)} tokens. {sentence}"),
            why=why_the_first_token() if rests else "",
            rows=rows,
        )
    )


def render_twin(view: HeadView, is_same: bool) -> str:
    """The same head on its role's suggested prompt, to compare with; one line where that is the visitor's own text."""
    if is_same:
        text = Markup('<p class="hr-note">Your text is the one suggested for {}: no second picture.</p>').format(
            view.role.display_name
        )
    else:
        text = Markup("<blockquote>{prompt}</blockquote>{figure}<p>{sentence}</p>").format(
            prompt=view.prompt,
            figure=_figure(view, f"Attention of {view.head.label} on the suggested text. {describe_head(view)}"),
            sentence=describe_head(view),
        )
    return str(
        Markup('<section class="hr-twin" style="--role:{}"><h3>{} where {} can show</h3>{}</section>').format(
            view.role.color, view.head.label, view.role.display_name, text
        )
    )


def _figure(view: HeadView, description: str) -> Markup:
    """The pattern, one pixel a cell, between its two axes; the script reads `data-pattern` to draw rows and columns as bars.

    The axes are sliders: the pointer picks a token by where it is, the arrow keys one after the other, and a screen reader
    hears what the script writes into aria-valuetext.
    """
    count = len(view.tokens)
    return Markup(
        '<figure class="hr-figure"><div class="hr-pattern" data-labels="{labels}" style="--count:{count};--longest:{longest}"'
        ' data-pattern="{cells}" data-tokens="{tokens}">'
        '<svg class="hr-bars hr-key-bars" viewBox="0 0 {count} 1" preserveAspectRatio="none" aria-hidden="true"><path/></svg>'
        "{queries}"
        '<div class="hr-square"><img class="hr-heatmap" alt="{alt}" src="data:image/png;base64,{png}">'
        '<svg viewBox="0 0 {count} {count}" aria-hidden="true"><path class="hr-outline" d="{outline}"/>'
        '<path class="hr-cross"/></svg></div>'
        '<svg class="hr-bars hr-query-bars" viewBox="0 0 1 {count}" preserveAspectRatio="none" aria-hidden="true"><path/></svg>'
        '{keys}</div><p class="hr-said">Point at a token: its row or column becomes bars.</p>'
        "<figcaption>{caption}Rows: the token that looks. Columns: the token that is looked at.</figcaption></figure>"
    ).format(
        count=count,
        longest=min(max(len(visible(token)) for token in view.tokens), MAX_LABEL_CHARACTERS),
        labels="many" if count > MAX_LABELS // 2 else "some" if count > MAX_LABELS // 4 else "few",  # narrow pages thin them more
        cells=pattern_bytes(view.pattern),
        tokens=json.dumps([visible(token) for token in view.tokens]),
        queries=_axis(view.tokens, "queries", "vertical", "Token that looks"),
        keys=_axis(view.tokens, "keys", "horizontal", "Token that is looked at"),
        alt=description,
        png=base64.b64encode(pattern_png(view.pattern)).decode(),
        outline=outline_path(view.expected),
        caption=_caption(view),
    )


def _axis(tokens: tuple[str, ...], name: str, orientation: str, label: str) -> Markup:
    step = -(-len(tokens) // MAX_LABELS)
    labels = join(
        Markup('<bdi style="--at:{}">{}</bdi>').format(position + 1, visible(tokens[position]))
        for position in range(0, len(tokens), step)
    )
    return Markup(
        '<div class="hr-axis hr-{name}" role="slider" tabindex="0" aria-label="{label}" aria-orientation="{orientation}"'
        ' aria-valuemin="1" aria-valuemax="{count}" aria-valuenow="1" aria-valuetext="none chosen" data-axis="{name}">'
        "{labels}</div>"
    ).format(name=name, label=label, orientation=orientation, count=len(tokens), labels=labels)


def _caption(view: HeadView) -> Markup:
    if view.expected.any():
        return Markup("Outlined: the cells that <b>{}</b> expects to be strong. ").format(view.role.display_name)
    return Markup("No cell is outlined: {} expects none on this text. ").format(view.role.display_name)


def _neighbour(head: Head | None, name: str, text: str) -> Markup:
    if head is None:
        return Markup("")
    return Markup(
        '<button type="button" class="hr-open" data-layer="{}" data-head="{}" data-role="" aria-label="{} head, {}">{}</button>'
    ).format(head.layer, head.index, name, head.label, text.format(head.label))


def _reading_row(role: Role, reading: HeadReading, view: HeadView) -> Markup:
    return Markup(
        '<tr class="{looked}"><th scope="row"><button type="button" class="hr-open" data-layer="{layer}" data-head="{head}"'
        ' data-role="{role}" aria-label="Look at {label} for {name}">{name}</button></th>'
        "<td>{here}</td><td>{chance}</td><td>{score}</td><td>{mark}</td></tr>"
    ).format(
        looked="is-looked-at" if role == view.role else "",
        layer=view.head.layer,
        head=view.head.index,
        role=role.name,
        label=view.head.label,
        name=role.display_name,
        here=_share(reading.activation),
        chance=_share(reading.chance),
        score="–" if reading.score is None else f"{reading.score:.2f}",
        mark=_yes_or_no(reading),
    )


def _share(value: float | None) -> str:
    return "–" if value is None else percent(value)


def _yes_or_no(reading: HeadReading) -> str:
    if reading.activation is None:
        return f"{MARKS['in the weights']} always"
    return f"{MARKS[state_of(reading.is_active)]} {'yes' if reading.is_active else 'no'}"


def _primary_words(view: HeadView) -> str:
    return "no named role" if view.main is None else f"mainly {view.primary.display_name.lower()}"
