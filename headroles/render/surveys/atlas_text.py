"""What the atlas says, in words: no more than so many models bear out, and on how many it stands."""

from collections.abc import Mapping

from headroles.core.roles.roles import MeasuredRole
from headroles.core.surveys.atlas import FEW, MIN_FAMILIES, MIN_FOR_UNUSUAL, Atlas, Spread
from headroles.render.wording.phrases import join_names, percent

MAX_NAMED = 8  # models or families in one row
NONE = "–"


def counted(number: int, one: str, many: str = "") -> str:
    """`1 model`, `20 models`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def tell_spread(spread: Spread) -> str:
    """`4% (0% to 12%)`: what is usual and the range; of few models the range alone, of one its share."""
    low, high = spread.low, spread.high
    if low is None or high is None:
        return NONE
    between = percent(low) if low == high else f"{percent(low)} to {percent(high)}"
    return between if spread.median is None or low == high else f"{percent(spread.median)} ({between})"


def tell_atlas(atlas: Atlas) -> str:
    """On how many models it stands."""
    families = f" of {counted(len(atlas.families), 'family', 'families')} ({_some(tuple(atlas.families))})"
    told = f"{counted(len(atlas.entries), 'model')}{families if atlas.families else ''}: "
    told += f"which share of {'its' if len(atlas.entries) == 1 else 'their'} heads plays which role."
    if len(atlas.entries) >= FEW:
        return told
    return f"{told} So few do not tell what is usual: what stands here is what these have, and no more."


def tell_left_out(atlas: Atlas) -> str:
    """Which records do not count; empty where all do."""
    if not atlas.revisions:
        return ""
    return f"{counted(atlas.revisions, 'record')} of single revisions of a model are left out: they are no models of their own."


def tell_families(atlas: Atlas) -> str:
    """Which roles are found in every family, where there are enough of them."""
    roles, families = atlas.in_every_family(), len(atlas.families)
    if roles is None:
        return f"What every family has can be said from {MIN_FAMILIES} families on; here {_are(families)}."
    if not roles:
        return f"No role is found in every one of the {families} families."
    return f"Found in some model of every one of the {families} families: {join_names([role.display_name for role in roles])}."


def tell_unusual(atlas: Atlas) -> str:
    """Which models are far from the others, where there are enough of them."""
    judged = {role: found for role in atlas.roles if (found := atlas.unusual(role)) is not None}
    if not judged:
        return (
            f"Which models are unlike the others can be said from {MIN_FOR_UNUSUAL} models on; here {_are(len(atlas.entries))}."
        )
    told = [
        f"{role.display_name} (usual {percent(found[0].median)}): "
        + _some([f"{unusual.model} {percent(unusual.share)}" for unusual in found])
        for role, found in judged.items()
        if found
    ]
    return (
        f"Far from the others, by share of heads: {'; '.join(told)}." if told else "No model is far from the others in any role."
    )


def tell_role_families(families: Mapping[str, bool]) -> str:
    """`3 of 4; none seen in opt`; a dash where no family scores the role."""
    if not families:
        return NONE
    without = [name for name, has in families.items() if not has]
    return f"{len(families) - len(without)} of {len(families)}" + (f"; none seen in {_some(without)}" if without else "")


def tell_depths(role: MeasuredRole, spreads: tuple[Spread, ...]) -> str:
    """A picture of one role by depth, for those who do not see it."""
    told = ", ".join("no heads" if not spread.models else tell_spread(spread) for spread in spreads)
    return f"{role.display_name}: share of heads in {len(spreads)} slices of depth, from the first layers to the last: {told}."


def _are(number: int) -> str:
    return f"is {number}" if number == 1 else f"are {number}"


def _some(names: list[str] | tuple[str, ...], between: str = ", ") -> str:
    left = len(names) - MAX_NAMED
    return between.join(names[:MAX_NAMED]) + (f"{between}and {left} more" if left > 0 else "")
