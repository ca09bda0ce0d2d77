"""Results that show themselves in a notebook."""

import importlib


class Shown:
    """Draws itself where IPython asks for HTML.

    What is drawn, `headroles.notebook` says; it is looked up when somebody asks, since nothing here knows of drawing.
    """

    def _repr_html_(self) -> str | None:
        try:
            notebook = importlib.import_module("headroles.notebook")
        except ModuleNotFoundError:  # installed without what draws
            return None
        return notebook.show(self)
