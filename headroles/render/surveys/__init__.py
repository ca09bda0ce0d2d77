"""The atlas and training runs, as HTML and charts."""
