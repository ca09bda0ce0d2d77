"""The parts of the page as HTML."""
