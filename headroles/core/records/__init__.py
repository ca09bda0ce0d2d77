"""The record of a model: its scores, its calibration, and how both are checked."""
