"""The roles, how each is measured, and what is published of single heads."""
