"""Tables of plain text."""

from collections.abc import Collection, Sequence


def align(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Lines in which the columns have one width.

    Args:
        rows: of the same number of cells.
        right: the columns that are aligned to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(f"{cell:{'>' if column in right else '<'}{widths[column]}}" for column, cell in enumerate(row)).rstrip()
        for row in rows
    ]
