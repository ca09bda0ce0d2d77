"""Reads HTML that the project made, strictly."""

import html.parser

VOID = ("img", "path", "circle", "polygon", "use", "rect", "line", "br", "input")


class Outline(html.parser.HTMLParser):
    """Collects tags, attributes and text; fails on a tag that closes what is not open, and on what is left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._open = "", []
        self.feed(text)
        assert not self._open

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}

    @property
    def attributes(self) -> set[str]:
        return {name for _, attributes in self.elements for name in attributes}

    def find(self, **wanted: str) -> list[dict[str, str | None]]:
        """The attributes of every element that has these; `_` stands for `-`, a trailing one is dropped."""
        names = {name.rstrip("_").replace("_", "-"): value for name, value in wanted.items()}
        return [attributes for _, attributes in self.elements if names.items() <= attributes.items()]

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data
