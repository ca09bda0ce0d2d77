"""The files that a visitor downloads."""
