"""From a model to its record: loading, scoring, and whether a record is up to date."""
