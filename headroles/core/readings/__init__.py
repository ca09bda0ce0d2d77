"""What one text shows of the heads and roles of a model."""
