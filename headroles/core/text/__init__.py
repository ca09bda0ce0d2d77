"""Tokens' texts and the visitor's own sentence."""
