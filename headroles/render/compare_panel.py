"""Two analyses side by side -> HTML. Pure strings; every piece of text is escaped once, where it enters (markupsafe)."""

from markupsafe import Markup

from headroles.core.comparison import (
    DEPTH_BINS,
    MIN_CHANGE,
    Census,
    Change,
    HeadChange,
    ModelComparison,
    PromptComparison,
    RoleCensus,
    RoleChange,
    heads_by_depth,
)
from headroles.core.heads import Head
from headroles.core.readings import Analysis, HeadReading, RoleReading
from headroles.core.roles import Role, get_measured_role
from headroles.render.html import icon, join, role_mark, token_strip
from headroles.render.wording import MARKS, describe_model_comparison, describe_prompt_comparison, percent

_CHANGE_MARKS: dict[Change, str] = {"turns on": "▲", "turns off": "▼", "stays on": "●", "stays off": "○"}


def render_prompt_comparison(comparison: PromptComparison) -> str:
    """Both texts, what each role does on them, and the heads that changed most with buttons that open them."""
    a, b = comparison.a, comparison.b
    return str(
        Markup(
            '<div class="hr-compare"><p class="hr-announce" role="status">{summary}</p>'
            '<div class="hr-sides">{side_a}{side_b}</div>{roles}{heads}</div>'
        ).format(
            summary=describe_prompt_comparison(comparison),
            side_a=_side("A", "Text A", f"{len(a.tokens)} tokens", a),
            side_b=_side("B", "Text B", f"{len(b.tokens)} tokens", b),
            roles=_role_table(comparison),
            heads=_head_list(comparison),
        )
    )


def render_model_comparison(comparison: ModelComparison) -> str:
    """Both models, how many heads of each play a role and in which layers, and which roles are active on the text."""
    a, b = comparison.a, comparison.b
    slices_a, slices_b = heads_by_depth(a), heads_by_depth(b)
    gaps = " A dash: no layer of that model lies there." if 0 in slices_a + slices_b else ""
    return str(
        Markup(
            '<div class="hr-compare"><p class="hr-announce" role="status">{summary}</p>'
            '<div class="hr-sides">{side_a}{side_b}</div>'
            '<p class="hr-note">Each head counts once, under the role it mainly plays. Relative depth, left: first layers, '
            "right: last layers; models of different depth line up. A number counts heads; the stronger its colour, the larger "
            "their share of the model's heads at that depth. ● active on this text, ○ not. The buttons open the strongest "
            "heads there.{gaps}</p>"
            '<table class="hr-census"><caption class="hr-unseen">Heads of each role by relative depth</caption>'
            '<thead><tr><th scope="col"><span class="hr-unseen">Model</span></th><th scope="col">Heads</th>'
            '<th scope="col"><span class="hr-wide">On this text</span></th>{depths}</tr></thead>{roles}</table></div>'
        ).format(
            summary=describe_model_comparison(comparison),
            side_a=_side("A", a.model, _size(a), a),
            side_b=_side("B", b.model, _size(b), b),
            gaps=gaps,
            depths=join(_depth_header(index) for index in range(DEPTH_BINS)),
            roles=join(_census_rows(role, comparison, slices_a, slices_b) for role in comparison.roles),
        )
    )


def _side(letter: str, title: str, size: str, analysis: Analysis) -> Markup:
    return Markup(
        '<section class="hr-side" aria-label="{letter}"><h3><span class="hr-letter" aria-hidden="true">{letter}</span>'
        '<span class="hr-name">{title}</span> <small>{size}</small></h3>{tokens}</section>'
    ).format(
        letter=letter,
        title=title,
        size=size,
        tokens=token_strip(analysis.tokens, f"{letter}: {len(analysis.tokens)} tokens as the model reads them"),
    )


def _size(analysis: Analysis) -> str:
    return f"{analysis.num_layers} layers × {analysis.num_heads} heads"


def _state(reading: RoleReading) -> tuple[str, str]:
    """A mark and words for what a role does on a text."""
    return MARKS[reading.state], reading.state


def _role_table(comparison: PromptComparison) -> Markup:
    readings = [reading for role in comparison.roles for reading in (role.a, role.b)]
    note = (
        "Not applicable: the text gives the role no occasion, for instance when no word comes back."
        if any(not reading.applicable for reading in readings)
        else ""
    )
    return Markup(
        '<table class="hr-changes"><caption>Roles on A and on B</caption><thead><tr><th scope="col">Role</th>'
        '<th scope="col">A</th><th scope="col">B</th><th scope="col">From A to B</th></tr></thead><tbody>{rows}</tbody></table>'
        '<p class="hr-note">Below each state: the strongest of the role\'s heads and its activation. {note}</p>'
    ).format(rows=join(map(_change_row, comparison.roles)), note=note)


def _change_row(role: RoleChange) -> Markup:
    turned = role.change.startswith("turns")
    return Markup(
        '<tr class="{kind}" data-role="{name}" style="--role:{color}"><th scope="row">{icon} <span>{title}</span></th>'
        '<td>{a}</td><td>{b}</td><td class="hr-change"><span class="hr-sign">{sign}</span> {change}</td></tr>'
    ).format(
        kind="is-changed" if turned else "",
        name=role.role.name,
        color=role.role.color,
        icon=icon(role.role.icon),
        title=role.role.display_name,
        a=_state_cell(role.a),
        b=_state_cell(role.b),
        sign=_CHANGE_MARKS[role.change],
        change=role.change,
    )


def _state_cell(reading: RoleReading) -> Markup:
    mark, words = _state(reading)
    strongest = reading.strongest
    if strongest is None:
        detail = "no such head"
    else:
        detail = f"{strongest.head.label} {percent(strongest.shown)}" if reading.applicable else ""
    return Markup('<span class="hr-state{off}">{mark} {words}</span> <small>{detail}</small>').format(
        off="" if reading.is_active else " is-off", mark=mark, words=words, detail=detail
    )


def _head_list(comparison: PromptComparison) -> Markup:
    if not comparison.heads:
        return Markup(
            '<h3>Heads that changed most</h3><p class="hr-none">None: every activation differs by less than {:.0f} points.</p>'
        ).format(MIN_CHANGE * 100)
    return Markup(
        '<h3>Heads that changed most</h3><ol class="hr-changed">{}</ol>'
        '<p class="hr-note">The bar is the activation on each text; the thin mark is what chance would give there.</p>'
    ).format(join(_changed_head(change, comparison) for change in comparison.heads))


def _changed_head(change: HeadChange, comparison: PromptComparison) -> Markup:
    sign = "▲ +" if change.difference > 0 else "▼ −"
    return Markup(
        '<li style="--role:{color}"><p class="hr-which"><b class="hr-label">{label}</b> {mark} {role}'
        '<span class="hr-difference">{sign}{points:.0f} points</span></p>{a}{b}</li>'
    ).format(
        color=change.role.color,
        label=change.a.head.label,
        mark=role_mark(change.role),
        role=change.role.display_name,
        sign=sign,
        points=abs(change.difference) * 100,
        a=_side_bar("a", change.role, change.a, comparison.a.heads.applicable[change.role.name]),
        b=_side_bar("b", change.role, change.b, comparison.b.heads.applicable[change.role.name]),
    )


def _side_bar(side: str, role: Role, reading: HeadReading, applicable: bool) -> Markup:
    # roles without expected keys have no chance to compare with: uniform attention is what they are
    by_chance = applicable and get_measured_role(role).measure.beats_uniform
    chance = (
        Markup('<span class="hr-chance" style="left:{:.1f}%" title="chance {}"></span>').format(
            (reading.chance or 0.0) * 100, percent(reading.chance or 0.0)
        )
        if by_chance
        else ""
    )
    return Markup(
        '<div class="hr-line"><span class="hr-letter">{letter}</span><span class="hr-bar" aria-hidden="true">'
        '<span class="hr-fill" style="width:{fill:.1f}%"></span>{chance}</span>'
        '<span class="hr-number">{number}<span class="hr-unseen">{said}</span></span>'
        "{button}</div>"
    ).format(
        letter=side.upper(),
        fill=reading.shown * 100,
        chance=chance,
        number=percent(reading.shown) if applicable else "–",
        said=f", by chance {percent(reading.chance or 0.0)}" if by_chance else "" if applicable else " not applicable",
        button=_open_button(
            side,
            role,
            reading.head,
            Markup('Open<span class="hr-unseen"> {} on text {}</span>').format(reading.head.label, side.upper()),
        ),
    )


def _open_button(side: str, role: Role, head: Head, text: Markup) -> Markup:
    return Markup(
        '<button type="button" class="hr-open" data-layer="{}" data-head="{}" data-role="{}" data-side="{}">{}</button>'
    ).format(head.layer, head.index, role.name, side, text)


def _depth_header(index: int) -> Markup:
    """The ends are said to all, the slices between to screen readers."""
    ends = {0: "first", DEPTH_BINS - 1: "last"}
    visible = Markup('{}<span class="hr-wide"> layers</span>').format(ends[index]) if index in ends else ""
    start, end = index / DEPTH_BINS, (index + 1) / DEPTH_BINS
    return Markup('<th scope="col" class="hr-depth"><span class="hr-end">{}</span><span class="hr-unseen">{}</span></th>').format(
        visible, f" depth {start * 100:g}% to {end * 100:g}%"
    )


def _census_rows(role: RoleCensus, comparison: ModelComparison, slices_a: tuple[int, ...], slices_b: tuple[int, ...]) -> Markup:
    name = role.role.name
    return Markup(
        '<tbody data-role="{name}" style="--role:{color}"><tr><th scope="rowgroup" class="hr-role" colspan="{columns}">'
        '{mark} {title} <small>{description}</small></th><td class="hr-strongest" colspan="3">{open_a} {open_b}</td></tr>'
        "{a}{b}</tbody>"
    ).format(
        name=name,
        color=role.role.color,
        columns=DEPTH_BINS,
        mark=role_mark(role.role),
        title=role.role.display_name,
        description=role.role.description,
        open_a=_strongest("A", comparison.a.role(name)),
        open_b=_strongest("B", comparison.b.role(name)),
        a=_census_row("A", role.a, comparison.a.role(name), slices_a),
        b=_census_row("B", role.b, comparison.b.role(name), slices_b),
    )


def _census_row(letter: str, census: Census, reading: RoleReading, slices: tuple[int, ...]) -> Markup:
    mark, words = _state(reading)
    return Markup(
        '<tr><th scope="row"><span class="hr-letter">{letter}</span></th><td class="hr-total">{total} <small>{share}</small></td>'
        '<td class="hr-state{off}">{mark} <span class="hr-wide">{words}</span></td>{cells}</tr>'
    ).format(
        letter=letter,
        total=census.total,
        share=percent(census.share),
        off="" if reading.is_active else " is-off",
        mark=mark,
        words=words,
        cells=join(_slice_cell(count, heads) for count, heads in zip(census.counts, slices)),
    )


def _strongest(letter: str, reading: RoleReading) -> Markup:
    """A button that opens the role's strongest head on the text, where the model has one."""
    if reading.strongest is None:
        return Markup("")
    head = reading.strongest.head
    text = Markup('<span class="hr-unseen">Open the strongest of </span>{} {}').format(letter, head.label)
    return _open_button(letter.lower(), reading.role, head, text)


def _slice_cell(count: int, heads: int) -> Markup:
    """A slice of relative depth: how many of the model's `heads` there have the role."""
    if not heads:
        return Markup('<td class="hr-slice is-gap"><span class="hr-count"><span class="hr-unseen">no layer</span></span></td>')
    number = Markup("{}" if count else '<span class="hr-unseen">{}</span>').format(count)
    return Markup(
        '<td class="hr-slice{some}" title="{count} of {heads} heads here" style="--share:{share:.3f}">'
        '<span class="hr-count">{number}</span></td>'
    ).format(some=" has-heads" if count else "", count=count, heads=heads, share=count / heads, number=number)
