"""What leaves this machine: datasets, training runs, the atlas, documents and the Space."""
