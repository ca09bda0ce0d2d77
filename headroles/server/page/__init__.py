"""The page: its state, the data that it needs, and the handlers of its events."""
