"""Arithmetic on attention patterns."""
