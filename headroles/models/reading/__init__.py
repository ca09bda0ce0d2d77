"""Attention patterns and outputs of one model, read on a text."""
