"""Many records at once: over models, and over the steps of a training run."""
