"""Opens models, reads them and frees them."""
