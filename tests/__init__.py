"""The tests. Before any of them imports what they test, their first step: from here on shapes are enforced."""

import jaxtyping

from tests.fixtures import checked

jaxtyping.install_import_hook(["headroles", "analysis"], f"{checked.__name__}.checked")
