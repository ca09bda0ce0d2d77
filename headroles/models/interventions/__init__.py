"""Ablations and direct effects of heads."""
