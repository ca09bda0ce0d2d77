"""Tables of plain text."""

from collections.abc import Collection, Sequence


def align(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """The rows as lines with columns of one width, text to the left.

    Args:
        rows: of the same number of cells.
        right: the columns that stand to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(f"{cell:{'>' if column in right else '<'}{widths[column]}}" for column, cell in enumerate(row)).rstrip()
        for row in rows
    ]
