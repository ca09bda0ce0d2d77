"""The training of the embedded model headroles-tiny."""
