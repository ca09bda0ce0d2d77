"""How much of a text is named beside a picture of it."""

LABEL_COLUMNS = 14  # of one token, on the page and in files; a longer one goes on as `…`
PAGE_LABELS = 32  # along one axis of the page's heatmap
FIGURE_LABELS = 48  # along one axis of a heatmap saved as a picture
MAP_LABELS = 24  # numbers along one axis of a map saved as a picture


def every_nth(count: int, most: int) -> range:
    """The positions, of `count`, that are named: all of them, or every n-th, so that there are at most so many."""
    return range(0, count, -(-count // most))
