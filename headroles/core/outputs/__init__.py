"""What heads write, and what a model loses without them."""
