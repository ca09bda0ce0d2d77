"""Analysis -> HTML. Pure strings; every piece of text is escaped once, where it enters (markupsafe)."""

import base64
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from markupsafe import Markup

from headroles.core.literature import credit, known_from
from headroles.core.readings import Analysis, HeadReading, RoleReading, State
from headroles.core.registry import MODELS
from headroles.core.roles import Role, get_measured_role, measured_roles
from headroles.jobs import Progress
from headroles.render.html import icon, join, role_mark, token_strip
from headroles.render.lessons import try_button
from headroles.render.wording import MARKS, describe_model, describe_progress, describe_source, state_of

CARD_KINDS: Mapping[State, str] = MappingProxyType({"active": "is-active", "not active": "is-grey"})


def render_text(analysis: Analysis) -> str:
    """The tokens, and one line that says which roles are active on them."""
    active = [reading.role.display_name for reading in analysis.roles if reading.is_active]
    announced = f"Active on this text: {', '.join(active)}." if active else "No role is active on this text."
    return str(
        Markup('{}<p class="hr-announce" role="status">{}</p>').format(
            token_strip(analysis.tokens, f"{len(analysis.tokens)} tokens as the model reads them"), announced
        )
    )


def render_panel(analysis: Analysis) -> str:
    """One card a role with its heads, why some are grey, and where the roles come from."""
    return str(
        Markup('<div class="hr-panel"><div class="hr-cards">{}</div>{}<p class="hr-source">{}</p></div>').format(
            join(_card(reading, analysis.model) for reading in analysis.roles), _why_grey(), describe_source(analysis)
        )
    )


def render_tools(query: str, downloads: Mapping[str, str], turned: str = "", number: int = 0) -> str:
    """The row of links and downloads for what the page shows; the script makes whole addresses of `query`.

    Args:
        query: as `Place.contents` writes it.
        turned: the tab that the page is turned to with it; empty where it stays on the visitor's.
        number: of the answer that it comes with, so that the script notices one that changes nothing; 0 with the page itself.
        downloads: the name of each download, and what people call it.
    """
    buttons = join(
        Markup('<button type="button" data-download="{}">{}</button>').format(name, label) for name, label in downloads.items()
    )
    return str(
        Markup(
            '<div class="hr-tools" data-query="{query}" data-tab="{turned}" data-number="{number}">'
            '<a class="hr-back" href="?{query}" target="_blank" rel="noopener">Open in headroles</a>'
            '<button type="button" data-copy="link">Copy link</button>'
            '<button type="button" data-copy="embed">Copy embed code</button>'
            "<details><summary>Download</summary><div>{buttons}</div></details>"
            '<button type="button" data-theme>Light or dark</button><span class="hr-copied" role="status"></span></div>'
        ).format(query=query, turned=turned, number=number, buttons=buttons)
    )


def render_download(name: str, media_type: str, content: bytes, number: int) -> str:
    """A link that the script presses and takes away; `number` tells a second download of the same file from the first."""
    return str(
        Markup('<a hidden data-number="{}" download="{}" href="data:{};base64,{}"></a>').format(
            number, name, media_type, base64.b64encode(content).decode()
        )
    )


def render_examples(prompts: Iterable[str]) -> str:
    """Sentences that run with one click."""
    buttons = join(Markup('<button type="button" data-prompt="{0}">{0}</button>').format(prompt) for prompt in prompts)
    return str(Markup('<div class="hr-examples" role="group" aria-label="Or take one of these">{}</div>').format(buttons))


def render_message(text: str = "") -> str:
    """A line for the visitor; empty when all is well."""
    return str(Markup('<p class="hr-message" role="alert">{}</p>').format(text)) if text else ""


def render_progress(progress: Progress, seconds: float) -> str:
    """A bar with what is being done, how far it is after that many seconds, and how long it will take still."""
    words = describe_progress(progress, seconds)
    return str(
        Markup(
            '<div class="hr-progress"><div class="hr-bar" role="progressbar" aria-label="{note}" aria-valuenow="{percent:.0f}"'
            ' aria-valuemin="0" aria-valuemax="100"><span class="hr-fill" style="width:{percent:.1f}%"></span></div>'
            "<p>{words}</p></div>"
        ).format(note=progress.note, percent=progress.fraction * 100, words=words)
    )


def render_model(name: str, any_model: bool = False) -> str:
    """Why one would pick a model, and its size and terms; with `any_model`, that others can be typed."""
    info = MODELS.get(name)
    about = f"{info.title} {describe_model(info)}" if info else f"Explore loads {name} and looks at it."
    hint = " You can also type a model's name on the Hub, or a folder of this server." if any_model and info else ""
    return str(Markup('<p class="hr-about">{}{}</p>').format(about, hint))


def _card(reading: RoleReading, model: str) -> Markup:
    role = reading.role
    state: State = "not active" if reading.state == "not applicable" else reading.state  # the reason says which it is
    kind = CARD_KINDS.get(state, "is-neutral")
    offer = try_button(role) if kind == "is-grey" and reading.heads else Markup("")
    heads = join(
        Markup("<li>{}{}</li>").format(_head_button(role, head), _known_mark(credit(known_from(model, head.head, role))))
        for head in reading.heads
    )
    return Markup(
        '<section class="hr-card {kind}" data-role="{name}" style="--role:{color}" aria-label="{title}: {state}">'
        '<h3>{icon} {title} {shape} <span class="hr-state">{mark} {state}</span></h3>'
        '<p class="hr-description">{description}</p><p class="hr-reason">{reason}</p>{heads}{offer}'
        "<details><summary>What is it?</summary><p>{explanation}</p>{source}</details></section>"
    ).format(
        kind=kind,
        name=role.name,
        color=role.color,
        title=role.display_name,
        state=state,
        icon=icon(role.icon),
        shape=role_mark(role),
        mark=MARKS[state],
        description=role.description,
        reason=reading.reason,
        heads=Markup('<ul class="hr-heads">{}</ul>').format(heads) if reading.heads else "",
        offer=offer,
        explanation=role.explanation,
        source=Markup('<p class="hr-paper">{}</p>').format(role.source) if role.source else "",
    )


def _head_button(role: Role, reading: HeadReading) -> Markup:
    state = state_of(reading.is_active) if reading.activation is not None else "the same on every text"
    return Markup(
        '<button type="button" class="hr-head" data-layer="{layer}" data-head="{head}" data-role="{role}"'
        ' aria-pressed="false"><span class="hr-dot" aria-hidden="true">{dot}</span><span class="hr-label">{label}</span>'
        '<span class="hr-bar"><span class="hr-fill" style="width:{fill:.1f}%"></span>{chance}</span>'
        '<span class="hr-number">{here:.2f}</span>'
        '<span class="hr-unseen">on your text, {state}; {score:.2f} on the probe texts</span></button>'
    ).format(
        layer=reading.head.layer,
        head=reading.head.index,
        role=role.name,
        label=reading.head.label,
        state=state,
        here=reading.shown,
        score=reading.score,
        dot=MARKS[state_of(reading.is_active)],
        fill=get_measured_role(role).measure.fill(reading.shown) * 100,
        chance=_chance_mark(reading.chance),
    )


def _chance_mark(chance: float | None) -> Markup:
    if chance is None:
        return Markup("")
    return Markup('<span class="hr-chance" style="left:{chance:.1f}%" title="chance {chance:.0f}%"></span>').format(
        chance=chance * 100
    )


def _known_mark(known: str) -> Markup:
    """A line below a head that the literature names for this role."""
    return Markup('<span class="hr-known">{}</span>').format(known) if known else Markup("")


def _why_grey() -> Markup:
    needs_repeat = [role.display_name for role in measured_roles() if role.requires_repetition]
    return Markup(
        '<details class="hr-info"><summary>Why are some greyed out?</summary>'
        "<p>A grey card with an open circle ○ is a role that no head plays on <em>this</em> text. "
        "That has one of three reasons:</p><ul>"
        "<li><b>The text gives no occasion.</b> {} only show when something repeats. Run the prompt that the card offers, "
        "and watch the circle fill.</li>"
        "<li><b>The heads could, but do not.</b> They stay close to what pure chance would give.</li>"
        "<li><b>This model has no such head.</b> Not every model learns every role.</li></ul>"
        "<p>A filled circle ● means that the head does its job here clearly more than chance. The bar shows how much of its "
        "attention goes where the role says, the thin mark what chance would give.</p></details>"
    ).format(" and ".join(needs_repeat))
