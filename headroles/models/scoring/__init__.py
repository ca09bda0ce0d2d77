"""All heads of a model scored, calibrated and put into a record."""
