"""The shapes of what programs get of the atlas; see `results`."""

from typing import TypedDict

from headroles.render.api.schema_training import BestHeadResult


class SpreadResult(TypedDict):
    """Shares of heads over some models, 0 to 1; `median` is null of fewer than five models, all three of none."""

    models: int
    median: float | None
    low: float | None
    high: float | None


class AtlasShareResult(TypedDict):
    """One role in one model: how many heads reach its threshold, which share that is of all heads, and of those in each slice of
    depth (null where there are none); its best head, and between what its score lies, null where the record does not tell.
    """

    heads: int
    share: float
    by_depth: list[float | None]
    best: BestHeadResult
    interval: list[float] | None


class AtlasModelResult(TypedDict):
    """One model, and by role key what it has; `family` and `parameters` are null where nobody says."""

    model: str
    revision: str
    family: str | None
    parameters: int | None
    num_layers: int
    num_heads: int
    roles: dict[str, AtlasShareResult]


class UnusualResult(TypedDict):
    """A model whose share of heads in a role is far from the others'."""

    model: str
    share: float


class AtlasRoleResult(TypedDict):
    """One role over all models: in how many it is found, the share of heads in all, by depth, by family and by size;
    `in_every_family` and `unusual` are null where too few families or models would tell.
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


class AtlasResult(TypedDict):
    """The atlas of all models whose records this server knows; `note` says what kept those of the `dataset` away.

    `revisions_left_out` counts records of single revisions of a model, which are no models of their own.
    """

    api_version: str
    dataset: str
    note: str
    revisions_left_out: int
    models: list[AtlasModelResult]
    roles: list[AtlasRoleResult]
