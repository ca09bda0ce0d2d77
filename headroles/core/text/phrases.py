"""Names in a row, for error messages; whatever else people read is worded in `headroles.render.wording`."""

from collections.abc import Iterable, Sequence


def listed(names: Sequence[str]) -> str:
    """`A`, `A and B`, `A, B and C`."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def layers_listed(layers: Iterable[int]) -> str:
    """`layer 3`, `layers 3, 7 and 11`."""
    names = [str(layer) for layer in layers]
    return f"layer{'s' if len(names) > 1 else ''} {listed(names)}"
