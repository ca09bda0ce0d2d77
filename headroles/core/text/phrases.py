"""How numbers and names are put into words, the same on the page, in pictures and for programs."""

from collections.abc import Iterable, Sequence

ALL = 0.99995  # a share from which on `100%` is no exaggeration


def percent(share: float) -> str:
    """`81%`, and never `100%` or `0%` for what only nearly is."""
    if 0 < share <= 0.005:
        return "<1%"
    if 0.995 <= share < ALL:
        return ">99%"
    return f"{share:.0%}"


def precise_percent(share: float) -> str:
    """A probability to a tenth of a percent: `97.6%`, `0.4%`, `<0.1%`."""
    return "<0.1%" if 0 < share < 0.0005 else f"{100 * share:.1f}%"


def signed(number: float) -> str:
    """`+0.33`, `−1.20`: with a minus as long as the plus."""
    return f"{number:+.2f}".replace("-", "−")


def listed(names: Sequence[str]) -> str:
    """`A`, `A and B`, `A, B and C`."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def layers_listed(layers: Iterable[int]) -> str:
    """`layer 3`, `layers 3, 7 and 11`."""
    names = [str(layer) for layer in layers]
    return f"layer{'s' if len(names) > 1 else ''} {listed(names)}"


def article(noun: str) -> str:
    """`an induction`, `a diffuse`."""
    return f"{'an' if noun[:1].lower() in tuple('aeiou') else 'a'} {noun}"
