"""What programs get of the atlas."""

from headroles.core.roles.roles import MeasuredRole
from headroles.core.surveys.atlas import Atlas, compute_spread, spreads_by_depth
from headroles.core.surveys.atlas_entries import AtlasEntry
from headroles.render.api.result import Answer, Result


class SpreadResult(Result):
    """Shares of heads over some models, 0 to 1; `median` is null for fewer than five models, all three are for none."""

    models: int
    median: float | None
    low: float | None
    high: float | None


class AtlasBestResult(Result):
    """The head of a model with the highest score in a role."""

    layer: int
    head: int
    score: float


class AtlasShareResult(Result):
    """One role in one model: how many heads reach its threshold, their share of all heads, and by slice of depth.

    `by_depth` is null in a slice without heads; `interval` holds the best head's score, null where the record does not tell.
    """

    heads: int
    share: float
    by_depth: list[float | None]
    best: AtlasBestResult
    interval: list[float] | None


class AtlasModelResult(Result):
    """One model, and by role key what it has; `family` and `parameters` are null where they are not known."""

    model: str
    revision: str
    family: str | None
    parameters: int | None
    num_layers: int
    num_heads: int
    roles: dict[str, AtlasShareResult]


class UnusualResult(Result):
    """A model whose share of heads in a role is far from the others'."""

    model: str
    share: float


class AtlasRoleResult(Result):
    """One role over all models: in how many it is found, and the share of heads in all, by depth, by family and by size.

    `in_every_family` and `unusual` are null where there are too few families or models to tell.
    """

    key: str
    display_name: str
    threshold: float
    found_in: int
    share: SpreadResult
    by_depth: list[SpreadResult]
    by_family: dict[str, SpreadResult]
    by_size: dict[str, SpreadResult]
    in_every_family: bool | None
    unusual: list[UnusualResult] | None


class AtlasResult(Answer):
    """The atlas of all models whose records this server knows; `note` says what kept those of the `dataset` away.

    `revisions_left_out` counts records of single revisions of a model, which do not count as models.
    """

    dataset: str
    note: str
    revisions_left_out: int
    models: list[AtlasModelResult]
    roles: list[AtlasRoleResult]


def atlas_result(atlas: Atlas) -> AtlasResult:
    """Builds the answer to the atlas."""
    return AtlasResult.of(
        atlas,
        revisions_left_out=atlas.revisions,
        models=[_model_result(atlas, entry) for entry in atlas.entries],
        roles=[_role_result(atlas, role) for role in atlas.roles],
    )


def _model_result(atlas: Atlas, entry: AtlasEntry) -> AtlasModelResult:
    shares = {
        role.name: AtlasShareResult.model_validate(
            {
                "heads": sum(found.heads),
                "share": sum(found.heads) / entry.total,
                "by_depth": entry.shares_by_depth(role),
                "best": found.best,
                "interval": found.best.interval,
            },
            from_attributes=True,
        )
        for role in atlas.roles
        if (found := entry.of(role)) is not None
    }
    return AtlasModelResult.of(entry, roles=shares)


def _role_result(atlas: Atlas, role: MeasuredRole) -> AtlasRoleResult:
    everywhere = atlas.in_every_family()
    return AtlasRoleResult.of(
        role,
        key=role.name,
        found_in=atlas.found_in(role),
        share=compute_spread(role, atlas.entries),
        by_depth=spreads_by_depth(role, atlas.entries),
        by_family={name: compute_spread(role, entries) for name, entries in atlas.families.items()},
        by_size={name: compute_spread(role, entries) for name, entries in atlas.sizes.items()},
        in_every_family=None if everywhere is None else role in everywhere,
        unusual=atlas.unusual(role),
    )
