"""What a request passes: middleware, limits, and the queue."""
