"""How programs use this page -> HTML."""

from collections.abc import Iterable, Mapping

from headroles.render.html import draw


def render_api_help(endpoints: Iterable[tuple[str, str, str]], examples: Mapping[str, str]) -> str:
    """What endpoints there are and how to call one.

    Args:
        endpoints: the name, the arguments and what it gives, of each.
        examples: a program's text by its language; the script writes the page's address where it says `{url}`.
    """
    return draw("api_help", endpoints=endpoints, examples=examples)
