"""The whole model at a glance: a grid of layers by heads, each head its primary role's shape, filled by what it does here."""

from markupsafe import Markup

from headroles.core.heads import Head
from headroles.core.readings import Analysis, HeadReading, State
from headroles.core.roles import ROLES, Role, get_measured_role
from headroles.render.html import join, role_mark, shape_points
from headroles.render.wording import MARKS, percent, state_of

WIDE = 16  # heads a layer beyond which the map takes the page's whole width


def render_map(analysis: Analysis) -> str:
    """The map with its legend, whose buttons filter by role; each cell is a button that opens its head.

    The script marks the cell of the head that is open, moves the focus with the arrow keys and shows the name of the head
    under the pointer.
    """
    rows = join(
        Markup('<div class="hr-map-row" role="row"><span class="hr-map-layer" role="rowheader">{}</span>{}</div>').format(
            layer, join(_cell(analysis, Head(layer, index)) for index in range(analysis.num_heads))
        )
        for layer in range(analysis.num_layers)
    )
    header = join(Markup('<span class="hr-map-head" role="columnheader">{}</span>').format(i) for i in range(analysis.num_heads))
    return str(
        Markup(
            '<div class="hr-map{wide}" style="--heads:{heads}">{symbols}{legend}'
            '<p class="hr-note">Layers down, heads across. Shape and colour: what a head mainly does in this model. '
            "Filling: how much of that it does on your text.</p>"
            '<div class="hr-scroll"><div class="hr-grid" role="grid" aria-label="{total} heads of {model}, layers by heads">'
            '<div class="hr-map-row" role="row"><span role="columnheader" aria-label="layer"></span>{header}</div>'
            "{rows}</div></div>"
            '<p class="hr-name" aria-hidden="true">Point at a head to see its name; arrow keys move, Enter opens.</p></div>'
        ).format(
            wide=" hr-map-wide" if analysis.num_heads > WIDE else "",
            heads=analysis.num_heads,
            symbols=_symbols(),
            legend=_legend(analysis),
            total=analysis.num_layers * analysis.num_heads,
            model=analysis.model,
            header=header,
            rows=rows,
        )
    )


def _symbols() -> Markup:
    """Each role's shape once; the cells refer to it, so that a large model's map stays small."""
    shapes = join(
        Markup('<symbol id="hr-{}" viewBox="0 0 1 1" overflow="visible"><polygon points="{}"/></symbol>').format(
            role.name, shape_points(role)
        )
        for role in ROLES.values()
    )
    return Markup('<svg class="hr-symbols" aria-hidden="true" focusable="false" width="0" height="0">{}</svg>').format(shapes)


def _legend(analysis: Analysis) -> Markup:
    buttons = join(_filter(analysis, role, analysis.heads.counts(role)) for role in ROLES.values())
    return Markup('<div class="hr-legend" role="group" aria-label="Show only the heads that are mainly">{}</div>').format(buttons)


def _filter(analysis: Analysis, role: Role, count: int) -> Markup:
    reading = analysis.role(role)
    state: State = "not active" if reading.state == "not applicable" else reading.state
    return Markup(
        '<button type="button" class="hr-filter" data-filter="{name}" aria-pressed="false">{mark}<span>{title}</span>'
        "<small>{count}{state}</small></button>"
    ).format(
        name=role.name,
        mark=role_mark(role),
        title=role.display_name,
        count=f"{count} head{'' if count == 1 else 's'}",
        state="" if state == "not a role" else f", {MARKS[state]} {state}",
    )


def _here(reading: HeadReading) -> str:
    if reading.activation is None:
        return "the same on every text"
    return f"here {percent(reading.activation)}, {state_of(reading.is_active)}"


def _cell(analysis: Analysis, head: Head) -> Markup:
    role = analysis.heads.primary_role(head)
    reading = analysis.heads.main_reading(head)
    here, told = 0.0, role.display_name
    if reading is not None:
        here = get_measured_role(role).measure.fill(reading.shown)
        told = f"{role.display_name} (score {reading.score:.2f}), {_here(reading)}"
    return Markup(
        '<button type="button" role="gridcell" class="hr-cell" tabindex="-1" aria-selected="false" data-layer="{layer}"'
        ' data-head="{head}" data-role="{role}" aria-label="{label}: {told}" style="--role:{color};--here:{here:.2f}">'
        '<svg viewBox="0 0 1 1"><use href="#hr-{role}"/></svg></button>'
    ).format(layer=head.layer, head=head.index, role=role.name, label=head.label, told=told, color=role.color, here=here)
