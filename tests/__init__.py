"""The tests. Before any of them imports what they test, their first step: from here on shapes are enforced."""

from tests.fixtures import checked

checked.install(["headroles", "analysis"])
