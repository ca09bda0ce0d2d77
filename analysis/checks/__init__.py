"""Records held against the literature, against each other, and against new texts."""
