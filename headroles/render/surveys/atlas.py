"""The atlas -> HTML: on how many models it stands, each role by depth, and tables of roles, families, sizes and models."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headroles.core.readings.comparison import DEPTH_BINS
from headroles.core.roles.roles import MeasuredRole
from headroles.core.surveys.atlas import FEW, Atlas, compute_spread
from headroles.core.surveys.atlas_entries import AtlasEntry
from headroles.render.html import render_template
from headroles.render.surveys.atlas_chart import FRAME, atlas_charts, lines_of, ticks
from headroles.render.surveys.atlas_text import (
    NONE,
    counted,
    tell_atlas,
    tell_families,
    tell_left_out,
    tell_role_families,
    tell_spread,
    tell_unusual,
)

MAX_SHOWN = 100  # models in the table; the CSV has all


@dataclass(frozen=True)
class AtlasRow:
    """A role over all models."""

    role: MeasuredRole
    found: str
    families: str
    share: str


@dataclass(frozen=True)
class Group:
    """Some models together, and their shares in every role."""

    name: str
    about: str
    shares: tuple[str, ...]


def render_atlas(atlas: Atlas) -> str:
    """The atlas of all models that the server knows records of."""
    return render_template(
        "atlas",
        atlas=atlas,
        said=tell_atlas(atlas),
        families=tell_families(atlas),
        unusual=tell_unusual(atlas),
        left_out=tell_left_out(atlas),
        charts=atlas_charts(atlas),
        frame=FRAME,
        ticks=ticks(),
        dashes=lines_of(atlas),
        slices=DEPTH_BINS,
        many_families=atlas.in_every_family() is not None,
        few=FEW,
        none=NONE,
        rows=[_row(atlas, role) for role in atlas.roles],
        tables=[("Families", _groups(atlas, atlas.families)), ("Sizes, in parameters", _groups(atlas, atlas.sizes))],
        models=[_group(atlas, entry.model, _about(entry), [entry]) for entry in atlas.entries[:MAX_SHOWN]],
        more=max(0, len(atlas.entries) - MAX_SHOWN),
    )


def _row(atlas: Atlas, role: MeasuredRole) -> AtlasRow:
    shares = compute_spread(role, atlas.entries)
    found = f"{atlas.found_in(role):,} of {shares.models:,}"
    return AtlasRow(role, found, tell_role_families(atlas.families_with(role)), tell_spread(shares))


def _groups(atlas: Atlas, groups: Mapping[str, tuple[AtlasEntry, ...]]) -> list[Group]:
    return [_group(atlas, name, counted(len(entries), "model"), entries) for name, entries in groups.items()]


def _group(atlas: Atlas, name: str, about: str, entries: Iterable[AtlasEntry]) -> Group:
    entries = tuple(entries)
    return Group(name, about, tuple(tell_spread(compute_spread(role, entries)) for role in atlas.roles))


def _about(entry: AtlasEntry) -> str:
    size = "" if entry.parameters is None else f", {entry.parameters / 1e6:,.0f} M"
    return f"{entry.family or 'family not told'}{size}, {entry.num_layers} × {entry.num_heads}"
