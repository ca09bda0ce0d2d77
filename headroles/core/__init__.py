"""What a head does, measured: values and pure functions that need neither a model library nor a network."""
