"""The atlas -> plain numbers, strings, lists and dicts, in the shapes of `results`."""

from headroles.core.roles.roles import MeasuredRole
from headroles.core.surveys.atlas import Atlas, Spread, compute_spread, spreads_by_depth
from headroles.core.surveys.atlas_entries import AtlasEntry
from headroles.render.api.schema_atlas import AtlasModelResult, AtlasResult, AtlasRoleResult, SpreadResult
from headroles.render.api.serialize import API_VERSION


def atlas_result(atlas: Atlas) -> AtlasResult:
    return {
        "api_version": API_VERSION,
        "dataset": atlas.dataset,
        "note": atlas.note,
        "revisions_left_out": atlas.revisions,
        "models": [_model_result(atlas, entry) for entry in atlas.entries],
        "roles": [_role_result(atlas, role) for role in atlas.roles],
    }


def _model_result(atlas: Atlas, entry: AtlasEntry) -> AtlasModelResult:
    return {
        "model": entry.model,
        "revision": entry.revision,
        "family": entry.family,
        "parameters": entry.parameters,
        "num_layers": entry.num_layers,
        "num_heads": entry.num_heads,
        "roles": {
            role.name: {
                "heads": sum(found.heads),
                "share": sum(found.heads) / entry.total,
                "by_depth": list(entry.shares_by_depth(role)),
                "best": {"layer": found.best.layer, "head": found.best.head, "score": found.best.score},
                "interval": found.best.interval,
            }
            for role in atlas.roles
            if (found := entry.of(role)) is not None
        },
    }


def _role_result(atlas: Atlas, role: MeasuredRole) -> AtlasRoleResult:
    everywhere, unusual = atlas.in_every_family(), atlas.unusual(role)
    return {
        "key": role.name,
        "display_name": role.display_name,
        "threshold": role.threshold,
        "found_in": atlas.found_in(role),
        "share": _spread_result(compute_spread(role, atlas.entries)),
        "by_depth": [_spread_result(found) for found in spreads_by_depth(role, atlas.entries)],
        "by_family": {name: _spread_result(compute_spread(role, entries)) for name, entries in atlas.families.items()},
        "by_size": {name: _spread_result(compute_spread(role, entries)) for name, entries in atlas.sizes.items()},
        "in_every_family": None if everywhere is None else role in everywhere,
        "unusual": None if unusual is None else [{"model": found.model, "share": found.share} for found in unusual],
    }


def _spread_result(found: Spread) -> SpreadResult:
    return {"models": found.models, "median": found.median, "low": found.low, "high": found.high}
