"""Patterns and roles as matplotlib figures and pixels."""
